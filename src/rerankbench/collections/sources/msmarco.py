"""The tutorial's collection: passages and judgements from the `positive` lists of a query table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding, noticed, shown
from rerankbench.collections.reading import hub_access
from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.reading.conversion import Stored
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.hub_access import dataset_rows, is_local, load_split, local_split
from rerankbench.collections.reading.judgements import Judgements
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.records import SCHEMA
from rerankbench.collections.reading.rows import new_log, read_rows
from rerankbench.collections.sources.source import Source

_ROWS = Layout(names={"query": ("query",), "positives": ("positive",)})


@dataclass
class _Passages:
    """The query table's rows, gathered: the texts of queries, of the corpus, and each query's positives."""

    queries: list[str] = field(default_factory=list)
    positives: list[list[str]] = field(default_factory=list)
    corpus: list[str] = field(default_factory=list)
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Msmarco(Source):
    """path: a hub id, or a folder with the same columns (`query`: text, `positive`: list of texts).

    queries: how many rows, from the first, are used as queries. corpus_rows: how many rows' positives, in
    order and with duplicates, make the corpus; document ids are their numbers from 0, query ids the row
    numbers. A passage is relevant to a query if its text equals one of the query's positives, wherever it
    stands; this is how the tutorial matches.

    split: the split that is read. revision: a commit, tag or branch of the dataset; null: the newest.
    """

    kind: ClassVar[str] = "msmarco"

    path: str = "namespace-Pt/msmarco"
    split: str = "dev"
    revision: str | None = None
    queries: int = 100
    corpus_rows: int = 5000

    @property
    def default_name(self) -> str:
        return "msmarco"

    def place_problems(self) -> list[str]:
        problems = [
            f"dataset.{key}={value}: must be at least 1"
            for key, value in (("queries", self.queries), ("corpus_rows", self.corpus_rows))
            if value < 1
        ]
        return problems + hub_access.path_problems(self.path)

    def places(self) -> tuple[str, ...]:
        return ("path",) if is_local(self.path) else ()

    def read(self, cache_dir: Path) -> Parts:
        log, rows = self._rows(cache_dir)
        passages = self._gather(rows, log)
        if log.count:
            raise UserError(log.problems())
        return Parts(
            documents=Stored(_table(passages.corpus)),
            queries=_table(passages.queries),
            judgements=_judge(passages),
            logs=[log] * 3,
            findings=self._findings(passages),
        )

    def _rows(self, cache_dir: Path) -> tuple[FileLog, Iterator[tuple[int, Row]]]:
        if is_local(self.path):
            file = local_split(Path(self.path).expanduser(), self.split)
            if file is not None:
                log = new_log(file)
                return log, read_rows(file, _ROWS, log)
        log = FileLog(Path(self.path), "row")
        table = load_split(self.path, None, self.split, self.revision, cache_dir)
        return log, dataset_rows(table, _ROWS, log)

    def _gather(self, rows: Iterator[tuple[int, Row]], log: FileLog) -> _Passages:
        passages = _Passages()
        for number, (query, positives) in islice(rows, max(self.queries, self.corpus_rows)):
            passages.rows += 1
            if not isinstance(query, str):
                log.add(number, f"query is {shown(query)}: it must be a string")
            elif not isinstance(positives, list) or not all(isinstance(text, str) for text in positives):
                log.add(number, f"positive is {shown(positives)}: it must be a list of strings")
            else:
                if passages.rows <= self.queries:
                    passages.queries.append(query)
                    passages.positives.append(positives)
                if passages.rows <= self.corpus_rows:
                    passages.corpus += positives
        return passages

    def _findings(self, passages: _Passages) -> tuple[Finding, ...]:
        wanted = max(self.queries, self.corpus_rows)
        copies = len(passages.corpus) - len(set(passages.corpus))
        effect = "kept, as in the tutorial; every copy of a relevant passage is relevant"
        found = noticed(
            Finding("warning", f"rows fewer than the {wanted:,} asked for", wanted - passages.rows),
            Finding("info", "passages that are in the corpus already", copies, (), effect),
        )
        return tuple(found)


def _judge(passages: _Passages) -> Judgements:
    """Grade 1 for every corpus row whose text is one of the query's positives.

    A positive that is not in the corpus gets an id of its own, so that the ideal still counts it.
    """
    copies: dict[str, list[str]] = {text: [] for texts in passages.positives for text in texts}
    for row, text in enumerate(passages.corpus):
        if text in copies:
            copies[text].append(str(row))
    pairs = [
        (str(query), doc_id)
        for query, texts in enumerate(passages.positives)
        for number, text in enumerate(dict.fromkeys(texts))
        for doc_id in copies[text] or [f"query {query} positive {number}"]
    ]
    queries, documents = (pa.array([pair[side] for pair in pairs], pa.large_string()) for side in (0, 1))
    return Judgements(queries, documents, np.ones(len(pairs), np.int32))


def _table(texts: list[str]) -> pa.Table:
    """Texts whose ids are their numbers."""
    return pa.table([list(map(str, range(len(texts)))), [""] * len(texts), texts], schema=SCHEMA)
