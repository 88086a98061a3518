"""What every executor does: compute the pair scores and vectors that a store lacks, and leave them there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.loop import Meter
    from rerankbench.first_stages.embedding import Embedder, Embedding, Texts
    from rerankbench.rerankers.reranker import PairModel
    from rerankbench.rerankers.scoring import Work


@dataclass(frozen=True)
class Executor(ABC):
    """Settings of an executor; a kind is one file in this folder, found under `kind`.

    All executors write the same files, from the same batches: any mixture of them, of restarts and of
    machines of one kind continues one another's work and gives the same numbers.
    """

    kind: ClassVar[str]

    def problems(self) -> list[str]:
        """Impossible settings, one line each."""
        return []

    def place(self) -> dict[str, Any]:
        """What tells the speed of this executor from that of this process on this machine."""
        return {}

    def reader(self, work: Work) -> PairModel:
        """What tokenizes pairs before they are scored: the model that is going to score them."""
        return work.model

    @abstractmethod
    def score(self, work: Work, planned: NDArray[np.void], found: NDArray[np.bool_]) -> Meter:
        """Score sequences into `work.store`.

        `planned` are `sequences.SEQUENCE`, in the order in which windows are cut from them; `found` marks
        those that the store holds already: they keep their places but are not scored again.
        """

    def embed(
        self, embedding: Embedding, settings: Embedder, texts: Texts, rows: int, progress: Progress
    ) -> list[NDArray[np.float32]]:
        """Vectors of `rows` texts as memory-mapped blocks; here one after the other in this process."""
        from rerankbench.first_stages.embedding import stretches

        return [embedding.block(settings, texts(stretch), progress) for stretch in stretches(rows)]
