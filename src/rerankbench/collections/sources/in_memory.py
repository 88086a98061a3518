"""A collection from Python objects, with the same checks as one from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.assembly import Options, Parts, assemble
from rerankbench.collections.sources.conversion import Stored, table_of
from rerankbench.collections.sources.file_log import FileLog
from rerankbench.collections.sources.judgements import read_judgements
from rerankbench.collections.sources.layout import DOCUMENTS, JUDGEMENTS, QUERIES, Layout, Row
from rerankbench.collections.sources.object_rows import objects_of, rows_of
from rerankbench.collections.sources.parquet import without_vectors
from rerankbench.collections.sources.rows import table_rows

_PEEKED = 20


@runtime_checkable
class DataFrame(Protocol):
    """A table of pandas, polars, Arrow or any other library that hands its columns on as Arrow's."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def collection_of(
    documents: Mapping[str, str] | DataFrame,
    queries: Mapping[str, str] | DataFrame,
    judgements: Mapping[str, Mapping[str, int]] | DataFrame | None = None,
    *,
    name: str = "in memory",
    relevance_threshold: int = 1,
    drop_same_id: bool = False,
) -> Collection:
    """Texts by doc_id, texts by query_id, and grades by query_id and doc_id, as a collection.

    judgements: None where nobody has judged yet. Or data frames with the column names that files may have,
    such as `_id`, `title`, `text`, and `query-id`, `corpus-id`, `score`, or with documents as frameworks
    write them; an index is not read. Raises UserError for what a file could not hold either: empty ids, other
    types, nothing judged, columns that are missing or unclear.
    """
    parts = parts_of(documents, queries, judgements, name=name)
    if parts.problems:
        raise UserError(parts.problems)
    return assemble(parts, Options(relevance_threshold=relevance_threshold, drop_same_id=drop_same_id), name)


def parts_of(
    documents: Mapping[str, str] | DataFrame,
    queries: Mapping[str, str] | DataFrame,
    judgements: Mapping[str, Mapping[str, int]] | DataFrame | None = None,
    *,
    name: str = "in memory",
) -> Parts:
    """The same as a `Source` reads them, faults included; `name` is where messages say that they are."""
    logs = [FileLog(Path(f"{name} {part}"), "entry") for part in ("documents", "queries", "judgements")]
    return Parts(
        documents=Stored(_table(documents, DOCUMENTS, logs[0])),
        queries=_table(queries, QUERIES, logs[1]),
        judgements=None if judgements is None else read_judgements(_pairs(judgements, logs[2]), logs[2]),
        logs=logs,
    )


def _table(texts: Mapping[str, str] | DataFrame, layout: Layout, log: FileLog) -> pa.Table:
    rows = _rows(texts, layout, log) if isinstance(texts, DataFrame) else enumerate(texts.items(), start=1)
    return table_of(rows, log)


def _pairs(judged: Mapping[str, Mapping[str, int]] | DataFrame, log: FileLog) -> Iterator[tuple[int, Row]]:
    if isinstance(judged, DataFrame):
        return _rows(judged, JUDGEMENTS, log)
    pairs = ((query, document, grade) for query, of in judged.items() for document, grade in of.items())
    return enumerate(pairs, start=1)


def _rows(frame: DataFrame, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The rows of a data frame, numbered from 1; columns that are missing or unclear are faults."""
    log.unit = "row"
    table = pa.table(frame)
    objects = objects_of(enumerate(table.slice(0, _PEEKED).to_pylist(), start=1), layout)
    if objects.shape is not None:  # documents of a framework
        held = table.select(without_vectors(table.schema)).to_pylist()
        return rows_of(objects_of(enumerate(held, start=1), layout), log)
    candidates = (layout.candidates(role, table.column_names) for role in layout.roles)
    problems = layout.missing(table.column_names) + [
        f"columns {', '.join(map(repr, names))} may hold the same; drop or rename all but one"
        for names in candidates
        if len(names) > 1
    ]
    for problem in problems:
        log.add(None, problem)
    if problems:
        return iter(())
    return enumerate((row for batch in table.to_batches() for row in table_rows(batch, layout)), start=1)
