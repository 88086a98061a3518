"""What a set of candidates allows a reranker to reach, and how much of it is judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, examples
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import measures

_WIDELY_JUDGED = 0.8
_FIRST_PAGE = 10


def candidate_findings(collection: Collection, candidates: Candidates) -> list[Finding]:
    """How many candidates are judged, what no reranker can reach, and lists that are short or tied."""
    depth = candidates.rows.shape[1]
    if depth == 0:
        return []
    if not collection.judged:
        return [_ties(candidates)]
    first_page = min(_FIRST_PAGE, depth)
    found = [_unjudged(collection, candidates, cutoff) for cutoff in dict.fromkeys((first_page, depth))]
    return [
        *found,
        _unreachable(collection, candidates),
        *_hopeless(collection, candidates),
        _ties(candidates),
    ]


def _measure(
    collection: Collection, candidates: Candidates, grades: NDArray[np.int32], cutoff: int
) -> dict[str, float]:
    judged = measures.Judged(
        grades=grades,
        ideal=collection.ideal(),
        length=candidates.lengths(),
        threshold=collection.relevance_threshold,
    )
    return measures.mean(measures.per_query(judged, [cutoff]))


def _unjudged(collection: Collection, candidates: Candidates, cutoff: int) -> Finding:
    grades = collection.grades(candidates.rows)
    share = _measure(collection, candidates, grades, cutoff)[measures.measure_name("judged", cutoff)]
    top = slice(0, cutoff)
    count = int(((grades == UNJUDGED) & (candidates.rows >= 0))[:, top].sum())
    return Finding(
        "info" if share >= _WIDELY_JUDGED else "warning",
        f"candidates at ranks 1 to {cutoff} that nobody judged",
        count,
        (f"Judged@{cutoff} {share:.4f}",),
        "they count as not relevant, which penalises rerankers that find relevant ones among them",
    )


def _unreachable(collection: Collection, candidates: Candidates) -> Finding:
    grades = collection.grades(candidates.rows)
    depth = grades.shape[1]
    first_page = min(_FIRST_PAGE, depth)
    best = measures.best_order(grades)
    recall = _measure(collection, candidates, best, depth)[measures.measure_name("recall", depth)]
    ndcg = _measure(collection, candidates, best, first_page)[measures.measure_name("ndcg", first_page)]
    relevant = int((collection.judged_grade >= collection.relevance_threshold).sum())
    return Finding(
        "info",
        f"relevant judgements outside the {depth:,} candidates",
        relevant - int((grades >= collection.relevance_threshold).sum()),
        (f"Recall@{depth} {recall:.4f}",),
        f"no reranker can bring them back: the best possible nDCG@{first_page} is {ndcg:.4f}",
    )


def _hopeless(collection: Collection, candidates: Candidates) -> list[Finding]:
    lengths = candidates.lengths()
    depth = candidates.rows.shape[1]
    grades = collection.grades(candidates.rows)
    hopeless = np.max(grades, axis=1) < collection.relevance_threshold
    return [
        _queries("queries without a relevant candidate", hopeless, "no reranker can help them", collection),
        _queries(
            f"queries with fewer than {depth:,} candidates",
            (lengths > 0) & (lengths < depth),
            "larger depths change nothing for them",
            collection,
        ),
    ]


def _queries(what: str, mask: NDArray[np.bool_], effect: str, collection: Collection) -> Finding:
    ids = [collection.query_ids[number] for number in np.flatnonzero(mask).tolist()]
    return Finding("info", what, len(ids), examples(ids), effect)


def _ties(candidates: Candidates) -> Finding:
    same = (candidates.scores[:, 1:] == candidates.scores[:, :-1]) & (candidates.rows[:, 1:] >= 0)
    return Finding(
        "info",
        "candidates with the same score as the one above",
        int(same.sum()),
        (),
        "they keep the file's order",
    )
