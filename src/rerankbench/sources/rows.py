"""Rows of a JSONL, CSV, TSV, TREC or parquet file as tuples in the order of a layout's roles."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.finding import shown
from rerankbench.sources.file_log import FileLog
from rerankbench.sources.layout import Layout
from rerankbench.sources.lines import read_bytes_lines, read_lines
from rerankbench.sources.split_parts import parts

Row = tuple[object, ...]
_PEEKED = 20
_ABSENT = object()
_LONGEST_FIELD = 1 << 30  # csv's own limit is 128 KiB, less than a long document


def new_log(path: Path) -> FileLog:
    """A log that counts lines, or rows where the format has no lines."""
    return FileLog(path, "row" if suffix(path) == ".parquet" else "line")


def suffix(path: Path) -> str:
    """The extension that tells the format, `.gz` left aside, in lower case."""
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()


def column_problems(path: Path, layout: Layout) -> list[str]:
    """What the layout misses in a file, told from its first records; other faults are left to reading."""
    names = _column_names(path, layout)
    return [f"{path}: {problem}" for problem in layout.missing(names)] if names is not None else []


def _column_names(path: Path, layout: Layout) -> list[str] | None:
    """The names that the file gives its columns; None if it gives none or cannot be read."""
    log = new_log(path)
    match suffix(path):
        case ".jsonl" | ".json" | ".ndjson":
            lines = islice(read_lines(path, log), _PEEKED)
            items = [_object(line, number, log) for number, line in lines if not line.isspace()]
            return list(dict.fromkeys(name for item in items if item for name in item)) or None
        case ".parquet":
            try:
                return list(pq.read_schema(path).names)
            except (OSError, pa.ArrowException):
                return None
        case ".csv":
            cells = next(_csv_cells(path, log), None)
        case ".tsv":
            cells = next(_tsv_cells(path, log), None)
        case _:
            cells = None
    return cells[1] if cells is not None and layout.is_header(cells[1]) else None


def read_rows(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """Yield (line or row number, one value per role, None for an absent optional one).

    The format follows the extension: .jsonl, .ndjson and .json (an object per line), .csv (quoted), .tsv
    (tabs, nothing quoted), .parquet; all else is split on ASCII white space, as TREC's files are.
    """
    match suffix(path):
        case ".jsonl" | ".json" | ".ndjson":
            return _objects(path, layout, log)
        case ".parquet":
            return _table(path, layout, log)
        case ".csv":
            return _delimited(_csv_cells(path, log), layout, log)
        case ".tsv":
            return _delimited(_tsv_cells(path, log), layout, log)
        case _:
            return _delimited(_spaced_cells(path, log), layout, log)


def _objects(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    columns: dict[str, str] = {}
    names: list[str | None] = []
    for number, line in read_lines(path, log):
        if line.isspace():
            continue
        item = _object(line, number, log)
        if item is None:
            continue
        if len(columns) < len(layout.names):  # a title may first appear in a later line
            columns = {**layout.find(item), **columns}
            names = [columns.get(role) for role in layout.names]
        row = tuple([item.get(name, _ABSENT) for name in names])  # type: ignore[arg-type]
        if _ABSENT in row:
            row = _without_optional(row, layout)
        if _ABSENT in row:
            log.add(number, f"{_lacking(item, columns, layout)}; this line is {shown(line.strip())}")
        else:
            yield number, row


def _without_optional(row: Row, layout: Layout) -> Row:
    pairs = zip(row, layout.names, strict=True)
    return tuple(None if value is _ABSENT and role in layout.optional else value for value, role in pairs)


def _lacking(item: dict[str, object], columns: dict[str, str], layout: Layout) -> str:
    """What is wrong with an object that lacks a key: its first lines told us how the keys are called."""
    lost = [name for role, name in columns.items() if name not in item and role not in layout.optional]
    return f"lacks {', '.join(map(repr, lost))}" if lost else layout.missing(list(item))[0]


def _object(line: str, number: int, log: FileLog) -> dict[str, object] | None:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        log.add(number, f"is not valid JSON ({reason}): {shown(line.strip())}; one JSON object per line")
        return None
    if not isinstance(item, dict):
        log.add(number, f"is not a JSON object: {shown(line.strip())}; one JSON object per line")
        return None
    return item


def _delimited(
    rows: Iterable[tuple[int, list[str]]], layout: Layout, log: FileLog
) -> Iterator[tuple[int, Row]]:
    places: list[int | None] | None = None
    width = 0
    for number, cells in rows:
        if places is None:
            width = len(cells)
            places = _places(number, cells, layout, log)
            if places is None:
                return
            if layout.is_header(cells):
                continue
        if len(cells) != width:
            log.add(number, f"has {len(cells)} columns instead of {width}: {shown(' '.join(cells))}")
            continue
        yield number, tuple(None if place is None else cells[place] for place in places)


def _places(number: int, cells: list[str], layout: Layout, log: FileLog) -> list[int | None] | None:
    """Where each role is, from the header or from the number of columns; None (and a fault) if unclear."""
    if layout.is_header(cells):
        problems = layout.missing(cells)
        found = layout.find(cells)
        problems += [f"two columns are named {name!r}" for name in found.values() if cells.count(name) > 1]
        for problem in problems:
            log.add(number, problem)
        return (
            None
            if problems
            else [cells.index(found[role]) if role in found else None for role in layout.roles]
        )
    for positions in layout.headerless:
        if len(positions) == len(cells):
            return [positions.index(role) if role in positions else None for role in layout.roles]
    shapes = " or ".join(str(len(positions)) for positions in layout.headerless)
    what = f"has {len(cells)} columns, not {shapes}, and no header: {shown(' '.join(cells))}"
    log.add(number, f"{what}; {layout.header_cure()}")
    return None


def _csv_cells(path: Path, log: FileLog) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in read_lines(path, log):
            last = number
            yield line

    reader = csv.reader(lines(), strict=True)
    while True:
        first = last + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            log.add(first, f"is not valid CSV ({error}): quote fields that hold commas, quotes or line ends")
            return
        if cells is None:
            return
        if cells:
            yield first, cells


def _tsv_cells(path: Path, log: FileLog) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path, log):
        content = line.rstrip("\r\n")
        if content:
            yield number, content.split("\t")


def _spaced_cells(path: Path, log: FileLog) -> Iterator[tuple[int, list[str]]]:
    # Bytes split on ASCII white space only, as trec_eval does; str.split would also cut ids at U+00A0.
    for number, line in read_bytes_lines(path, log):
        cells = line.split()
        if cells:
            yield number, [cell.decode("utf-8") for cell in cells]


def _table(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    first = 1
    for part in parts(path):
        try:
            for batch in _batches(part, layout, log):
                yield from enumerate(table_rows(batch, layout), start=first)
                first += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            log.add(None, f"{part.name} cannot be read as parquet ({str(error).splitlines()[0]})")
            return


def _batches(path: Path, layout: Layout, log: FileLog) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path, memory_map=True)
    names = file.schema_arrow.names
    problems = layout.missing(names) or [
        f"two columns are named {name!r}: rename one"
        for name in layout.find(names).values()
        if names.count(name) > 1
    ]
    for problem in problems:
        log.add(None, problem)
    if not problems:
        for batch in file.iter_batches(4096, columns=list(layout.find(file.schema_arrow.names).values())):
            batch.validate(full=True)  # strings in a parquet file need not be UTF-8
            yield batch


def table_rows(batch: pa.RecordBatch, layout: Layout) -> Iterator[Row]:
    """The rows of a batch of any table, by role."""
    columns = layout.find(batch.schema.names)
    absent = [None] * batch.num_rows
    chosen = (batch.column(columns[role]).to_pylist() if role in columns else absent for role in layout.roles)
    return zip(*chosen, strict=True)
