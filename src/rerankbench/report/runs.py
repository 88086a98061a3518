"""Finished runs: the folders that hold a result.json, wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.errors import UserError
from rerankbench.result import SCHEMA

RESULT, PER_QUERY = "result.json", "per_query.parquet"
SCORES, TEXTS = "scores.parquet", "texts.parquet"
FILES = (RESULT, PER_QUERY, SCORES, TEXTS)  # all that a report reads


@dataclass(frozen=True)
class Run:
    """One finished or failed run: its folder, and what its result.json says.

    `place`: how people find it, its folder or its MLflow run.
    """

    folder: Path
    place: str
    result: dict[str, Any]

    @property
    def failed(self) -> bool:
        return self.result.get("status") != "ok"

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.result.get("params", {}))

    @property
    def dataset(self) -> dict[str, Any]:
        return dict(self.result.get("dataset", {}))

    @property
    def arm(self) -> str:
        return str(self.result.get("arm", self.place))


def find(places: Iterable[Path]) -> list[Run]:
    """The runs in and below some folders, each once, in the order of their paths.

    Raises UserError where a place is no folder, holds no run, or a run's result cannot be read.
    """
    folders: dict[Path, None] = {}
    problems = []
    for place in places:
        below = sorted({path.parent.resolve() for path in place.rglob(RESULT)}, key=natural)
        if not below:
            problems.append(f"{place}: no {RESULT} in or below it; give the folder of a run or of a sweep")
        folders |= dict.fromkeys(below)
    if problems:
        raise UserError(problems)
    return [read(folder, str(folder)) for folder in folders]


def natural(folder: Path) -> tuple[str, int, str]:
    """Jobs of a sweep in their order: 2 before 10."""
    number = int(folder.name) if folder.name.isdecimal() else -1
    return (str(folder.parent), number, folder.name)


def read(folder: Path, place: str) -> Run:
    """One run. Raises UserError where its result.json is broken or of another schema, or a table is lost."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{place}/{RESULT}: cannot be read ({error}); run it again or leave it out") from None
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise UserError(f"{place}/{RESULT}: not a result of schema {SCHEMA}; run it again with this version")
    run = Run(folder, place, result)
    if not run.failed and not (folder / PER_QUERY).is_file():
        raise UserError(f"{place}: {PER_QUERY} is missing beside {RESULT}; run it again or leave it out")
    return run
