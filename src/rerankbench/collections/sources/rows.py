"""Rows of a JSONL, CSV, TSV, TREC or parquet file as tuples in the order of a layout's roles."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.basics.finding import shown
from rerankbench.collections.sources.column_guess import cure, setting
from rerankbench.collections.sources.delimited import Shape, log_faults, read_cells, shape_of
from rerankbench.collections.sources.file_log import FileLog
from rerankbench.collections.sources.layout import Layout
from rerankbench.collections.sources.lines import COMPRESSED, read_lines
from rerankbench.collections.sources.split_parts import parts

Row = tuple[object, ...]
_PEEKED = 20
_ABSENT = object()
_SPREAD = re.compile(r"\s*([\[{]\s*$|\[\s*\{)")  # how an array, or one object over several lines, begins
_BY_JQ = "write one object per line, as jq -c '.[]' FILE does of a list"


def new_log(path: Path) -> FileLog:
    """A log that counts lines, or rows where the format has no lines."""
    return FileLog(path, "row" if suffix(path) == ".parquet" else "line")


def suffix(path: Path) -> str:
    """The extension that tells the format, that of compression left aside, in lower case."""
    return Path(path.stem if path.suffix in COMPRESSED else path.name).suffix.lower()


def column_problems(path: Path, layout: Layout) -> list[str]:
    """What the layout misses in a file, told from its first records; other faults are left to reading."""
    if is_delimited(path):
        shape = _shape(path, layout)
        if shape is None:
            return []
        place = f"{path}" if shape.header else f"{path}:{shape.number}"
        return [f"{place}: {problem}" for problem in shape.problems]
    names, rows = _first_records(path)
    known = len(rows) > 1 or layout.find(names)  # {id: text, id: text} is one object without columns
    proposed = cure(names, rows, layout) if known else None
    return [f"{path}: {problem}" for problem in layout.missing(names, proposed)] if names else []


def columns_taken(path: Path, layout: Layout) -> tuple[dict[str, str], list[str]]:
    """Role -> the column that it is read from, and the columns that are not read."""
    if not is_delimited(path):
        names, _ = _first_records(path)
        found = layout.find(names)
        return found, [name for name in names if name not in found.values()]
    shape = _shape(path, layout)
    if shape is None or shape.problems:
        return {}, []
    names = list(shape.header) or [f"column {at}" for at in range(1, shape.width + 1)]
    pairs = zip(layout.roles, shape.places, strict=True)
    found = {role: names[place] for role, place in pairs if place is not None}
    return found, [name for name in names if name not in found.values()]


def swap_cure(path: Path, layout: Layout) -> str:
    """The settings that read the query from the document's column and the other way round."""
    found, _ = columns_taken(path, layout)
    headerless = any(name not in _header(path, layout) for name in found.values())
    if not {"query", "document"} <= layout.keys.keys() & found.keys():
        return ""
    turned = found | {"query": found["document"], "document": found["query"]}
    wanted = [role for role in found if role in layout.keys and (headerless or role in ("query", "document"))]
    values = {role: name.removeprefix("column ") if headerless else name for role, name in turned.items()}
    return "set " + " ".join(setting(layout.keys[role], values[role]) for role in wanted)


def _header(path: Path, layout: Layout) -> tuple[str, ...]:
    if not is_delimited(path):
        return tuple(_first_records(path)[0])
    shape = _shape(path, layout)
    return shape.header if shape is not None else ()


def is_unnamed(path: Path, layout: Layout) -> bool:
    """Whether the file has as few columns as possible, no header, and no names for them in the config.

    What the last one holds is then a guess.
    """
    if not is_delimited(path) or layout.given:
        return False
    shape = _shape(path, layout)
    fewest = min(map(len, layout.headerless), default=0)
    return shape is not None and not shape.header and shape.width == fewest


def is_delimited(path: Path) -> bool:
    """Whether a file's lines are rows of cells."""
    return suffix(path) not in (".jsonl", ".json", ".ndjson", ".parquet")


def _shape(path: Path, layout: Layout) -> Shape | None:
    return shape_of(path, layout, suffix(path))


