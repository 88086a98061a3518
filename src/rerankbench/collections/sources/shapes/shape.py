"""What a file can say about how a framework writes its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Item = dict[str, object]
_DEEPEST = 3  # levels of nested objects that have columns
_ABSENT = object()


@dataclass(frozen=True)
class RecordShape:
    """How a framework writes one document.

    name: what people call such records, as a plural.
    marks: columns that every record has; those of nested objects are joined by dots.
    columns: role -> the columns that may hold it, the surest first. All others are the framework's own.
    inside: the key of the object that holds the record; empty where nothing is around it.
    """

    name: str
    marks: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    inside: str = ""

    def fits(self, item: Item) -> bool:
        """Whether a record has all marks, be they null."""
        return all(value_at(item, mark, _ABSENT) is not _ABSENT for mark in self.marks)

    def record(self, item: Item) -> Item:
        """The record without what is around it."""
        inner = item.get(self.inside) if self.inside else item
        return inner if isinstance(inner, dict) else {}


def value_at(item: Item, column: str, absent: object = None) -> object:
    """The value of a column; a.b is the key b of the object under a, unless there is a key a.b."""
    if column in item or "." not in column:
        return item.get(column, absent)
    start, _, rest = column.partition(".")
    inner = item.get(start)
    return value_at(inner, rest, absent) if isinstance(inner, dict) else absent


def columns_of(item: Item, level: int = 1) -> Iterator[str]:
    """The columns of a record in order, those of nested objects behind the object's own."""
    for key, value in item.items():
        yield key
        if isinstance(value, dict) and level < _DEEPEST:
            yield from (f"{key}.{column}" for column in columns_of(value, level + 1))
