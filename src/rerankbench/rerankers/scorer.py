"""What scores texts: all that a reranker has to be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from rerankbench.basics.arrays import Floats, Ints


class Scorer(ABC):
    """A reranker that is ready: texts in, scores out.

    `layers` names the columns of its scores, `batch` how many pairs it wants to be handed at once. A pair's
    score depends on its two texts alone, never on what else is in the batch.
    """

    layers: tuple[int, ...] = (0,)
    batch: int = 32

    @abstractmethod
    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Floats:
        """Scores [pairs, layers], higher is better, of `queries[i]` with `documents[i]`. Raises UserError."""

    def expect(self, documents: Sequence[str]) -> None:  # noqa: B027
        """Do what a deployment has done for its documents before any query comes; nobody's time is taken."""

    def parts(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[tuple[Ints, Floats]]:
        """Scores as they come, each part with its places among the pairs; one part unless overridden.

        What came before a failure is kept.
        """
        yield np.arange(len(documents)), self.score(queries, documents)

    def stretches(self, queries: Ints) -> Iterator[slice]:
        """Which pairs to be handed at once, given the number of each one's query: `batch` of them."""
        for start in range(0, len(queries), self.batch):
            yield slice(start, start + self.batch)

    def close(self) -> None:  # noqa: B027
        """Give back what it holds, once no more is asked."""
