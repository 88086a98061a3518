"""A window of pairs as a task, and the worker that scores it where the texts' collection is not at hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Flags, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.engine.executors.worker import Worker
from rerankbench.engine.models import computed_by, references
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.rows import Keys, RowStore
from rerankbench.rerankers.reranker import LocalReranker
from rerankbench.rerankers.scoring.pair_window import PairWindow
from rerankbench.rerankers.scoring.sequences import columns

if TYPE_CHECKING:
    from rerankbench.engine.loop import Meter


@dataclass(frozen=True)
class PairTask:
    """One window: sequence n is `queries[query_of[n]]` with part `parts[n]` of `documents[document_of[n]]`.

    Its scores belong under `keys[n]`.
    """

    keys: Keys
    found: Flags
    queries: list[str]
    query_of: Ints
    documents: list[str]
    document_of: Ints
    parts: NDArray[np.int32]


class PairWorker(Worker):
    """Scores windows of pairs into the store."""

    def __init__(
        self,
        reranker: LocalReranker,
        weights: references.Weights,
        context: RunContext,
        layers: tuple[int, ...],
        store: RowStore,
        **own: Any,
    ) -> None:
        super().__init__(**own)
        self.reranker, self.weights, self.layers, self.store = reranker, weights, layers, store
        self.context = replace(context, hardware=replace(context.hardware, device=self.device))

    def load(self) -> float:
        started = time.perf_counter()
        self.model = self.reranker.load(self.here(), self.context.hardware)
        self.budget = self.context.budget(self.model.enough)
        self.context.hardware.synchronize()
        return time.perf_counter() - started

    def here(self) -> references.Weights:
        """The weights on this machine, which are the driver's where the disk is shared."""
        found = self.weights
        if not Path(found.folder).is_dir():
            found = self.reranker.origin(self.context.cache_dir)
        if found.identity != self.weights.identity:
            raise UserError(
                f"{self.weights.label}: another machine of the cluster has other weights under this name"
            )
        operators = self.reranker.operators(found, self.context.hardware)
        computed_by.refuse_others(found.label, operators, self.store.parts)
        return found

    def work(self, task: PairTask, again: bool) -> Meter:
        from rerankbench.engine.loop import Loop, fill

        layers, size = columns(self.layers), len(task.keys)
        found = self.store.lookup(task.keys, layers)[1] if again else task.found
        with self.tokenizing:
            window = self.window(task)
        with self.computing:
            machine, progress = self.context.hardware, Progress("scoring", size, "pairs")
            loop = Loop(self.model.forward, machine, self.budget, streams=machine.streams)
            fill(self.store, task.keys, layers, found, size, lambda _: window, loop, progress)
        return loop.meter

    def window(self, task: PairTask) -> PairWindow:
        queries = self.model.tokenize_queries(task.queries)
        documents = self.model.tokenize_documents(task.documents)
        asked, found = [queries[n] for n in task.query_of], [documents[n] for n in task.document_of]
        return PairWindow.of(self.model, asked, found, task.parts)
