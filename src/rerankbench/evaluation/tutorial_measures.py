"""The tutorial's own Recall, MRR and nDCG, kept beside the standard ones so that its table can be repeated.

They differ from `measures` on purpose. Documents match by text, so every copy of a relevant passage counts;
recall is 1 as soon as one relevant passage is found (elsewhere called success); the ideal of nDCG is the
best order of what was retrieved, not of what is relevant, and tied scores share their discounts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.measures import checked_cutoffs, measure_name


def tutorial_per_query(
    texts: Sequence[Sequence[str]],
    scores: NDArray[np.floating],
    truths: Sequence[Sequence[str]],
    cutoffs: Sequence[int],
) -> dict[str, NDArray[np.float64]]:
    """The tutorial's measures at every cutoff: a name such as `tutorial_recall_at_10` to values [queries].

    texts: each query's retrieved passages, best first. scores [queries, ranks]: their scores, which alone
    decide nDCG, as in the tutorial; what lies behind a list's end is ignored. truths: the relevant passages.
    Raises ValueError where the three do not fit together or a score is not a finite number.
    """
    at = checked_cutoffs(cutoffs)
    hits = _hits(texts, truths, width=scores.shape[1])
    lengths = np.array([len(retrieved) for retrieved in texts], dtype=np.int64)
    _check_scores(scores, lengths)
    ndcg = _ndcg(hits, scores, lengths, at.tolist())
    kinds = {"recall": _recall(hits, at), "mrr": _mrr(hits, at), "ndcg": ndcg}
    return {
        f"tutorial_{measure_name(kind, cutoff)}": values[:, column]
        for kind, values in kinds.items()
        for column, cutoff in enumerate(at.tolist())
    }


def _hits(texts: Sequence[Sequence[str]], truths: Sequence[Sequence[str]], width: int) -> NDArray[np.bool_]:
    """Which retrieved passage is one of the query's relevant texts [queries, width]."""
    hits = np.zeros((len(texts), width), dtype=np.bool_)
    for row, (retrieved, truth) in enumerate(zip(texts, truths, strict=True)):
        if len(retrieved) > width:
            raise ValueError(f"query {row} has {len(retrieved)} passages but only {width} scores")
        relevant = set(truth)
        hits[row, : len(retrieved)] = [text in relevant for text in retrieved]
    return hits


def _check_scores(scores: NDArray[np.floating], lengths: NDArray[np.int64]) -> None:
    retrieved = np.arange(scores.shape[1]) < lengths[:, None]
    if not np.isfinite(scores[retrieved]).all():
        raise ValueError("the score of a retrieved passage is not a finite number")


def _recall(hits: NDArray[np.bool_], cutoffs: NDArray[np.int64]) -> NDArray[np.float64]:
    """len(hits) / max(min(len(hits), len(truth)), 1) [queries, cutoffs].

    There can be no more distinct hits than relevant texts, so this is 1 with any hit and 0 without.
    """
    return (_first(hits) < cutoffs).astype(np.float64)


def _mrr(hits: NDArray[np.bool_], cutoffs: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / rank of the first hit within the cutoff, else 0 [queries, cutoffs]."""
    first = _first(hits)
    return np.where(first < cutoffs, 1.0 / (first + 1), 0.0)


def _first(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many passages stand before the first hit, infinitely many without a hit [queries, 1]."""
    ahead = np.argmax(np.pad(hits, ((0, 0), (0, 1)), constant_values=True), axis=1)[:, None]
    return np.where(ahead < hits.shape[1], ahead, np.inf)


def _ndcg(
    hits: NDArray[np.bool_], scores: NDArray[np.floating], lengths: NDArray[np.int64], cutoffs: Sequence[int]
) -> NDArray[np.float64]:
    """scikit-learn's ndcg_score(hits, scores, k) of each query [queries, cutoffs].

    It takes lists of one length, of two passages or more; a single passage is in its best order, so its nDCG
    is 1 if it is relevant and 0 if not.
    """
    from sklearn.metrics import ndcg_score

    values = np.zeros((len(hits), len(cutoffs)))
    for row, length in enumerate(lengths):
        relevant, known = hits[row : row + 1, :length], scores[row : row + 1, :length]
        for column, cutoff in enumerate(cutoffs):
            values[row, column] = relevant.sum() if length < 2 else ndcg_score(relevant, known, k=cutoff)
    return values
