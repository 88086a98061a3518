"""What the runs left of one first stage's candidates: grades, its own scores, and every reranker's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics import typed_parquet
from rerankbench.basics.typed_json import shown
from rerankbench.basics.typed_parquet import NUMBER, TEXT, WHOLE
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import ranking
from rerankbench.report.arms.arms import Contest
from rerankbench.report.arms.runs import SCORES, Run, telling
from rerankbench.report.arrangements.measuring import Ruler, ruler

Scores = NDArray[np.float32]
FIRST = "first_stage_score"
LONGEST = 100_000  # candidates of a query


@dataclass(frozen=True)
class Lacking:
    """A reranker that ran, but whose scores of these candidates are not at hand, and why."""

    reranker: str
    first_stage: str
    why: str


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates in first-stage order, row i of every array the contest's query i.

    grades [queries, candidates], UNJUDGED where nobody judged and behind the end; `first`: the first stage's
    scores; `scored`: rows of plain arms to scores [queries, candidates] of that reranker and layer, NaN where
    it has none (one array for all depths); `length` [queries].
    """

    stage: str
    grades: NDArray[np.int32]
    length: NDArray[np.int64]
    first: Scores
    scored: Mapping[int, Scores]
    ruler: Ruler


@dataclass(frozen=True, eq=False)
class Table:
    """scores.parquet of a run, laid out: the first stage's columns, and some layers' scores."""

    grades: NDArray[np.int32]
    length: NDArray[np.int64]
    first: Scores
    layers: Mapping[int | None, Scores]


def pools(contest: Contest, wanted: Sequence[int]) -> tuple[list[Pool], list[Lacking]]:
    """Of each first stage, what was scored by the `wanted` plain arms (rows); and what lacks scores."""
    found, lacking = [], []
    for stage in contest.stages():
        rows = [i for i in wanted if contest.arms[i].stage == stage]
        pool, without = pool_of(contest, stage, rows)
        lacking += without
        if pool is not None and pool.scored:
            found.append(pool)
    return found, lacking


def pool_of(contest: Contest, stage: str, rows: Sequence[int]) -> tuple[Pool | None, list[Lacking]]:
    """One first stage's. Of a reranker in several runs the deepest run is read."""
    arms, lacking = contest.arms, []
    scored: dict[int, Scores] = {}
    base: Table | None = None
    for reranker in dict.fromkeys(arms[i].reranker for i in rows):
        own = [i for i in rows if arms[i].reranker == reranker]
        run = arms[max(own, key=lambda i: arms[i].depth)].run
        layers = list(dict.fromkeys(arms[i].layer for i in own))
        table, why = read(run, contest.query_ids, layers)
        if table is not None and base is not None and not same(base, table):
            table, why = None, "its candidates differ from those of the other rerankers"
        if table is not None:
            measure = ruler_of(contest, stage, table)
            why = mistaken(contest, own, table, measure)
        if table is None or why:
            label = str(run.params.get("reranker", reranker))
            lacking.append(Lacking(label, arms[own[0]].stage_name, why))
            continue
        base = base or table
        scored |= {i: table.layers[arms[i].layer] for i in own}
    if base is None:
        return None, lacking
    return Pool(stage, base.grades, base.length, base.first, scored, ruler_of(contest, stage, base)), lacking


def ruler_of(contest: Contest, stage: str, table: Table) -> Ruler:
    depth = max((depth for each, depth in contest.oracle if each == stage), default=0)
    best = contest.oracle.get((stage, depth), {})
    run = next(arm.run for arm in contest.arms if arm.stage == stage)
    threshold = int(run.dataset.get("relevance_threshold") or 1)
    return ruler(table.grades, table.length, depth, best, threshold)


def mistaken(contest: Contest, rows: Sequence[int], table: Table, measure: Ruler) -> str:
    """Why scores are not those that the plain arms were measured by, empty if they are."""
    name = contest.measure
    if not measure.knows(name):
        return f"{name} cannot be worked out from scores"
    for row in rows:
        arm = contest.arms[row]
        order = ranking.rerank(table.layers[arm.layer], arm.depth)
        if np.abs(measure(order, name) - contest.compared[row]).max(initial=0.0) > 1e-6:
            return "its scores do not give the measures of its table"
    return ""


def same(one: Table, other: Table) -> bool:
    return one.grades.shape == other.grades.shape and np.array_equal(one.grades, other.grades)


def read(run: Run, ids: Sequence[str], layers: Sequence[int | None]) -> tuple[Table | None, str]:
    """A run's scores, or why there are none. Raises UserError where the file is damaged."""
    if not os.path.lexists(run.folder / SCORES):
        return None, f"its run has no {SCORES}"
    listed = {"reranker.path", "reranker.parameters_m"} <= set(run.params)
    if listed and not run.result.get("model", {}).get("parameters"):
        return None, "lists of another tool hold an order and no scores"
    names = {layer: "score" if layer is None else f"score_{layer}" for layer in layers}
    with telling(run, SCORES):
        table = typed_parquet.read(run.folder / SCORES, lambda found: columns(found, names.values()))
        missing = [name for name in (FIRST, *names.values()) if name not in table.column_names]
        if missing:
            return None, f"{SCORES} has no column {missing[0]}"
        return laid_out(table, ids, names), ""


def columns(found: Sequence[str], names: Iterable[str]) -> dict[str, str]:
    known = {"query_id": TEXT, "rank": WHOLE, "relevance": WHOLE}
    return known | {name: NUMBER for name in (FIRST, *names) if name in found}


def laid_out(table: pa.Table, ids: Sequence[str], names: Mapping[int | None, str]) -> Table:
    """Raises ValueError for what no run writes."""
    at = Places.of(table, ids)
    return Table(
        grades=at.laid(pc.fill_null(table["relevance"], UNJUDGED), UNJUDGED, np.int32),
        length=at.length,
        first=at.laid(table[FIRST], -np.inf, np.float32),
        layers={layer: at.laid(table[name], np.nan, np.float32) for layer, name in names.items()},
    )


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of a table of ranked lists belong: `queries` and `ranks` [rows], both from 0.

    `length` [queries] of each list.
    """

    queries: NDArray[np.int64]
    ranks: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, ids: Sequence[str]) -> Places:
        """By its columns query_id and rank. Raises ValueError for what no run writes."""
        query = pc.index_in(table["query_id"], value_set=pa.array(list(ids), pa.string()))
        rank = table["rank"]
        if query.null_count or rank.null_count:
            raise ValueError("it holds queries that were not measured, or rows without a rank")
        rows, places = query.to_numpy().astype(np.int64), rank.to_numpy() - 1
        if len(places) and not 0 <= places.min() <= places.max() < LONGEST:
            raise ValueError(f"its column rank should hold 1 to {LONGEST:,}")
        length = np.bincount(rows, minlength=len(ids))
        wrong = rows[places >= length[rows]]
        if len(wrong) or len(np.unique(rows * LONGEST + places)) != len(rows):
            told = f" {shown(ids[wrong[0]])}" if len(wrong) else ""
            raise ValueError(f"the ranks of query{told} should be 1, 2, ... without a gap")
        return cls(rows, places, length)

    def laid(self, column: pa.ChunkedArray, empty: object, kind: type) -> NDArray[Any]:
        """The values of a column [queries, ranks], `empty` behind the end of a list."""
        out = np.full((len(self.length), self.length.max(initial=0)), empty, kind)
        out[self.queries, self.ranks] = column.to_numpy()
        return out
