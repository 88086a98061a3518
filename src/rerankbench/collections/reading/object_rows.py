"""Rows of JSON objects: which key of an object holds what, and what each object has under it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.column_guess import setting
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.lines import suffix
from rerankbench.collections.reading.objects import Item, Repeating, in_columns, read_objects
from rerankbench.collections.reading.parquet import table_items
from rerankbench.collections.reading.shapes.listing import collection_shapes_of, record_shape
from rerankbench.collections.reading.shapes.shape import RecordShape, columns_of, value_at

_PEEKED = 20
_ABSENT = object()
_LONGEST_ID = 200  # characters, from which on it is a text


@dataclass(frozen=True)
class Objects:
    """The objects of a file, numbered, and what the first of them tell.

    first: the first records, without what is around them. shape: the framework's that wrote them, if any.
    layout: where the roles are looked for in these records.
    """

    every: Iterator[tuple[int, Item]]
    first: list[Item]
    shape: RecordShape | None
    layout: Layout

    @property
    def columns(self) -> list[str]:
        """The columns of the first records; of a framework's, those that hold anything."""
        names = dict.fromkeys(column for item in self.first for column in columns_of(item))
        if self.shape is None:
            return list(names)
        return [n for n in names if any(value_at(item, n) not in (None, {}, []) for item in self.first)]

    @property
    def found(self) -> dict[str, str]:
        """Role -> column."""
        return self.layout.find(self.columns)

    def surer(self) -> list[str]:
        """Columns that would hold the id rather than the one that does, were they not empty."""
        if self.shape is None or "id" not in self.found:
            return []
        names = self.layout.names["id"]
        return list(names[: names.index(self.found["id"])])


def open_objects(path: Path, layout: Layout, log: FileLog) -> Objects:
    """Begin to read a file of objects, or a table's rows as such."""
    if suffix(path) == ".parquet":
        return objects_of(table_items(path, log), layout)

    def is_record(item: Item) -> bool:
        """Whether an object is a record of the layout and does not only hold some."""
        return not layout.missing(list(columns_of(item))) or record_shape([item]) is not None

    def is_table(item: Item) -> bool:
        return in_columns(item) is not None

    return objects_of(read_objects(path, is_record, log, is_table), layout)


def objects_of(items: Iterator[tuple[int, Item]], layout: Layout) -> Objects:
    """Numbered objects, with what the first of them tell."""
    peeked = list(islice(items, _PEEKED))
    first = [item for _, item in peeked]
    shape = record_shape(first) if "text" in layout.names else None
    if shape is None:
        return Objects(chain(peeked, items), first, None, layout)
    every = ((number, shape.record(item)) for number, item in chain(peeked, items))
    return Objects(every, list(map(shape.record, first)), shape, layout.shaped(shape.columns))


def object_problems(path: Path, layout: Layout) -> list[str]:
    """Why documents of a framework cannot be told apart, and what else a file holds instead of documents."""
    objects = open_objects(path, layout, FileLog(path))
    if objects.shape is None:
        if "text" not in layout.roles and objects.first and all(map(_is_nested, objects.first)):
            shape = "write one object around all queries into a file that ends in .json"
            return [f"{path}: holds {{query: {{document: number}}}}; {shape}"]
        whole = collection_shapes_of(objects.first) if "text" in layout.roles else []
        if not whole or not objects.layout.missing(objects.columns):
            return []
        instead = f"dataset=one_file {setting('dataset.path', str(path))}"
        return [f"{path}: holds a whole collection, {whole[0].name}; give it alone: {instead}"]
    if "id" in layout.given or _have_ids(objects):
        return []
    what = f"{path}: {objects.shape.name} without an id for each"
    rest = [column for column in objects.columns if column not in objects.found.values()]
    unique = [column for column in rest if _tells_apart(objects.first, column)]
    choices = [setting(layout.keys["id"], column) for column in unique if "id" in layout.keys][:3]
    return [f"{what}; " + (f"set {' or '.join(choices)}" if choices else "give every one an id")]


