"""Recall, MRR, nDCG, Success and Judged of ranked lists, with trec_eval's meaning.

Gains are graded and linear, the ideal ranking counts every judged document of a query (also those that were
not retrieved or are missing from the corpus), and a judged query without results counts 0 in every mean.
trec_eval: https://github.com/usnistgov/trec_eval. The tutorial's own formulas are in `tutorial_measures`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.unjudged import UNJUDGED

# The printed spelling of every measure; in names of files, JSON and MLflow it is lower case.
DISPLAY = {"ndcg": "nDCG", "recall": "Recall", "mrr": "MRR", "success": "Success", "judged": "Judged"}

_NAME = re.compile(r"(tutorial_)?([a-z]+)_at_([1-9][0-9]*)")
_BLOCK = 1 << 18  # ranks measured together: the temporaries then stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Judgements along ranked lists; row i of every array is the same query.

    grades: [queries, ranks] the relevance at each rank, UNJUDGED where unknown and behind the list's end.
    ideal: [queries, judgements] all grades of the query, best first, padded with UNJUDGED.
    length: [queries] how many documents were really retrieved.
    threshold: relevance at or above which a document counts as relevant for recall, MRR and success.
    """

    grades: NDArray[np.int32]
    ideal: NDArray[np.int32]
    length: NDArray[np.integer]
    threshold: int = 1

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together (a ValueError: the caller's bug, not the user's)."""
        queries, ranks = self.grades.shape
        shapes = f"grades {self.grades.shape}, ideal {self.ideal.shape}, length {self.length.shape}"
        if self.ideal.ndim != 2 or len(self.ideal) != queries or self.length.shape != (queries,):
            raise ValueError(f"the arrays are not about the same queries: {shapes}")
        if queries and (self.length.min() < 0 or self.length.max() > ranks):
            raise ValueError(f"length must be between 0 and {ranks}, the number of ranks")
        if (self.ideal[:, 1:] > self.ideal[:, :-1]).any():
            raise ValueError("ideal must hold each query's grades best first")


def per_query(judged: Judged, cutoffs: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Every measure at every cutoff: its name, such as `ndcg_at_10`, to its values [queries]."""
    at = checked_cutoffs(cutoffs)
    rows = max(1, _BLOCK // max(1, judged.grades.shape[1]))
    starts = range(0, max(1, len(judged.grades)), rows)
    blocks = [_measure_block(judged, slice(start, start + rows), at) for start in starts]
    return {
        measure_name(kind, cutoff): np.concatenate([block[kind][:, column] for block in blocks])
        for kind in DISPLAY
        for column, cutoff in enumerate(at.tolist())
    }


def mean(per_query: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """The mean over all judged queries: the one denominator, in this one place.

    Raises UserError when no query is judged.
    """
    if any(values.size == 0 for values in per_query.values()):
        raise UserError(
            "no query has a judgement, so there is nothing to average: "
            "check dataset.split and that the judgements use the query ids of the queries"
        )
    return {name: float(values.mean()) for name, values in per_query.items()}


def grades_at(grades: NDArray[np.int32], order: NDArray[np.integer]) -> NDArray[np.int32]:
    """The grades of reordered lists: order [queries, ranks] holds positions in `grades`, -1 is padding."""
    if grades.shape[1] == 0:
        return np.full(order.shape, UNJUDGED, dtype=np.int32)
    return np.where(order >= 0, np.take_along_axis(grades, np.maximum(order, 0), axis=1), np.int32(UNJUDGED))


def gained(grades: NDArray[np.int32], kind: str, cutoff: int, threshold: int) -> NDArray[np.float64]:
    """What one kind of measure counts along orders [queries], before it is made a share of anything.

    grades [queries, ranks]: of the first `cutoff` ranks at least. The discounted gain of nDCG, the relevant
    documents found of recall, the judged ones of judged; MRR and Success as they are.
    """
    top, at = grades[:, :cutoff], np.array([cutoff])
    if kind == "ndcg":
        return _dcg(top, at)[:, 0]
    if kind == "judged":
        return np.count_nonzero(top != UNJUDGED, axis=1).astype(np.float64)
    relevant = top >= threshold
    if kind == "mrr":
        return _reciprocal_rank(relevant, at)[:, 0]
    hits = np.count_nonzero(relevant, axis=1)
    return hits.astype(np.float64) if kind == "recall" else (hits > 0).astype(np.float64)


def measure_name(kind: str, cutoff: int) -> str:
    """The name in files, JSON and MLflow (which refuses `@`): ("nDCG", 10) is "ndcg_at_10"."""
    if kind.lower() not in DISPLAY:
        raise ValueError(f"no measure is called {kind!r}: choose from {', '.join(DISPLAY.values())}")
    return f"{kind.lower()}_at_{cutoff}"


def display_name(name: str) -> str:
    """The printed name: "ndcg_at_10" is "nDCG@10", "tutorial_ndcg_at_10" is "tutorial nDCG@10"."""
    match = _NAME.fullmatch(name)
    if match is None or match[2] not in DISPLAY:
        raise ValueError(f"{name!r} is not the name of a measure, such as ndcg_at_10")
    return f"{'tutorial ' if match[1] else ''}{DISPLAY[match[2]]}@{match[3]}"


def checked_cutoffs(cutoffs: Sequence[int]) -> NDArray[np.int64]:
    """The cutoffs [cutoffs] as an array; ValueError where one is not a whole number of at least 1."""
    at = np.asarray(cutoffs)
    if at.ndim != 1 or (at.size and (not np.issubdtype(at.dtype, np.integer) or at.min() < 1)):
        raise ValueError(f"cutoffs must be whole numbers of at least 1, got {cutoffs!r}")
    return at.astype(np.int64)


def _measure_block(judged: Judged, rows: slice, cutoffs: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Every measure of some queries: its kind to its values [queries, cutoffs]."""
    grades = judged.grades[rows, : max(cutoffs, default=0)]
    ideal, length = judged.ideal[rows], judged.length[rows, None]
    relevant = grades >= judged.threshold
    hits = _sum_at(relevant, cutoffs)
    return {
        "ndcg": share(_dcg(grades, cutoffs), _dcg(ideal, cutoffs)),
        "recall": share(hits, np.count_nonzero(ideal >= judged.threshold, axis=1)[:, None]),
        "mrr": _reciprocal_rank(relevant, cutoffs),
        "success": (hits > 0).astype(np.float64),
        "judged": share(_sum_at(grades != UNJUDGED, cutoffs), np.minimum(cutoffs, length)),
    }


def _dcg(grades: NDArray[np.int32], cutoffs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Discounted cumulated gain [queries, cutoffs], sum of gain / log2(rank + 1).

    Järvelin and Kekäläinen, TOIS 2002, with the discount of Burges et al., ICML 2005, and trec_eval's
    linear gain: the grade itself, nothing for a negative one.
    """
    top = grades[:, : max(cutoffs, default=0)]
    return _sum_at(np.maximum(top, 0) / np.log2(np.arange(2, top.shape[1] + 2)), cutoffs)


def _reciprocal_rank(relevant: NDArray[np.bool_], cutoffs: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / rank of the first relevant document, 0 where there is none within the cutoff [queries, cutoffs]."""
    if relevant.shape[1] == 0:
        return np.zeros((len(relevant), len(cutoffs)))
    first = relevant.argmax(axis=1)[:, None]
    found = np.take_along_axis(relevant, first, axis=1) & (first < cutoffs)
    return np.where(found, 1.0 / (first + 1), 0.0)


def _sum_at(values: NDArray[np.generic], cutoffs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of the first k columns, for each cutoff k [queries, cutoffs]; lists may be shorter than k.

    Summed rank by rank, so a query's value is the same to the last bit whatever else is measured with it.
    """
    if values.shape[1] == 0:
        return np.zeros((len(values), len(cutoffs)))
    dtype = np.float64 if values.dtype == np.float64 else np.int32
    sums = np.cumsum(values, axis=1, dtype=dtype)
    return sums[:, np.minimum(cutoffs, values.shape[1]) - 1].astype(np.float64)


def share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    """part / whole, and 0 where the whole is 0 (nothing relevant, or nothing retrieved)."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=np.asarray(whole) != 0)
