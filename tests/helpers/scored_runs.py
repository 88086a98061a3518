"""Runs of one sweep whose scores are drawn at random: all files that a report reads, without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import measures, ranking
from simulated_runs import result_of

Scores = NDArray[np.float32]
CUTOFFS = (3, 10)


@dataclass(frozen=True)
class Drawn:
    """Candidates of some queries: grades [queries, candidates], lengths, and what was never retrieved."""

    grades: NDArray[np.int32]
    length: NDArray[np.int64]
    missed: int = 2  # relevant documents of each query that are no candidates

    @property
    def ids(self) -> list[str]:
        return [f"q{i}" for i in range(len(self.grades))]

    @property
    def ideal(self) -> NDArray[np.int32]:
        missed = np.ones((len(self.grades), self.missed), np.int32)
        return np.sort(np.concatenate([self.grades, missed], axis=1), axis=1)[:, ::-1]

    def judged(self, order: NDArray[np.int64]) -> measures.Judged:
        grades = measures.grades_at(self.grades, order)
        return measures.Judged(grades=grades, ideal=self.ideal, length=self.length)

    def qrels(self) -> dict[str, dict[str, int]]:
        """What trec_eval is told: grades of the candidates, and one each of the missed documents."""
        found = {}
        for query, grades in zip(self.ids, self.grades, strict=True):
            found[query] = {f"d{i}": int(g) for i, g in enumerate(grades) if g != UNJUDGED}
            found[query] |= {f"missed{i}": 1 for i in range(self.missed)}
        return found


def drawn(queries: int, candidates: int, seed: int, *, full: bool = False) -> Drawn:
    """Lists of different lengths, one empty and one of a single document, unless they are to be full."""
    rng = np.random.default_rng(seed)
    grades = rng.choice(
        np.array([UNJUDGED, 0, 1, 2, 3], np.int32), (queries, candidates), p=[0.3, 0.4, 0.15, 0.1, 0.05]
    )
    length = np.full(queries, candidates) if full else rng.integers(1, candidates + 1, queries)
    if not full:
        length[:2] = [0, 1]
    grades[np.arange(candidates) >= length[:, None]] = UNJUDGED
    return Drawn(grades, length)


def scores_like(pool: Drawn, seed: int, skill: float, *, ties: bool = True) -> Scores:
    """Scores [queries, candidates] that know the grades a little; with ties among them."""
    rng = np.random.default_rng(seed)
    values = skill * np.maximum(pool.grades, 0) + rng.normal(size=pool.grades.shape)
    values = np.round(values, 1) if ties else values
    return np.where(np.arange(pool.grades.shape[1]) < pool.length[:, None], values, np.nan).astype(np.float32)


def first_scores(pool: Drawn, seed: int) -> Scores:
    """Falling first-stage scores, some of them equal."""
    rng = np.random.default_rng(seed)
    return -np.cumsum(rng.choice([0.0, 0.5, 1.0], pool.grades.shape), axis=1).astype(np.float32)


def write_scored(
    folder: Path,
    name: str,
    pool: Drawn,
    first: Scores,
    layers: Mapping[int | None, Scores] | None = None,
    depths: tuple[int, ...] = (5, 10, 20),
    **changes: object,
) -> Path:
    """One run's folder; `layers`: a reranker's scores, under None where it has one layer only."""
    layers = layers or {}
    folder.mkdir(parents=True)
    tables = [table(pool, "first_stage", None, 0, ranking.first_stage(pool.grades.shape))]
    tables += [table(pool, "oracle", None, depth, ranking.oracle(pool.grades, depth)) for depth in depths]
    tables += [
        table(pool, "reranked", layer or 12, depth, ranking.rerank(scores, depth))
        for layer, scores in layers.items()
        for depth in depths
    ]
    pq.write_table(pa.concat_tables(tables), folder / "per_query.parquet")
    pq.write_table(score_table(pool, first, layers), folder / "scores.parquet")
    result = result_of(name, len(pool.grades), depths if layers else (), bool(layers))
    result["by_depth"] = {str(depth): {} for depth in depths} if layers else {}
    (folder / "result.json").write_text(json.dumps(result | {"latency_ms": None} | changes))
    return folder


def table(pool: Drawn, stage: str, layer: int | None, depth: int, order: NDArray[np.int64]) -> pa.Table:
    count = len(pool.grades)
    columns = {
        "query_id": pa.array(pool.ids, pa.string()),
        "stage": pa.array([stage] * count).dictionary_encode(),
        "layer": pa.array([layer] * count, pa.int32()),
        "depth": pa.array([depth] * count, pa.int32()),
    }
    return pa.table(columns | measures.per_query(pool.judged(order), CUTOFFS))


def score_table(pool: Drawn, first: Scores, layers: Mapping[int | None, Scores]) -> pa.Table:
    query, rank = np.nonzero(np.arange(pool.grades.shape[1]) < pool.length[:, None])
    grades = pool.grades[query, rank]
    columns = {
        "query_id": pa.array(np.array(pool.ids)[query], pa.string()),
        "doc_id": pa.array([f"d{i}" for i in rank], pa.string()),
        "rank": pa.array(rank + 1, pa.int32()),
        "first_stage_score": pa.array(first[query, rank], pa.float32()),
        "relevance": pa.array(grades, pa.int32(), mask=grades == UNJUDGED),
    }
    for layer, scores in layers.items():
        name = "score" if layer is None else f"score_{layer}"
        columns[name] = pa.array(scores[query, rank], pa.float32(), from_pandas=True)
    return pa.table(columns)
