"""Measures of many orders of the same candidates, one at a time and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import measures, ranking

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures orders of candidates whose `grades` [queries, candidates] are known.

    What a measure is a share of (the ideal gain, the number of relevant documents) does not depend on the
    order. `whole`: measure to [queries], taken from the best possible order, whose measures the runs wrote
    down; 0 where no order of these candidates reaches more than 0.
    """

    grades: NDArray[np.int32]
    length: NDArray[np.int64]
    threshold: int
    whole: Mapping[str, Values]

    def knows(self, name: str) -> bool:
        kind = name.partition("_at_")[0]
        return kind in ("mrr", "success", "judged") or name in self.whole

    def __call__(self, order: ranking.Order, name: str) -> Values:
        """One measure [queries] of an order [queries, ranks] that holds the measure's ranks at least."""
        kind, _, cutoff = name.partition("_at_")
        found = measures.grades_at(self.grades, order[:, : int(cutoff)])
        part = measures.gained(found, kind, int(cutoff), self.threshold)
        if kind == "judged":
            return measures.share(part, np.minimum(int(cutoff), self.length))
        return measures.share(part, self.whole[name]) if name in self.whole else part


def ruler(
    grades: NDArray[np.int32],
    length: NDArray[np.int64],
    depth: int,
    best: Mapping[str, Values],
    threshold: int,
) -> Ruler:
    """`best`: the measures [queries] of the best order down to `depth`."""
    order = ranking.oracle(grades, depth)
    whole = {}
    for name, values in best.items():
        kind, _, cutoff = name.partition("_at_")
        if kind in ("ndcg", "recall"):
            top = measures.grades_at(grades, order[:, : int(cutoff)])
            whole[name] = measures.share(measures.gained(top, kind, int(cutoff), threshold), values)
    return Ruler(grades, length, threshold, whole)
