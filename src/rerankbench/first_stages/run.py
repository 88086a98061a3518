"""Candidates from a run file that any other tool wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.bench import Bench
from rerankbench.candidates import Candidates, read_trec
from rerankbench.collection import Collection
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.sources.source import file_problem


@dataclass(frozen=True)
class Run(FirstStage):
    """A TREC run, or query id, document id and score as JSON or parquet; nothing is embedded."""

    path: str = "???"

    kind: ClassVar[str] = "run"

    def problems(self) -> list[str]:
        if self.path == "???":
            return []  # a missing value is reported as such
        problem = file_problem(Path(self.path).expanduser(), "first_stage.path")
        return [problem] if problem else []

    def identity(self, bench: Bench) -> dict[str, Any]:
        with open(Path(self.path).expanduser(), "rb") as file:
            return {"kind": self.kind, "file": hashlib.file_digest(file, "sha256").hexdigest()}

    def retrieve(self, collection: Collection, depth: int, bench: Bench) -> tuple[Candidates, str]:
        """Read anew each time: that is as fast as the store, and keeps the notes about the file."""
        return self.search(collection, depth, bench), self.key(collection, depth, bench)

    def search(self, collection: Collection, depth: int, bench: Bench) -> Candidates:
        return read_trec(Path(self.path).expanduser(), collection, depth)
