"""Rows of a JSONL, CSV, TSV, TREC or parquet file as tuples in the order of a layout's roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.collections.reading.column_guess import cure, setting, unclear_problems
from rerankbench.collections.reading.delimited import Shape, log_faults, read_cells, shape_of
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.lines import suffix
from rerankbench.collections.reading.object_rows import object_problems, open_objects, rows_of
from rerankbench.collections.reading.objects import ENDINGS
from rerankbench.collections.reading.parquet import batches
from rerankbench.collections.reading.shapes.shape import value_at
from rerankbench.collections.reading.swapped import BY_HAND

_PEEKED = 20


def new_log(path: Path) -> FileLog:
    """A log that counts lines, or rows where the format has no lines."""
    return FileLog(path, "row" if suffix(path) == ".parquet" else "line")


def column_problems(path: Path, layout: Layout) -> list[str]:
    """What the layout misses in a file, told from its first records; other faults are left to reading."""
    if is_delimited(path):
        shape = _shape(path, layout)
        if shape is None:
            return []
        place = str(path) if shape.header else f"{path}:{shape.number}"
        return [f"{place}: {problem}" for problem in shape.problems]
    if found := object_problems(path, layout):
        return found
    names, rows, layout = _first_records(path, layout)
    known = len(rows) > 1 or layout.find(names)  # {id: text, id: text} is one object without columns
    proposed = cure(names, rows, layout) if known else None
    problems = layout.missing(names, proposed) + unclear_problems(names, layout) if names else []
    return [f"{path}: {problem}" for problem in problems]


def columns_taken(path: Path, layout: Layout) -> tuple[dict[str, str], list[str]]:
    """Role -> the column that it is read from, and the columns that are not read."""
    if not is_delimited(path):
        names, _, layout = _first_records(path, layout)
        found = layout.find(names)
        read = [f"{name}." for name in found.values()]  # no object is left unread of which a key is read
        return found, [name for name in names if not any(one.startswith(f"{name}.") for one in read)]
    shape = _shape(path, layout)
    if shape is None or shape.problems:
        return {}, []
    names = list(shape.header) or [f"column {at}" for at in range(1, shape.width + 1)]
    pairs = zip(layout.roles, shape.places, strict=True)
    found = {role: names[place] for role, place in pairs if place is not None}
    return found, [name for name in names if name not in found.values()]


def settled_columns(path: Path, layout: Layout) -> dict[str, str]:
    """Role -> what the config has to call the column in order to read the same: a name, or a number from 1.

    Nothing for roles whose columns cannot be told from the file's first records alone: titles in objects.
    """
    if suffix(path) == ".json" and "text" not in layout.roles:
        return {}  # nested judgements
    found, _ = columns_taken(path, layout)
    if not is_delimited(path):
        return {role: name for role, name in found.items() if role not in layout.optional}
    if _is_headerless(path, layout):
        return {role: name.removeprefix("column ") for role, name in found.items()}
    return {role: name for role, name in found.items() if not name.isdecimal()}


def swap_cure(path: Path, layout: Layout) -> str:
    """What reads queries from the documents' column and the other way round: settings, if it has keys."""
    found, _ = columns_taken(path, layout)
    headerless = _is_headerless(path, layout)
    if not {"query", "document"} <= layout.keys.keys() & found.keys():
        return BY_HAND
    turned = found | {"query": found["document"], "document": found["query"]}
    wanted = [role for role in found if role in layout.keys and (headerless or role in ("query", "document"))]
    values = {role: name.removeprefix("column ") if headerless else name for role, name in turned.items()}
    return "set " + " ".join(setting(layout.keys[role], values[role]) for role in wanted)


def is_unnamed(path: Path, layout: Layout) -> bool:
    """Whether the file has as few columns as possible, no header, and no names for them in the config.

    What the last one holds is then a guess.
    """
    if layout.given or not _is_headerless(path, layout):
        return False
    shape = _shape(path, layout)
    return shape is not None and shape.width == min(map(len, layout.headerless), default=0)


def _is_headerless(path: Path, layout: Layout) -> bool:
    shape = _shape(path, layout) if is_delimited(path) else None
    return shape is not None and not shape.header


def is_delimited(path: Path) -> bool:
    """Whether a file's lines are rows of cells."""
    return suffix(path) not in (*ENDINGS, ".parquet")


def _shape(path: Path, layout: Layout) -> Shape | None:
    return shape_of(path, layout, suffix(path))


def _first_records(path: Path, layout: Layout) -> tuple[list[str], list[list[str]], Layout]:
    """The names that a file of objects or a table gives its columns, the first values of each, and where
    the roles are looked for among them."""
    objects = open_objects(path, layout, new_log(path))
    if suffix(path) != ".parquet" or objects.shape is not None:
        names, items, layout = objects.columns, objects.first, objects.layout
    else:
        try:
            file = pq.ParquetFile(path)
            first = next(file.iter_batches(_PEEKED), None)
            items = [] if first is None else first.to_pylist()
            names = list(file.schema_arrow.names)
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            return [], [], layout
    return names, [[str(value_at(item, name, "")) for name in names] for item in items], layout


def read_rows(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """Yield (line or row number, one value per role, `layout.absent` for an absent one).

    The format follows the extension: .jsonl, .ndjson and .json (objects, see `objects`), .csv (quoted), .tsv
    (tabs, nothing quoted), .parquet; all else is split on ASCII white space, as TREC's files are.
    """
    if is_delimited(path):
        return _delimited(path, layout, log)
    if suffix(path) == ".parquet" and open_objects(path, layout, new_log(path)).shape is None:
        return _table(path, layout, log)
    return rows_of(open_objects(path, layout, log), log)


def _delimited(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    shape = _shape(path, layout)
    if shape is None:
        return log_faults(path, layout, suffix(path), log)
    for problem in shape.problems:
        log.add(shape.number, problem)
    if not shape.problems:
        places = list(zip(shape.places, layout.absent, strict=True))
        for number, cells in read_cells(path, shape, layout, log):
            yield number, tuple([cells[at] if at is not None else none for at, none in places])


def _table(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    def columns(schema: pa.Schema) -> list[str] | None:
        problems = layout.missing(schema.names) or layout.doubled(schema.names)
        for problem in problems:
            log.add(None, problem)
        return None if problems else list(layout.find(schema.names).values())

    for first, batch in batches(path, log, columns):
        yield from enumerate(table_rows(batch, layout), start=first)


def table_rows(batch: pa.RecordBatch, layout: Layout) -> Iterator[Row]:
    """The rows of a batch of any table, by role."""
    columns = layout.find(batch.schema.names)
    chosen = (
        batch.column(columns[role]).to_pylist() if role in columns else [none] * batch.num_rows
        for role, none in zip(layout.roles, layout.absent, strict=True)
    )
    return zip(*chosen, strict=True)
