"""Run folders with known truth, as `outputs.write` leaves them, without any model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench.report.race.record import Cell, Contestant, Record, Round

Values = NDArray[np.float64]


def write_run(
    folder: Path,
    name: str,
    first: Values,
    depths: Mapping[int, Values] | None = None,
    layers: Mapping[int, Mapping[int, Values]] | None = None,
    **changes: Any,
) -> Path:
    """One run: the first stage's values [queries], the reranker's by depth, or by layer and depth."""
    layers = layers or ({12: depths} if depths else {})
    count = len(first)
    ids = [f"q{i}" for i in range(count)]
    rows = [order(ids, "first_stage", None, 0, first)]
    found = sorted({depth for by_depth in layers.values() for depth in by_depth})
    rows += [order(ids, "oracle", None, depth, np.ones(count)) for depth in found]
    rows += [
        order(ids, "reranked", layer, depth, values)
        for layer, by_depth in layers.items()
        for depth, values in by_depth.items()
    ]
    folder.mkdir(parents=True)
    pq.write_table(pa.concat_tables(rows), folder / "per_query.parquet")
    result = result_of(name, count, found, bool(layers))
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


def result_of(name: str, count: int, depths: Sequence[int], reranks: bool) -> dict[str, Any]:
    """What result.json says of a run over `count` queries."""
    size = {"docs": 9, "queries": count, "judgements": count}
    return {
        "schema": 1,
        "arm": name,
        "status": "ok",
        "dataset": {"name": "simulated", "split": "test", **size, "fingerprint": "f"},
        "identity": {"candidates": "stage", "embedder": "", "reranker": name if reranks else ""},
        "params": {"first_stage": "dense", "reranker": name},
        "throughput": {"pairs_per_second": 100.0, "pairs": 5000, "seconds": 50.0} if reranks else None,
        "latency_ms": {str(d): {"p50": d * 1.0, "p95": d * 2.0} for d in depths} or None,
        "memory_mb": {"peak_rss": 300.0, "peak_cuda": None},
        "model": {"parameters": 33_000_000 if reranks else 0, "load_seconds": 1.0},
        "environment": {"device_name": "machine", "precision": "fp32"},
    }


def order(ids: list[str], stage: str, layer: int | None, depth: int, values: Values) -> pa.Table:
    """One order's rows of per_query.parquet."""
    return pa.table(
        {
            "query_id": pa.array(ids, pa.string()),
            "stage": pa.array([stage] * len(ids)).dictionary_encode(),
            "layer": pa.array([layer] * len(ids), pa.int32()),
            "depth": pa.array([depth] * len(ids), pa.int32()),
            "ndcg_at_10": pa.array(values, pa.float64()),
        }
    )


def write_failure(folder: Path, name: str, error: str, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    result = {"schema": 1, "arm": name, "status": "failed", "error": error} | changes
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def noisy(mean: float, spread: float, count: int, seed: int) -> Values:
    """Values around a mean, exactly that mean in the sample, so that a case says what it means."""
    noise = np.random.default_rng(seed).normal(0, spread, count)
    return np.asarray(mean + noise - noise.mean())


def write_race(
    folder: Path, times: Mapping[Cell, Values], calm: Sequence[bool] = (), **changes: Any
) -> Record:
    """A race beside such runs, as if one had been held: milliseconds [queries] by cell, one round a query."""
    count = max(len(values) for values in times.values())
    rounds = tuple(
        Round(f"q{i}", (20.0,), (20.0,), at(times, i), calm=ok) for i, ok in enumerate(calm or [True] * count)
    )
    kinds = {("first_stage", c.stage) for c in times} | {
        ("reranker", c.reranker) for c in times if c.reranker
    }
    people = tuple(
        Contestant(kind, key, key, memory_mb={"peak_rss": 400.0 if kind == "first_stage" else 700.0})
        for kind, key in sorted(kinds)
    )
    told: dict[str, Any] = {"machine": {"device_name": "machine", "threads": 2}, "contestants": people}
    told |= {"started": "2026-01-31T12:00:00+00:00", "seconds": 60.0, "limit_seconds": 120.0}
    told |= {"stopped": "sharp", "width": 0.05, "queries": len(rounds), "rounds": rounds}
    race = Record(**told | changes)
    race.write(folder)
    return race


def at(times: Mapping[Cell, Values], place: int) -> dict[Cell, float]:
    """One query's milliseconds, of what was timed on it."""
    return {cell: float(values[place]) for cell, values in times.items() if place < len(values)}


def proportional(stage: str, reranker: str, depths: Sequence[int], count: int) -> dict[Cell, Values]:
    """Reranking that takes a millisecond a document, some queries' a little more, and searching 5 ms."""
    rng = np.random.default_rng(7)
    return {Cell(stage): 5 * rng.uniform(0.9, 1.1, count)} | {
        Cell(stage, reranker, None, depth): depth * rng.uniform(0.9, 1.1, count) for depth in depths
    }