def _first_records(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names that a file of objects or a table gives its columns, and the first values of each."""
    items: list[dict[str, object]] = []
    if suffix(path) == ".parquet":
        try:
            file = pq.ParquetFile(path)
            first = next(file.iter_batches(_PEEKED), None)
            items = [] if first is None else first.to_pylist()
            names = list(file.schema_arrow.names)
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            return [], []
    else:
        lines = islice(read_lines(path, new_log(path)), _PEEKED)
        read = (_object(line, number, new_log(path)) for number, line in lines if not line.isspace())
        items = [item for item in read if item]
        names = list(dict.fromkeys(name for item in items for name in item))
    return names, [[str(item.get(name, "")) for name in names] for item in items]


def read_rows(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """Yield (line or row number, one value per role, `layout.absent` for an absent one).

    The format follows the extension: .jsonl, .ndjson and .json (an object per line), .csv (quoted), .tsv
    (tabs, nothing quoted), .parquet; all else is split on ASCII white space, as TREC's files are.
    """
    match suffix(path):
        case ".jsonl" | ".json" | ".ndjson":
            return _objects(path, layout, log)
        case ".parquet":
            return _table(path, layout, log)
        case _:
            return _delimited(path, layout, log)


def _objects(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    columns: dict[str, str] = {}
    names: list[str | None] = []
    seen: set[tuple[str, ...]] = set()
    for number, line in read_lines(path, log):
        if line.isspace():
            continue
        if number == 1 and _SPREAD.match(line):
            log.add(None, f"holds one JSON value over all its lines: {_BY_JQ}")
            return
        item = _object(line, number, log)
        if item is None:
            continue
        if len(columns) < len(layout.names) and (keys := tuple(item)) not in seen:
            seen.add(keys)
            columns = {**layout.find(keys), **columns}  # a title may first appear in a later line
            names = [columns.get(role) for role in layout.names]
        row = tuple([item.get(name, _ABSENT) for name in names])  # type: ignore[arg-type]
        if _ABSENT in row:
            row = _without_dispensable(row, item, columns, layout)
        if isinstance(item, _Repeating) and (twice := item.repeated & set(columns.values())):
            log.add(number, f"has {min(twice)!r} twice: keep one; this line is {shown(line.strip())}")
        elif _ABSENT in row:
            lacking = _lacking(item, columns, layout)
            add = ": add what it lacks" if lacking.startswith("lacks") else ""
            log.add(number, f"{lacking}; this line is {shown(line.strip())}{add}", kind=lacking)
        else:
            yield number, row


class _Repeating(dict[str, object]):
    """An object of JSON in which some keys stand more than once."""

    repeated: frozenset[str] = frozenset()


def _keep_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    item = dict(pairs)
    if len(item) == len(pairs):
        return item
    repeating = _Repeating(item)
    repeating.repeated = frozenset(repeated_keys(pairs))
    return repeating


def repeated_keys(pairs: Iterable[tuple[str, object]]) -> set[str]:
    """The keys that stand more than once; JSON readers would silently keep the last."""
    counts = Counter(key for key, _ in pairs)
    return {key for key, count in counts.items() if count > 1}


def _without_dispensable(row: Row, item: dict[str, object], columns: dict[str, str], layout: Layout) -> Row:
    """A row without what the object may lack; what others of the file have it must have too, if required."""
    dispensable = layout.dispensable(list(item)) - (columns.keys() - layout.optional)
    roles = zip(row, layout.roles, layout.absent, strict=True)
    return tuple(none if value is _ABSENT and role in dispensable else value for value, role, none in roles)


def _lacking(item: dict[str, object], columns: dict[str, str], layout: Layout) -> str:
    """What is wrong with an object that lacks a key: its first lines told us how the keys are called."""
    lost = [name for role, name in columns.items() if name not in item and role not in layout.optional]
    if lost:
        return f"lacks {', '.join(map(repr, lost))}"
    return layout.missing(list(item))[0]


def _object(line: str, number: int, log: FileLog) -> dict[str, object] | None:
    try:
        item = json.loads(line, object_pairs_hook=_keep_repeated)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        log.add(number, f"is not valid JSON ({reason}): {shown(line.strip())}; one JSON object per line")
        return None
    if not isinstance(item, dict):
        log.add(number, f"is not a JSON object: {shown(line.strip())}; one JSON object per line")
        return None
    return item


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
    first = 1
    for part in parts(path):
        try:
            for batch in _batches(part, layout, log):
                yield from enumerate(table_rows(batch, layout), start=first)
                first += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            name = "" if part == path else f"{part.name} "
            reason = str(error).splitlines()[0].rstrip(".")
            log.add(None, f"{name}cannot be read as parquet ({reason}): write it again or fetch it again")
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
    chosen = (
        batch.column(columns[role]).to_pylist() if role in columns else [none] * batch.num_rows
        for role, none in zip(layout.roles, layout.absent, strict=True)
    )
    return zip(*chosen, strict=True)
