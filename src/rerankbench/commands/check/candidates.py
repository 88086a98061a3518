"""What a set of candidates allows a reranker to reach, and how much of it is judged."""

from __future__ import annotations

import numpy as np

from rerankbench.basics.finding import Finding, of_ids
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import ranking
from rerankbench.evaluation.evaluation import Judge

_WIDELY_JUDGED = 0.8
_FIRST_PAGE = 10


def candidate_findings(collection: Collection, candidates: Candidates) -> list[Finding]:
    """How many candidates are judged, what no reranker can reach, and lists that are short or tied."""
    depth = candidates.rows.shape[1]
    if depth == 0:
        return []
    if not collection.judged:
        return [_ties(candidates)]
    cutoffs = sorted({min(_FIRST_PAGE, depth), depth})
    judge = Judge(collection, candidates, cutoffs)
    found = [_unjudged(judge, cutoff) for cutoff in cutoffs]
    return [*found, _unreachable(judge), *_hopeless(judge), _ties(candidates)]


def _unjudged(judge: Judge, cutoff: int) -> Finding:
    rows = judge.candidates.rows
    share = judge("first_stage", None, 0, ranking.first_stage(rows.shape)).mean()[f"judged_at_{cutoff}"]
    return Finding(
        "info" if share >= _WIDELY_JUDGED else "warning",
        f"candidates at ranks 1 to {cutoff} that nobody judged",
        int(((judge.grades == UNJUDGED) & (rows >= 0))[:, :cutoff].sum()),
        (f"Judged@{cutoff} {share:.4f}",),
        "they count as not relevant, which penalises rerankers that find relevant ones among them",
    )


def _unreachable(judge: Judge) -> Finding:
    first_page, depth = judge.cutoffs[0], judge.cutoffs[-1]
    threshold = judge.collection.relevance_threshold
    best = judge("oracle", None, depth, ranking.oracle(judge.grades, depth)).mean()
    relevant = int((judge.collection.judged_grade >= threshold).sum())
    return Finding(
        "info",
        f"relevant judgements outside the {depth:,} candidates",
        relevant - int((judge.grades >= threshold).sum()),
        (f"Recall@{depth} {best[f'recall_at_{depth}']:.4f}",),
        f"no reranker can bring them back: the best possible nDCG@{first_page} is "
        f"{best[f'ndcg_at_{first_page}']:.4f}",
    )


def _hopeless(judge: Judge) -> list[Finding]:
    depth, ids = judge.grades.shape[1], np.array(judge.collection.query_ids, dtype=object)
    hopeless = ids[np.max(judge.grades, axis=1) < judge.collection.relevance_threshold].tolist()
    few = ids[(judge.length > 0) & (judge.length < depth)].tolist()
    what = f"queries with fewer than {depth:,} candidates"
    return [
        of_ids("info", "queries without a relevant candidate", hopeless, "no reranker can help them"),
        of_ids("info", what, few, "larger depths change nothing for them"),
    ]


def _ties(candidates: Candidates) -> Finding:
    same = (candidates.scores[:, 1:] == candidates.scores[:, :-1]) & (candidates.rows[:, 1:] >= 0)
    what = "candidates with the same score as the one above"
    return Finding("info", what, int(same.sum()), (), "they keep the file's order")
