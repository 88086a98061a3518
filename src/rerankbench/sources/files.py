"""Three files of one's own: corpus, queries and judgements, as JSONL, CSV, TSV or parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.sources.assembly import Parts
from rerankbench.sources.layout import DOCUMENTS, JUDGEMENTS, QUERIES
from rerankbench.sources.source import Source, file_problem
from rerankbench.sources.tables import Tables


@dataclass(frozen=True, kw_only=True)
class Files(Source):
    """corpus, queries, qrels: the three files; the extension tells the format.

    Corpus and queries: .jsonl, .csv, .tsv (tabs, nothing quoted; `id<tab>text` needs no header), .parquet.
    qrels: the same, or .json ({query_id: {doc_id: grade}}); any other extension is TREC's four columns.
    The column keys name what a file calls its columns; null takes the usual names (see `sources.layout`).
    """

    kind: ClassVar[str] = "files"

    corpus: str
    queries: str
    qrels: str
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
        places = [
            ("dataset.corpus", self.corpus),
            ("dataset.queries", self.queries),
            ("dataset.qrels", self.qrels),
        ]
        problems = [file_problem(Path(path), key) for key, path in places]
        return [problem for problem in problems if problem]

    def read(self, cache_dir: Path) -> Parts:
        return self._tables().read(cache_dir)

    def _tables(self) -> Tables:
        return Tables(
            corpus=Path(self.corpus),
            queries=Path(self.queries),
            judgements=Path(self.qrels),
            documents_layout=DOCUMENTS.named(
                id=self.doc_id_column, title=self.title_column, text=self.text_column
            ),
            queries_layout=QUERIES.named(id=self.query_id_column, text=self.query_text_column),
            judgements_layout=JUDGEMENTS.named(
                query=self.qrels_query_column, document=self.qrels_doc_column, grade=self.qrels_grade_column
            ),
        )
