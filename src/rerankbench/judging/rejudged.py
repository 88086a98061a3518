"""Runs measured anew with other judgements, as folders that a report reads like any other.

A pair that nobody judged counts with the grade that is to be expected of it: every measure is the mean over
completions of the judgements. Where all pairs are judged, there is nothing to complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench.basics import typed_parquet
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import measures, ranking
from rerankbench.evaluation.evaluation import Measured
from rerankbench.experiment.tracking.outputs import order_table, parquet
from rerankbench.experiment.tracking.result import Result
from rerankbench.judging.beliefs import Beliefs
from rerankbench.judging.lists import Lists, Scored, read
from rerankbench.judging.pool import Pair, Pool
from rerankbench.judging.standing import completions
from rerankbench.report.arms.runs import CONFIG, HYDRA, PER_QUERY, SCORES, TEXTS, Run, telling

COMPLETIONS = 50
Grades = NDArray[np.int32]
Values = NDArray[np.float64]
THRESHOLD = 1


class Judge:
    """Measures orders on completions of a pool's judgements."""

    def __init__(
        self, lists: Lists, pool: Pool, found: Beliefs, cutoffs: Sequence[int], threshold: int
    ) -> None:
        self.pool, self.cutoffs, self.threshold = pool, cutoffs, threshold
        drawn = completions(pool, found, COMPLETIONS if pool.open.any() else 1)
        self.grades = np.where(pool.wanted | (pool.grades != UNJUDGED), drawn, np.int32(UNJUDGED))
        self.ideal = -np.sort(-self.grades.astype(np.int64), axis=2).astype(np.int32)
        self.number = {query_id: i for i, query_id in enumerate(lists.query_ids)}
        self.places = [{doc_id: i for i, doc_id in enumerate(known)} for known in pool.pairs]

    def columns(self, doc_ids: Sequence[Sequence[str]], width: int) -> NDArray[np.int64]:
        """The pool's column of each candidate [queries, candidates], -1 for one that is in no first rank."""
        out = np.full((len(doc_ids), width), -1, np.int64)
        for query, ids in enumerate(doc_ids):
            out[query, : len(ids)] = [self.places[query].get(doc_id, -1) for doc_id in ids]
        return out

    def measured(
        self, columns: NDArray[np.int64], length: NDArray[np.int64], stage: str, layer: int | None, depth: int
    ) -> Measured:
        """Candidates' columns in the order to be measured."""
        means = self.means(columns, length)
        share = self.per_query(self.pool.grades, self.ideal[0], columns, length)
        means |= {name: values for name, values in share.items() if name.startswith("judged")}
        return Measured(stage, layer, depth, means)

    def means(self, columns: NDArray[np.int64], length: NDArray[np.int64]) -> dict[str, Values]:
        """Every measure [queries], as its mean over completions."""
        sums: dict[str, Values] = {}
        for drawn, ideal in zip(self.grades, self.ideal, strict=True):
            for name, values in self.per_query(drawn, ideal, columns, length).items():
                sums[name] = sums.get(name, 0) + values
        return {name: values / len(self.grades) for name, values in sums.items()}

    def per_query(
        self, grades: Grades, ideal: Grades, columns: NDArray[np.int64], length: NDArray[np.int64]
    ) -> dict[str, Values]:
        """Every measure [queries] by the pool's `grades` [queries, documents]."""
        ranked = measures.grades_at(grades, columns)
        judged = measures.Judged(grades=ranked, ideal=ideal, length=length, threshold=self.threshold)
        return measures.per_query(judged, self.cutoffs)

    def orders(self, found: Scored, depths: Sequence[int]) -> list[Measured]:
        """First stage, the best possible orders, and everything that a run reranked."""
        width = int(found.length.max(initial=0))
        columns = self.columns(found.doc_ids, width)
        orders = [self.measured(columns, found.length, "first_stage", None, 0)]
        gains = np.take_along_axis(self.grades.clip(0).mean(0), np.maximum(columns, 0), axis=1)
        expected = np.where(columns >= 0, gains, 0)
        for depth in depths:
            best = np.take_along_axis(columns, ranking.rerank(expected, depth), axis=1)
            orders.append(self.measured(best, found.length, "oracle", None, depth))
        for layer, scores in found.scores.items():
            for depth in depths:
                order = ranking.rerank(scores.astype(np.float32), depth)
                ranked = np.take_along_axis(columns, order, axis=1)
                orders.append(self.measured(ranked, found.length, "reranked", layer or 0, depth))
        return orders


def rejudged(
    runs: Sequence[Run], lists: Lists, pool: Pool, found: Beliefs, grades: Mapping[Pair, int], scratch: Path
) -> list[Run]:
    """All runs with these judgements; those that failed as they are."""
    return [
        run if run.failed else one(run, lists, pool, found, grades, scratch / str(i))
        for i, run in enumerate(runs)
    ]


def one(run: Run, lists: Lists, pool: Pool, found: Beliefs, grades: Mapping[Pair, int], folder: Path) -> Run:
    """One run measured anew, in a folder of its own."""
    folder.mkdir(parents=True)
    cutoffs = sorted({int(k) for k in run.params.get("cutoffs") or [pool.cutoff]} | {pool.cutoff})
    judge = Judge(lists, pool, found, cutoffs, int(run.dataset.get("relevance_threshold", THRESHOLD)))
    scored = read(run, lists.query_ids)
    depth = int(run.result.get("depth") or 0)
    depths = [int(each) for each in run.result.get("by_depth") or ()] if scored.scores else []
    orders = judge.orders(scored, depths or ([depth] if depth else []))
    ends = tuple(f"_at_{k}" for k in cutoffs)
    tables = [order_table(order, list(lists.query_ids), ends) for order in orders]
    parquet(pa.concat_tables(tables, promote_options="default"), folder / PER_QUERY)
    relevance(run, grades, folder / SCORES)
    for name in (TEXTS, str(CONFIG), str(HYDRA)):
        if (run.folder / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(run.folder / name, folder / name)
    result = replace(Result.read(run.folder, run.place), **figures(run, orders, len(grades)))
    result.write(folder)
    return Run(folder, run.place, vars(Result.read(folder, run.place)))


def figures(run: Run, orders: Sequence[Measured], judgements: int) -> dict[str, Any]:
    """What of a result follows from judgements."""
    first = next(order.mean() for order in orders if order.stage == "first_stage")
    last = [order.mean() for order in orders if order.stage == "reranked"]
    best = [order.mean() for order in orders if order.stage == "oracle"]
    return {
        "dataset": run.dataset | {"judgements": judgements},
        "measures": {
            "first_stage": first,
            "reranked": last[-1] if last else first,
            "oracle": best[-1] if best else first,
        },
        "by_depth": {str(o.depth): o.mean() for o in orders if o.stage == "reranked"},
        "oracle_by_depth": {str(o.depth): o.mean() for o in orders if o.stage == "oracle"},
        "by_layer": None,
    }


def relevance(run: Run, grades: Mapping[Pair, int], target: Path) -> None:
    """The table of scores with the grades as they are now."""
    with telling(run, SCORES):
        names = typed_parquet.names(run.folder / SCORES)
        table = pq.read_table(run.folder / SCORES)
    pairs = zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True)
    column = pa.array([grades.get(pair) for pair in pairs], pa.int32())
    parquet(table.set_column(names.index("relevance"), "relevance", column), target)
