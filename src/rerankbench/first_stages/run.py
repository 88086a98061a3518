"""Candidates from a run file that any other tool wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.basics.finding import Finding
from rerankbench.collections.candidates import Candidates, read_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.layout import RUN, Layout
from rerankbench.collections.reading.lines import suffix
from rerankbench.collections.reading.rows import column_problems
from rerankbench.collections.reading.tables import taken
from rerankbench.collections.run_order import ORDERS
from rerankbench.collections.sources.source import given_problem
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.search_context import SearchContext

_KEYS = {"query": "query_column", "document": "doc_column", "score": "score_column", "rank": "rank_column"}


@dataclass(frozen=True)
class Run(FirstStage):
    """A TREC run, or query id, document id and score as JSON, CSV, TSV or parquet; nothing is embedded.

    `path`: the file.
    `query_column`, `doc_column`, `score_column`, `rank_column`: what the file calls this column, or its
    number from 1 in a file without a header; null: the usual names.
    `order_by`: score (highest first), distance (lowest score first) or rank; null takes scores, or ranks
    where there are none, and refuses a run in which they contradict each other.
    """

    path: str = "???"
    query_column: str | None = None
    doc_column: str | None = None
    score_column: str | None = None
    rank_column: str | None = None
    order_by: str | None = None

    kind: ClassVar[str] = "run"

    def problems(self) -> list[str]:
        found = self._order_problems()
        if self.path == "???":
            return found  # a missing value is reported as such
        problem = given_problem(self.path, "first_stage.path")
        if problem or suffix(self.file) == ".json":  # nested JSON has no columns
            return [*found, problem] if problem else found
        return found + column_problems(self.file, self.layout)

    def _order_problems(self) -> list[str]:
        if self.order_by is not None and self.order_by not in ORDERS:
            return [f"first_stage.order_by={self.order_by}: choose one of {', '.join(ORDERS)}"]
        name, given = (self.score_column or "").casefold(), f"first_stage.score_column={self.score_column}"
        if name in RUN.names["rank"] and self.order_by is None:
            return [f"{given}: the lowest rank is best, but the highest score; leave it out, ranks are found"]
        if "dist" in name and self.order_by is None:
            cure = "set first_stage.order_by=distance if the lowest is best, else first_stage.order_by=score"
            return [f"{given}: are these distances? {cure}"]
        return []

    @property
    def file(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def layout(self) -> Layout:
        """The columns of a run, those that are given under the given names."""
        keys = {role: f"first_stage.{key}" for role, key in _KEYS.items()}
        columns = {role: getattr(self, key) for role, key in _KEYS.items()}
        return replace(RUN, keys=keys).named(**columns)

    def columns(self) -> list[Finding]:
        """What the columns of the file were taken for."""
        return taken(self.file, self.layout)

    def identity(self, context: SearchContext) -> dict[str, Any]:
        with self.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        keys = (*_KEYS.values(), "order_by")
        columns = {key: name for key in keys if (name := getattr(self, key)) is not None}
        return {"kind": self.kind, "file": digest, **columns}

    def retrieve(self, collection: Collection, depth: int, context: SearchContext) -> tuple[Candidates, str]:
        """Read anew each time: that is as fast as the store, and keeps the notes about the file."""
        return self.search(collection, depth, context), self.key(collection, depth, context)

    def search(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        return self.read(collection, depth)

    def read(self, collection: Collection, depth: int) -> Candidates:
        """The file's candidates, best `depth` of each query. Raises UserError with every fault."""
        order_by = next((order for order in ORDERS if order == self.order_by), None)
        return read_trec(self.file, collection, depth, self.layout, order_by)
