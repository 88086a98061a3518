"""A collection from Python objects, with the same checks as one from files."""

from __future__ import annotations

from collections.abc import Collection as Group
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason, shown
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.assembly import Options, Parts, assemble
from rerankbench.collections.reading.conversion import Stored, table_of
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import read_judgements
from rerankbench.collections.reading.layout import DOCUMENTS, JUDGEMENTS, LACKING, QUERIES, Layout, Row
from rerankbench.collections.reading.object_rows import Objects, objects_of, rows_of
from rerankbench.collections.reading.objects import Item, in_columns, records_by_id
from rerankbench.collections.reading.parquet import without_vectors
from rerankbench.collections.reading.records import is_whole
from rerankbench.collections.reading.rows import table_rows
from rerankbench.collections.reading.shapes.shape import columns_of
from rerankbench.collections.sources.source import shown_name_problem

_PEEKED = 20
_TEXTS = "give {id: text}, a data frame, or a list of objects, with the columns _id and text"
_GRADES = (
    "give {query id: {document id: grade}}, a data frame, or a list of objects, with the columns query-id, "
    "corpus-id and score"
)


@runtime_checkable
class DataFrame(Protocol):
    """A table of pandas, polars, Arrow or any other library that hands its columns on as Arrow's."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


Texts = Mapping[str, str] | Mapping[str, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | DataFrame
Grades = Mapping[str, Mapping[str, int]] | Mapping[str, Group[str]] | Iterable[Mapping[str, Any]] | DataFrame


def collection_of(
    documents: Texts,
    queries: Texts,
    judgements: Grades | None = None,
    *,
    name: str = "in memory",
    relevance_threshold: int = 1,
    drop_same_id: bool = False,
) -> Collection:
    """Texts by doc_id, texts by query_id, and grades by query_id and doc_id, as a collection.

    Instead of a text a mapping may hold a record, {"title": .., "text": ..}, and instead of grades the ids of
    the relevant documents. Or data frames, or lists of records, with the column names that files may have,
    such as `_id`, `title`, `text`, and `query-id`, `corpus-id`, `score`, or with documents as frameworks
    write them; an index is not read. judgements: None where nobody has judged yet. Raises UserError for what
    a file could not hold either: empty ids, other types, nothing judged, columns that are missing or unclear.
    """
    if problems := _option_problems(name, relevance_threshold):
        raise UserError(problems)
    parts = parts_of(documents, queries, judgements, name=name)
    if parts.problems:
        raise UserError(parts.problems)
    return assemble(parts, Options(relevance_threshold=relevance_threshold, drop_same_id=drop_same_id), name)


def _option_problems(name: object, threshold: object) -> list[str]:
    problem = shown_name_problem(name) if isinstance(name, str) else f"{name!r}: is no text"
    found = [f"name={problem}"] if problem else []
    if not (is_whole(threshold) and int(str(threshold)) >= 1):
        found.append(f"relevance_threshold={threshold!r}: give a whole number from 1")
    return found


def parts_of(documents: Texts, queries: Texts, judgements: Grades | None = None, *, name: str) -> Parts:
    """The same as a `Source` reads them, faults included; `name` is where messages say that they are."""
    logs = [FileLog(Path(f"{name} {part}"), "entry") for part in ("documents", "queries", "judgements")]
    held = [
        table_of(_rows(texts, layout, log), log)
        for texts, layout, log in ((documents, DOCUMENTS, logs[0]), (queries, QUERIES, logs[1]))
    ]
    judged = None if judgements is None else read_judgements(_rows(judgements, JUDGEMENTS, logs[2]), logs[2])
    return Parts(documents=Stored(held[0]), queries=held[1], judgements=judged, logs=logs)


def _rows(given: object, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The rows of whatever was given, numbered from 1; what it cannot be is a fault."""
    if isinstance(given, DataFrame) and hasattr(given, "items") and not hasattr(given, "columns"):
        given = dict(given.items())  # a Series of pandas
    if isinstance(given, DataFrame):
        return _rows_of_frame(given, layout, log)
    if isinstance(given, Mapping):
        return (_texts if layout is not JUDGEMENTS else _grades)(given, layout, log)
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return _rows_of_records(_records(given, log, layout), layout, log)
    log.add(None, f"is of type {type(given).__name__}, {shown(given)}: {_form(layout)}")
    return iter(())


