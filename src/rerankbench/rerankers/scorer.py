"""What scores texts: all that a reranker has to be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Scorer(ABC):
    """A reranker that is ready: texts in, scores out.

    `layers` names the columns of its scores, `batch` how many pairs it wants to be handed at once. A pair's
    score depends on its two texts alone, never on what else is in the batch.
    """

    layers: tuple[int, ...] = (0,)
    batch: int = 32

    @abstractmethod
    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        """Scores [pairs, layers], higher is better, of `queries[i]` with `documents[i]`. Raises UserError."""

    def expect(self, documents: Sequence[str]) -> None:  # noqa: B027
        """Do what a deployment has done for its documents before any query comes; nobody's time is taken."""

    def close(self) -> None:  # noqa: B027
        """Give back what it holds, once no more is asked."""
