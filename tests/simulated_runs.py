"""Run folders with known truth, as `outputs.write` leaves them, without any model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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
    result = {
        "schema": 1,
        "arm": name,
        "status": "ok",
        "dataset": {
            "name": "simulated",
            "split": "test",
            "docs": 9,
            "queries": count,
            "judgements": count,
            "fingerprint": "f",
        },
        "identity": {"candidates": "stage", "embedder": "", "reranker": name if layers else ""},
        "params": {"first_stage": "dense", "reranker": name},
        "throughput": {"pairs_per_second": 100.0} if layers else None,
        "latency_ms": {str(d): {"p50": d * 1.0, "p95": d * 2.0} for d in found} or None,
        "memory_mb": {"peak_rss": 300.0, "peak_cuda": None},
        "model": {"parameters": 33_000_000 if layers else 0, "load_seconds": 1.0},
        "environment": {"device_name": "machine", "precision": "fp32"},
    }
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


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