def _form(layout: Layout) -> str:
    return _GRADES if layout is JUDGEMENTS else _TEXTS


def _records(given: Iterable[object], log: FileLog, layout: Layout) -> Iterator[tuple[int, Item]]:
    for number, item in enumerate(given, start=1):
        if isinstance(item, Mapping):
            yield number, dict(item)
        else:
            log.add(number, f"is {shown(item)}: {_form(layout)}", kind="no record")


def _rows_of_records(
    items: Iterator[tuple[int, Item]], layout: Layout, log: FileLog
) -> Iterator[tuple[int, Row]]:
    objects = objects_of(items, layout)
    return iter(()) if objects.first and _unclear(objects, layout, log) else rows_of(objects, log)


def _unclear(objects: Objects, layout: Layout, log: FileLog) -> bool:
    """Whether it is not clear which key of the records holds what, which is a fault."""
    problems = [] if objects.shape else _column_problems(objects.columns, layout)
    for problem in problems:
        log.add(None, problem)
    return bool(problems)


def _column_problems(names: list[str], layout: Layout) -> list[str]:
    candidates = (layout.candidates(role, names) for role in layout.roles)
    return layout.missing(names) + [
        f"columns {', '.join(map(repr, names))} may hold the same; drop or rename all but one"
        for names in candidates
        if len(names) > 1
    ]


def _texts(given: Mapping[Any, Any], layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The rows of {id: text}, {id: record} or {column: [value, ..]}."""

    def is_record(item: Item) -> bool:
        return not layout.missing(list(columns_of(item)))

    first = next(iter(given.values()), None)
    if isinstance(first, Mapping):
        by_id = {key: dict(of) if isinstance(of, Mapping) else of for key, of in given.items()}
        return _rows_of_records(records_by_id(by_id, is_record, log), layout, log)
    columns = None if layout.missing(list(map(str, given))) else in_columns(given)
    if columns is not None:
        return _rows_of_records(enumerate(columns, start=1), layout, log)
    return enumerate(given.items(), start=1)


def _grades(given: Mapping[Any, Any], layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The rows of {query id: {document id: grade}} or {query id: its relevant documents}."""
    number = 0
    for place, (query, of) in enumerate(given.items(), start=1):
        if isinstance(of, Mapping):
            pairs: Iterable[tuple[object, object]] = of.items()
        elif isinstance(of, Set | list | tuple):
            pairs = ((document, LACKING) for document in (sorted(of, key=str) if isinstance(of, Set) else of))
        else:
            log.add(place, f"{shown(query)} has {shown(of)}: {_form(layout)}", kind="no grades")
            continue
        for document, grade in pairs:
            number += 1
            yield number, (query, document, grade)


def _rows_of_frame(frame: DataFrame, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """The rows of a data frame, numbered from 1; columns that are missing or unclear are faults."""
    log.unit = "row"
    try:
        table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        cure = "give every column one type, ids as text, and no two of them the same name"
        log.add(None, f"cannot be read as a table ({reason(error)}): {cure}")
        return iter(())
    objects = objects_of(enumerate(table.slice(0, _PEEKED).to_pylist(), start=1), layout)
    if objects.shape is not None:  # documents of a framework
        held = table.select(without_vectors(table.schema)).to_pylist()
        return rows_of(objects_of(enumerate(held, start=1), layout), log)
    problems = _column_problems(table.column_names, layout)
    for problem in problems:
        log.add(None, problem)
    if problems:
        return iter(())
    return enumerate((row for batch in table.to_batches() for row in table_rows(batch, layout)), start=1)