def _is_nested(item: Item) -> bool:
    """Whether an object holds other objects or lists only, as {query: {document: number}} does."""
    return bool(item) and all(isinstance(value, dict | list) for value in item.values())


def _have_ids(objects: Objects) -> bool:
    """Whether the first records have ids, or something in their place that no two of them share."""
    column = objects.found.get("id")
    return column is not None and (not objects.surer() or _tells_apart(objects.first, column))


def _tells_apart(items: list[Item], column: str) -> bool:
    values = [value_at(item, column) for item in items]
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    texts = list(map(str, values))
    return plain and len(set(texts)) == len(texts) and max(map(len, texts)) <= _LONGEST_ID


def rows_of(objects: Objects, log: FileLog) -> Iterator[tuple[int, Row]]:
    """Yield (number, one value per role, `layout.absent` for an absent one) of objects."""
    layout, surer = objects.layout, objects.surer()
    nested = any("." in name for names in layout.names.values() for name in names)
    columns = objects.found if objects.shape else {}
    names: list[str | None] = [columns.get(role) for role in layout.names]
    seen: set[tuple[str, ...]] = set()
    for number, item in objects.every:
        if len(columns) < len(layout.names):  # a title may first appear in a later line
            keys = tuple(columns_of(item) if nested else item)
            if keys not in seen:
                seen.add(keys)
                columns = {**layout.find(keys), **columns}
                names = [columns.get(role) for role in layout.names]
        row = _row(item, names, nested)
        if _ABSENT in row:
            row = _without_dispensable(row, item, columns, layout)
        if (nested or isinstance(item, Repeating)) and (twice := _twice(item, columns)) is not None:
            log.add(number, f"has {twice!r} twice: keep one; this {log.unit} is {_told(item)}")
        elif _ABSENT in row:
            _log_lacking(number, item, columns, layout, log)
        elif surer and (late := [name for name in surer if value_at(item, name) is not None]):
            cure = setting(layout.keys["id"], columns["id"]) if "id" in layout.keys else ""
            told = f"has {late[0]!r}, which the records before it lack: give it to every one"
            log.add(number, f"{told}, or set {cure}" if cure else told)
        else:
            yield number, row


def _row(item: Item, names: list[str | None], nested: bool) -> Row:
    if nested:
        return tuple([_ABSENT if name is None else value_at(item, name, _ABSENT) for name in names])
    return tuple([item.get(name, _ABSENT) for name in names])  # type: ignore[arg-type]


def _told(item: Item) -> str:
    """An object as a message shows it: as JSON, on one line."""
    return shown(json.dumps(item, ensure_ascii=False, default=str))


def _twice(item: Item, columns: dict[str, str]) -> str | None:
    """A key that stands twice where a column is read, in the object or in those within it."""
    if isinstance(item, Repeating) and (twice := item.repeated & set(columns.values())):
        return min(twice)
    for column in (name for name in columns.values() if "." in name and name not in item):
        start, _, rest = column.partition(".")
        inner = item.get(start)
        if isinstance(inner, dict) and (deeper := _twice(inner, {start: rest})) is not None:
            return f"{start}.{deeper}"
    return None


def _without_dispensable(row: Row, item: Item, columns: dict[str, str], layout: Layout) -> Row:
    """A row without what the object may lack; what others of the file have it must have too, if required."""
    dispensable = layout.dispensable(list(item)) - (columns.keys() - layout.optional)
    roles = zip(row, layout.roles, layout.absent, strict=True)
    return tuple(none if value is _ABSENT and role in dispensable else value for value, role, none in roles)


def _log_lacking(number: int, item: Item, columns: dict[str, str], layout: Layout, log: FileLog) -> None:
    """Say what an object lacks: the first lines told us how the keys are called."""
    required = {role: name for role, name in columns.items() if role not in layout.optional}
    lost = [name for name in required.values() if value_at(item, name, _ABSENT) is _ABSENT]
    lacking = f"lacks {', '.join(map(repr, lost))}" if lost else layout.missing(list(item))[0]
    add = ": add what it lacks" if lost else ""
    log.add(number, f"{lacking}; this {log.unit} is {_told(item)}{add}", kind=lacking)
