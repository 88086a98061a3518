"""The ranked lists behind an arm: its documents, their grades, and every judgement of the queries.

From `scores.parquet` and `qrels.trec` of the arm's run; None where a run has none of them, as one that was
downloaded from MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.regular_file import read_regular
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import ranking
from rerankbench.report.arms.arms import Contest
from rerankbench.report.arms.runs import Run, telling
from rerankbench.report.arrangements import pool

QRELS = "qrels.trec"
MOST_BYTES = 2_000_000_000

Grades = NDArray[np.int32]
Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, eq=False)
class Lists:
    """One arm's lists. `grades` [queries, candidates] in first-stage order, UNJUDGED where nobody judged;
    `before` and `after` [queries, candidates] orders of them; `ideal` [queries, judgements] all grades of a
    query, best first; `threshold`: the grade from which on a document is relevant."""

    grades: Grades
    before: ranking.Order
    after: ranking.Order
    length: NDArray[np.int64]
    ideal: Grades
    threshold: int


def lists(contest: Contest, row: int) -> Lists | None:
    """Of a plain arm that reranks. Raises UserError where a file is damaged."""
    arm = contest.arms[row]
    judged = qrels(arm.run)
    if judged is None or not arm.reranks:
        return None
    table, why = pool.read(arm.run, contest.query_ids, [arm.layer])
    if table is None or why:
        return None
    return Lists(
        grades=table.grades,
        before=ranking.first_stage(table.grades.shape),
        after=ranking.rerank(table.layers[arm.layer], arm.depth),
        length=table.length,
        ideal=ideal(judged, contest.query_ids),
        threshold=threshold_of(arm.run),
    )


def answerable(contest: Contest) -> float:
    """The share of the queries whose judgements let the measure be above 0.

    1 where the judgements are not at hand; that their file is damaged is for `leaning` to say.
    """
    run = contest.runs[0]
    try:
        judged = qrels(run)
    except UserError:
        judged = None
    if judged is None:
        return 1.0
    least = 1 if contest.measure.startswith("ndcg") else threshold_of(run)
    return float((ideal(judged, contest.query_ids).max(axis=1) >= least).mean())


def threshold_of(run: Run) -> int:
    return int(run.dataset.get("relevance_threshold") or 1)


def qrels(run: Run) -> Qrels | None:
    """Query to document to grade, None where the run has no such file."""
    found: dict[str, dict[str, int]] = {}
    with telling(run, QRELS):
        try:
            text = read_regular(run.folder / QRELS, MOST_BYTES).decode("utf-8")
        except FileNotFoundError:
            return None
        for number, line in enumerate(text.splitlines(), 1):
            parts = line.split()
            if len(parts) != 4 or not parts[3].lstrip("-").isdecimal():
                raise ValueError(f"line {number} is not a judgement: query, 0, document, grade")
            found.setdefault(parts[0], {})[parts[2]] = int(parts[3])
    return found


def ideal(judged: Qrels, ids: Sequence[str]) -> Grades:
    """All grades of each query [queries, judgements], best first, padded with UNJUDGED."""
    grades = [sorted(judged.get(query, {}).values(), reverse=True) for query in ids]
    out = np.full((len(ids), max(1, *map(len, grades))), UNJUDGED, np.int32)
    for row, values in enumerate(grades):
        out[row, : len(values)] = values
    return out
