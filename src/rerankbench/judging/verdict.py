"""From runs and judgements of a part of their pairs to what a report needs: figures, and what is settled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerankbench.judging.beliefs import Beliefs, beliefs
from rerankbench.judging.bounds import bounds
from rerankbench.judging.forecast import left
from rerankbench.judging.lists import Lists
from rerankbench.judging.pool import Pair, Pool, pool
from rerankbench.judging.qrels import Qrels, told
from rerankbench.judging.rejudged import rejudged
from rerankbench.judging.standing import FEWEST, LEVEL, OPEN, Standing, standing
from rerankbench.report.arms.runs import Run
from rerankbench.report.evidence.settled import Comparison, Settled

CUTOFF = 10
WELL_JUDGED = 0.8  # of all pairs on first ranks: a test over queries needs each query to be known


@dataclass(frozen=True)
class State:
    """Where judging stands."""

    lists: Lists
    pool: Pool
    beliefs: Beliefs
    standing: Standing


def state(found: Lists, grades: dict[Pair, int], cutoff: int, delta: float, highest: int) -> State:
    """What the judgements so far say of arms whose lists are known."""
    those = pool(found, cutoff, grades)
    expected = beliefs(those, highest)
    return State(found, those, expected, standing(those, expected, delta, highest))


def judged_runs(runs: Sequence[Run], at: State, qrels: Qrels, scratch: Path) -> list[Run]:
    """The runs measured by the judgements."""
    return rejudged(runs, at.lists, at.pool, at.beliefs, qrels.grades, scratch)


def cutoff_of(measure: str) -> int:
    """The ranks that a measure looks at."""
    match = re.fullmatch(r".*_at_([0-9]+)", measure)
    return int(match[1]) if match else CUTOFF


def settled(at: State, qrels: Qrels, file: Path, measure: str, warnings: Sequence[str] = ()) -> Settled:
    """What judgements settle, for every two arms. By another measure than nDCG all or nothing is."""
    those, arms = at.pool, range(len(at.lists.arms))
    by_rank = measure.startswith("ndcg") or not those.open.any()
    compared = [comparison(at, one, other, by_rank) for one in arms for other in arms if one != other]
    pairs = [
        (query_id, doc_id)
        for query_id, known in zip(those.query_ids, those.pairs, strict=True)
        for doc_id in known
        if (query_id, doc_id) in qrels.grades
    ]
    more, queries = left(at.standing, at.beliefs)
    return Settled(
        file=str(file),
        judged_by=told(qrels.by(pairs)) or "none of them is of a pair that these runs ranked first",
        judged=int((those.wanted & ~those.open).sum()),
        pairs=int(those.wanted.sum()),
        measure=measure,
        comparisons=tuple(compared),
        left=more,
        left_queries=queries,
        warnings=tuple(warnings),
    )


def comparison(at: State, one: int, other: int, by_rank: bool) -> Comparison:
    """Two arms; where `by_rank` is false, nothing is settled."""
    difference = at.standing.means[:, one] - at.standing.means[:, other]
    low, high = bounds(at.pool, one, other, at.standing.highest)
    delta = at.standing.delta
    likely = at.pool.judged >= FEWEST and float((difference >= -delta).mean()) >= LEVEL
    return Comparison(
        arm=at.lists.arms[one].name,
        other=at.lists.arms[other].name,
        state=at.standing.state(one, other) if by_rank else OPEN,
        expected=float(np.mean(difference)),
        low=low,
        high=high,
        within=by_rank and (likely or low >= -delta),
    )
