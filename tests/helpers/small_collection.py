"""A collection of 60 documents and 8 queries, the command that runs it, and the numbers that come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collections_on_disk import beir
from commands import tiny
from tiny_models import SENTENCES

NUMBERS = ("dataset", "identity", "measures", "by_depth", "by_cutoff", "oracle_by_depth")
FILES = (
    "candidates.trec",
    "reranked.trec",
    "qrels.trec",
    "per_query.parquet",
    "scores.parquet",
    "texts.parquet",
)
PAIRS = 96  # 8 queries with 12 candidates each


def command(models: Path, folder: Path, *more: str) -> list[str]:
    """Dense candidates, reranked in batches of four pairs; everything in `folder`."""
    if not (folder / "data").exists():
        documents = [
            (f"d{n}", "", f"{SENTENCES[n % len(SENTENCES)]} " * (1 + n % 4) + str(n)) for n in range(60)
        ]
        queries = [(f"q{n}", "", f"{SENTENCES[n]}?") for n in range(8)]
        grades = [(f"q{n}", f"d{n + 8 * grade}", 2 - grade) for n in range(8) for grade in (0, 1)]
        beir(folder / "data", documents, queries, grades)
    reranker = ["reranker=base", f"reranker.model={models / 'base'}"]
    return [*tiny(models, folder), *reranker, "candidates=12", "batch_size=4", *more]


def numbers(out: Path) -> dict[str, Any]:
    """Everything that a run found out: figures, and the bytes of its files; not what it took."""
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "ok"
    return {name: result[name] for name in NUMBERS} | {name: (out / name).read_bytes() for name in FILES}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two runs' numbers differ: short enough to be read in a failed test."""
    assert one.keys() == other.keys()
    return [name for name in one if one[name] != other[name]]


def pairs(out: Path) -> dict[str, int]:
    """How many pairs a run scored and reused."""
    return dict(json.loads((out / "result.json").read_text())["pairs"])
