"""Files of one's own: corpus, queries and, if there are any, judgements, as JSONL, CSV, TSV or parquet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.basics.finding import Finding
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.column_guess import setting
from rerankbench.collections.reading.layout import DOCUMENTS, JUDGEMENTS, QUERIES, Layout
from rerankbench.collections.reading.rows import settled_columns
from rerankbench.collections.reading.tables import Tables
from rerankbench.collections.sources.source import Source, given_problem

_DOCUMENT_KEYS = {"id": "doc_id_column", "title": "title_column", "text": "text_column"}
_QUERY_KEYS = {"id": "query_id_column", "text": "query_text_column"}
_JUDGEMENT_KEYS = {
    "query": "qrels_query_column",
    "document": "qrels_doc_column",
    "grade": "qrels_grade_column",
}


@dataclass(frozen=True, kw_only=True)
class Files(Source):
    """Two or three files of one's own; their endings tell the formats.

    corpus: documents, as .jsonl, .csv, .tsv (tabs, nothing quoted; `id<tab>text` needs no header), .parquet.
    queries: a file in one of the same formats.
    qrels: judgements in one of the same formats, .json ({query_id: {doc_id: grade}}), or, with any other
    ending, in TREC's four columns. null: there are none yet; runs then show how much rerankers differ, and
    rerankbench-judge which judgements would decide between them.

    doc_id_column, title_column, text_column, query_id_column, query_text_column, qrels_query_column,
    qrels_doc_column, qrels_grade_column: what the file calls this column, or its number from 1 in a
    file without a header; null: the usual names.
    """

    kind: ClassVar[str] = "files"

    corpus: str
    queries: str
    qrels: str | None = None
    doc_id_column: str | None = None
    title_column: str | None = None
    text_column: str | None = None
    query_id_column: str | None = None
    query_text_column: str | None = None
    qrels_query_column: str | None = None
    qrels_doc_column: str | None = None
    qrels_grade_column: str | None = None

    @property
    def default_name(self) -> str:
        return Path(self.corpus).resolve().parent.name

    def place_problems(self) -> list[str]:
        problems = [given_problem(getattr(self, key), f"dataset.{key}") for key in self.places()]
        return [problem for problem in problems if problem] or self._column_problems()

    def _column_problems(self) -> list[str]:
        """What the files' columns lack; of files that each fit only in another's place, just that."""
        problems = self._tables().problems_of_each()
        odd = [key for key, found in zip(self.places(), problems, strict=False) if found]
        for order in permutations(odd):
            moved = {key: getattr(self, other) for key, other in zip(odd, order, strict=True) if key != other}
            if len(moved) == len(odd) > 1 and not replace(self, **moved)._tables().problems():
                keys = " and ".join(f"dataset.{key}={getattr(self, key)}" for key in odd)
                return [f"{keys}: the files are exchanged; set {_typed(moved)}"]
        return [problem for found in problems for problem in found]

    def read(self, cache_dir: Path) -> Parts:
        return self._tables().read(cache_dir)

    def columns(self) -> list[Finding]:
        return self._tables().columns()

    def places(self) -> tuple[str, ...]:
        return ("corpus", "queries") if self.qrels is None else ("corpus", "queries", "qrels")

    def settled(self) -> Files:
        tables, found = self._tables(), dict[str, Any]()
        for path, layout, keys in (
            (tables.corpus, tables.documents_layout, _DOCUMENT_KEYS),
            (tables.queries, tables.queries_layout, _QUERY_KEYS),
            (tables.judgements, tables.judgements_layout, _JUDGEMENT_KEYS),
        ):
            if path is not None:
                found |= {keys[role]: name for role, name in settled_columns(path, layout).items()}
        return replace(self, **found)

    def _exchange_cure(self) -> str:
        """The settings that read the corpus as the queries and the other way round, columns and all."""
        turned = {"corpus": self.queries, "queries": self.corpus}
        for ours, theirs in ((_DOCUMENT_KEYS[role], _QUERY_KEYS[role]) for role in _QUERY_KEYS):
            here, there = getattr(self, ours), getattr(self, theirs)
            turned |= {ours: there or "null", theirs: here or "null"} if here != there else {}
        return f"set {_typed(turned)}"

    def _tables(self) -> Tables:
        return Tables(
            corpus=Path(self.corpus).expanduser(),
            queries=Path(self.queries).expanduser(),
            judgements=None if self.qrels is None else Path(self.qrels).expanduser(),
            documents_layout=self._named(DOCUMENTS, _DOCUMENT_KEYS),
            queries_layout=self._named(QUERIES, _QUERY_KEYS),
            judgements_layout=self._named(JUDGEMENTS, _JUDGEMENT_KEYS),
            exchange_cure=self._exchange_cure(),
        )

    def _named(self, layout: Layout, keys: dict[str, str]) -> Layout:
        columns = {role: getattr(self, key) for role, key in keys.items()}
        return replace(layout, keys={role: f"dataset.{key}" for role, key in keys.items()}).named(**columns)


def _typed(values: dict[str, str]) -> str:
    return " ".join(setting(f"dataset.{key}", value) for key, value in values.items())
