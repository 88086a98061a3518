"""Grades in their best order, sorted as they are: an oracle of the oracle, which knows no positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_order(grades: NDArray[np.int32], depth: int | None = None) -> NDArray[np.int32]:
    """The best order that the candidates [queries, ranks] allow, unjudged ones last.

    With `depth`, only the first `depth` ranks are put in order and the others stay where they are.
    """
    reranked = np.sort(grades[:, :depth], axis=1)[:, ::-1]
    return np.concatenate([reranked, grades[:, reranked.shape[1] :]], axis=1)
