"""What a file here says about how a framework writes its records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerankbench.collections.reading.shapes.gathered import Gathered

Item = dict[str, object]
NONE = "none"  # what dataset.relevant_column says where nothing is known to be relevant
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


@dataclass(frozen=True)
class CollectionShape(ABC):
    """How a framework writes queries, documents and judgements into one file.

    key: what `dataset.shape` calls it. name: what people call such records. marks: for each mark the columns
    of which every record has one. lists: columns that hold a list or an object, which CSV writes as text.
    """

    key: str
    name: str
    marks: tuple[tuple[str, ...], ...]
    lists: tuple[str, ...] = ()

    def fits(self, item: Item) -> bool:
        """Whether a record has all marks, be they null."""
        return all(any(mark in item for mark in either) for either in self.marks)

    @property
    def told(self) -> str:
        """The marks in words."""
        return " + ".join("/".join(either) for either in self.marks)

    def relevant_column(self, first: Sequence[Item]) -> str | None:
        """The column that lists the relevant passages, where that may be another one in another file."""
        return None

    def relevant_problem(self, first: Sequence[Item], given: str | None) -> str | None:
        """Why it is not clear what is relevant in a file that begins so; given: `dataset.relevant_column`."""
        return f"{self.name} say themselves what is relevant; leave it out" if given else None

    @abstractmethod
    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        """Add what each record holds; its faults are logged. relevant: the column that lists what is."""
