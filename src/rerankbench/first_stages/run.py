"""Candidates from a run file that any other tool wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.bench import Bench
from rerankbench.candidates import Candidates, read_trec
from rerankbench.collection import Collection
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.sources.layout import RUN, Layout
from rerankbench.sources.rows import column_problems, suffix
from rerankbench.sources.source import given_problem

_KEYS = {"query": "query_column", "document": "doc_column", "score": "score_column"}


@dataclass(frozen=True)
class Run(FirstStage):
    """A TREC run, or query id, document id and score as JSON, CSV, TSV or parquet; nothing is embedded.

    path: the file. query_column, doc_column, score_column: what it calls these columns; null: the usual
    names (see `sources.layout`).
    """

    path: str = "???"
    query_column: str | None = None
    doc_column: str | None = None
    score_column: str | None = None

    kind: ClassVar[str] = "run"

    def problems(self) -> list[str]:
        if self.path == "???":
            return []  # a missing value is reported as such
        problem = given_problem(self.path, "first_stage.path")
        if problem or suffix(self.file) == ".json":  # nested JSON has no columns
            return [problem] if problem else []
        return column_problems(self.file, self.layout)

    @property
    def file(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def layout(self) -> Layout:
        """The columns of a run, those that are given under the given names."""
        keys = {role: f"first_stage.{key}" for role, key in _KEYS.items()}
        columns = {role: getattr(self, key) for role, key in _KEYS.items()}
        return replace(RUN, keys=keys).named(**columns)

    def identity(self, bench: Bench) -> dict[str, Any]:
        with self.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        columns = {key: name for key in _KEYS.values() if (name := getattr(self, key)) is not None}
        return {"kind": self.kind, "file": digest, **columns}

    def retrieve(self, collection: Collection, depth: int, bench: Bench) -> tuple[Candidates, str]:
        """Read anew each time: that is as fast as the store, and keeps the notes about the file."""
        return self.search(collection, depth, bench), self.key(collection, depth, bench)

    def search(self, collection: Collection, depth: int, bench: Bench) -> Candidates:
        return self.read(collection, depth)

    def read(self, collection: Collection, depth: int) -> Candidates:
        """The file's candidates, best `depth` of each query. Raises UserError with every fault."""
        return read_trec(self.file, collection, depth, self.layout)
