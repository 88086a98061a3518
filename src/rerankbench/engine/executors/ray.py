"""Many processes, GPUs and machines by Ray: actors hold the model, a task is a window of pairs or a block.

Everything in a Ray cluster must see `cache_dir` under the same path: actors write the files that the local
executor writes, and answer with counts only. A task carries the texts of its own window and nothing else.
(Ray moves arguments between processes by its own, pickle-based transport; nothing of that is kept.)
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.engine.executors.crew import Crew, Task
from rerankbench.engine.executors.executor import Executor

if TYPE_CHECKING:
    from rerankbench.engine.loop import Meter
    from rerankbench.first_stages.embedding import Embedder, Embedding, Texts
    from rerankbench.rerankers.reranker import PairModel
    from rerankbench.rerankers.scoring import PairWindow, Work
    from rerankbench.store.rows import Keys

log = logging.getLogger(__name__)

CPUS = 4.0  # of one worker without a GPU: more of them make a small model little faster
INSTALL = "executor=ray needs Ray: pip install 'rerankbench[ray]'"


@dataclass(frozen=True)
class Ray(Executor):
    """Computes in Ray actors.

    `address`: local (start Ray here, on all CPUs and GPUs), auto (the cluster this machine belongs to) or
    host:port of a cluster's head. `workers`: a number, or auto for as many as the cluster has room for.
    `cpus_per_worker`: its CPUs and torch threads; null: up to 4 each. `gpus_per_worker`: 1, or a share such
    as 0.5; null: 1 where the device is CUDA. `task_seconds`: a task that takes longer is taken to hang.
    """

    address: str = "local"
    workers: str = "auto"
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None
    task_seconds: float | None = None

    kind: ClassVar[str] = "ray"

    def problems(self) -> list[str]:
        found = [] if importlib.util.find_spec("ray") else [INSTALL]
        if self.workers != "auto" and not (self.workers.isdecimal() and int(self.workers) > 0):
            found.append(f"executor.workers={self.workers}: give auto or a number from 1")
        if self.address not in ("local", "auto") and not self.address.rpartition(":")[2].isdecimal():
            found.append(f"executor.address={self.address}: give local, auto or host:port of a Ray head")
        for name in ("cpus_per_worker", "gpus_per_worker", "task_seconds"):
            value, least = getattr(self, name), 0 if name == "gpus_per_worker" else 1
            if value is not None and not (value >= least and value < float("inf")):
                found.append(f"executor.{name}={value}: give at least {least}")
        return found

    def place(self) -> dict[str, Any]:
        return {"executor": self.kind}

    def reader(self, work: Work) -> PairModel:
        """The model without weights, which workers alone load; all of it where it cannot be built so."""
        from rerankbench.rerankers.weightless import weightless

        try:
            return weightless(work.reranker, work.weights, work.bench.hardware.precision)
        except Exception as error:  # a model's own code may ask for numbers while it is built
            log.debug("%s is loaded to tokenize: %s", work.weights.label, error)
            return work.model

    def score(self, work: Work, planned: NDArray[np.void], found: NDArray[np.bool_]) -> Meter:
        """The answer's seconds are those of all workers together, so that its rates are those of one."""
        from rerankbench.engine.loop import windows
        from rerankbench.rerankers.scoring import window_size

        stretches = windows(np.arange(len(planned)), window_size(len(planned)), ~found)
        tasks = (Task(lambda some=some: pair_task(work, planned[some], found[some]),  # type: ignore[misc]
                      int((~found[some]).sum()), f"pairs {some[0]} to {some[-1]}")
                 for some in stretches)  # fmt: skip
        settings = (work.reranker, work.weights, work.bench, work.layers, work.store)
        with Progress("scoring", int((~found).sum()), "pairs") as progress:
            return self.crew(Scorer, settings, work.bench.hardware.device, len(stretches)).run(
                tasks, progress
            )

    def embed(
        self, embedding: Embedding, settings: Embedder, texts: Texts, rows: int, progress: Progress
    ) -> list[NDArray[np.float32]]:
        """Missing blocks are computed by actors, then all of them are mapped here."""
        from rerankbench.first_stages.embedding import block_name, stretches
        from rerankbench.store.rows import read_array, text_keys

        folder, names = embedding.folder(settings), []
        blocks: list[NDArray[np.float32] | None] = []
        missing: list[NDArray[np.int64]] = []
        for stretch in stretches(rows):
            names.append(block_name(text_keys(texts(stretch))))
            blocks.append(read_array(folder, names[-1]) if embedding.reuse else None)
            if blocks[-1] is None:  # or damaged, and set aside by now
                missing.append(stretch)
            else:
                progress.advance(len(stretch))
        if missing:
            tasks = (Task(lambda some=some: texts(some), len(some), f"texts {some[0]} to {some[-1]}")  # type: ignore[misc]
                     for some in missing)  # fmt: skip
            parts = (embedding.settings, settings, embedding.cache_dir, embedding.budget, embedding.reuse)
            device = embedding.hardware.device
            crew = self.crew(Embedders, (*parts, embedding.hardware), device, len(missing))
            embedding.meter.extend(crew.run(tasks, progress))
        blocks = [
            read_array(folder, name) if block is None else block
            for name, block in zip(names, blocks, strict=True)
        ]
        if any(block is None for block in blocks):
            raise RuntimeError(
                f"workers wrote no whole block: is {folder} on a disk that all machines share?"
            )
        return [block for block in blocks if block is not None]

    def crew(self, role: type[Worker], settings: tuple[Any, ...], device: str, tasks: int) -> Crew:
        """Up to as many workers as there are tasks and room for."""
        self.connect()
        import ray

        gpus = self.gpus_per_worker
        gpus = (1.0 if device.startswith("cuda") else 0.0) if gpus is None else gpus
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = self.cpus(nodes)
        workers = min(self.count(nodes, cpus, gpus), tasks)
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_concurrency=2)(role)
        threads = max(1, int(cpus)) if gpus == 0 else None
        where = "cuda:0" if gpus else device  # Ray shows each actor its own GPUs only
        return Crew(
            lambda: actor.remote(*settings, device=where, threads=threads), workers, self.task_seconds
        )

    def cpus(self, nodes: Sequence[dict[str, float]]) -> float:
        """CPUs of one worker: as asked; or an equal share for each of the asked workers; or a few."""
        if self.cpus_per_worker is not None:
            return self.cpus_per_worker
        largest = max((node.get("CPU", 0.0) for node in nodes), default=1.0)
        if self.workers == "auto":
            return max(1.0, min(CPUS, largest))
        together = sum(node.get("CPU", 0.0) for node in nodes)
        return max(1.0, min(CPUS, largest, together // int(self.workers)))

    def count(self, nodes: Sequence[dict[str, float]], cpus: float, gpus: float) -> int:
        """How many workers to start: a worker is on one machine, so each machine is counted on its own."""
        room = sum(
            int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) / gpus if gpus else np.inf))
            for node in nodes
        )
        asked = room if self.workers == "auto" else int(self.workers)
        if not 0 < asked <= room:
            total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
            raise UserError(
                f"executor.workers={self.workers}: the Ray cluster ({len(nodes)} machines, {total['CPU']:g} "
                f"CPUs, {total['GPU']:g} GPUs) has room for {room} workers of {cpus:g} CPUs and "
                f"{gpus:g} GPUs; "
                "lower executor.workers, cpus_per_worker or gpus_per_worker"
            )
        return asked

    def connect(self) -> None:
        """Join or start Ray once for this process; our way of stopping on SIGTERM stays."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if importlib.util.find_spec("ray") is None:
            raise UserError(INSTALL)
        import ray

        if ray.is_initialized():
            return
        before = signal.getsignal(signal.SIGTERM)
        options = {"include_dashboard": False} if self.address == "local" else {}
        try:
            ray.init(self.address, log_to_driver=False, logging_level=logging.WARNING, **options)
        except ConnectionError as error:
            raise UserError(
                f"executor.address={self.address}: no Ray cluster answers; start one with `ray start "
                "--head`, or use executor.address=local for this machine alone"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class PairTask:
    """One window: sequence n is `queries[query_of[n]]` with part `parts[n]` of `documents[document_of[n]]`.

    Its scores belong under `keys[n]`.
    """

    keys: Keys
    found: NDArray[np.bool_]
    queries: list[str]
    query_of: NDArray[np.int64]
    documents: list[str]
    document_of: NDArray[np.int64]
    parts: NDArray[np.int32]


def pair_task(work: Work, planned: NDArray[np.void], found: NDArray[np.bool_]) -> PairTask:
    numbers = planned["pair"]
    queries, query_of = np.unique(work.pairs.queries[numbers], return_inverse=True)
    documents, document_of = np.unique(work.pairs.documents[numbers], return_inverse=True)
    texts = [work.collection.query_texts[row] for row in queries]
    listed = list(work.collection.corpus.texts(documents))
    return PairTask(planned["key"], found, texts, query_of, listed, document_of, planned["part"])


class Worker:
    """What actors of both kinds do: load a model once, then take two tasks at a time.

    While one is computed the other is tokenized; tokenizers work for one thread at a time only.
    """

    def __init__(self, device: str, threads: int | None) -> None:
        from rerankbench.engine import hardware

        self.device, self.computing, self.tokenizing = device, threading.Lock(), threading.Lock()
        if threads:
            hardware.use_threads(threads)

    def load(self) -> float:
        """Load the model; returns the seconds that it took."""
        raise NotImplementedError

    def work(self, task: Any, again: bool) -> Meter:
        """Do one task and count what was computed; `again`: some of it may be stored since it was made."""
        raise NotImplementedError


class Scorer(Worker):
    """Scores windows of pairs into the store."""

    def __init__(self, reranker: Any, weights: Any, bench: Any, layers: Any, store: Any, **own: Any) -> None:
        super().__init__(**own)
        self.reranker, self.weights, self.layers, self.store = reranker, weights, layers, store
        self.bench = replace(bench, hardware=replace(bench.hardware, device=self.device))

    def load(self) -> float:
        import time

        started = time.perf_counter()
        self.model = self.reranker.load(self.here(), self.bench.hardware)
        self.budget = self.bench.budget(self.model.enough)
        self.bench.hardware.synchronize()
        return time.perf_counter() - started

    def here(self) -> Any:
        """The weights on this machine, which are the driver's where the disk is shared."""
        from rerankbench.engine import models

        if Path(self.weights.folder).is_dir():
            return self.weights
        asked, cache_dir = self.reranker, self.bench.cache_dir
        found = models.resolve(asked.model, asked.revision, cache_dir, asked.trust_remote_code)
        if found.identity != self.weights.identity:
            raise UserError(
                f"{self.weights.label}: another machine of the cluster has other weights under this name"
            )
        return found

    def work(self, task: PairTask, again: bool) -> Meter:
        from rerankbench.engine.loop import Loop, Meter, fill
        from rerankbench.rerankers.sequences import columns

        layers = columns(self.layers)
        found = self.store.lookup(task.keys, layers)[1] if again else task.found
        with self.tokenizing:
            window = self.window(task)
        with self.computing:
            loop, everything = (
                Loop(
                    self.model.forward, self.bench.hardware, self.budget, Meter(), self.bench.hardware.streams
                ),
                np.arange(len(found)),
            )
            progress = Progress("scoring", len(found), "pairs")
            fill(
                self.store,
                task.keys,
                layers,
                everything,
                len(found),
                lambda _: window,
                loop,
                progress,
                found,
            )
        return loop.meter

    def window(self, task: PairTask) -> PairWindow:
        from rerankbench.rerankers.scoring import PairWindow

        queries, documents = (
            self.model.tokenize_queries(task.queries),
            self.model.tokenize_documents(task.documents),
        )
        return PairWindow.of(
            self.model,
            [queries[n] for n in task.query_of],
            [documents[n] for n in task.document_of],
            task.parts,
        )


class Embedders(Worker):
    """Embeds blocks of texts into the store."""

    def __init__(
        self, own: Any, settings: Any, cache_dir: Path, budget: Any, reuse: bool, machine: Any, **rest: Any
    ) -> None:
        from rerankbench.first_stages.embedding import Embedding

        super().__init__(**rest)
        self.embedding = Embedding(
            own, replace(machine, device=self.device), cache_dir, replace(budget), reuse
        )
        self.settings = settings

    def load(self) -> float:
        import time

        started = time.perf_counter()
        self.embedding.model  # noqa: B018
        return time.perf_counter() - started

    def work(self, task: Sequence[str], again: bool) -> Meter:
        from rerankbench.engine.loop import Meter

        with self.computing:
            self.embedding.meter = Meter()
            # what an earlier attempt finished is as good as new
            self.embedding.reuse = self.embedding.reuse or again
            self.embedding.block(self.settings, task, Progress("embedding", len(task), "texts"))
            return self.embedding.meter
