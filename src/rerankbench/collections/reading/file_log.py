"""What goes wrong while one file is read: every kind of fault with its places."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SHOWN = 20  # kinds of faults
_PLACES = 3  # further places named for each
# What differs between faults of one kind: values in quotes or brackets, cut short or not, numbers, bytes.
_VALUES = re.compile(
    r"""'(\\.|[^\\])*?('|\.\.\.)|"(\\.|[^\\])*?("|\.\.\.)|\[.*?(\]|\.\.\.)|\{.*?(\}|\.\.\.)"""
    r"""|0x[0-9a-f]+|\\u[0-9a-f]{4}|\b(True|False|None|nan|inf)\b|-?[0-9][0-9.e+-]*"""
)


@dataclass
class _Kind:
    """One kind of fault: the first in words, the next by their numbers."""

    first: str
    count: int = 1
    next: list[int] = field(default_factory=list)

    def line(self, unit: str) -> str:
        more = self.count - 1
        if not more:
            return self.first
        numbers = ", ".join(map(str, self.next)) + (", ..." if more > len(self.next) else "")
        units = unit if more == 1 else {"entry": "entries"}.get(unit, f"{unit}s")
        where = f": {units} {numbers}" if self.next else ""
        return f"{self.first} (and {more:,} more of this kind{where})"


class FileLog:
    """Faults of one file. Readers add to it and go on, so that one run names everything that is wrong.

    Faults that differ only in values are one kind: the first is told, with the places of the next.

    unit: what a number counts, "line" for text files and "row" for tables.
    numeric_ids: how many ids the file gave as numbers instead of strings.
    """

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path = path
        self.unit = unit
        self.count = 0
        self.numeric_ids = 0
        self._kinds: dict[str, _Kind] = {}
        self._rest = 0

    def add(self, number: int | None, problem: str, kind: str | None = None) -> None:
        """Note one fault at a line or row (None: the file as a whole); kind: what faults alike share."""
        self.count += 1
        kind = _VALUES.sub("*", problem) if kind is None else kind
        if kind in self._kinds:
            self._again(self._kinds[kind], number)
        elif len(self._kinds) < _SHOWN:
            self._kinds[kind] = _Kind(f"{self.place(number)}: {problem}")
        else:
            self._rest += 1

    def add_all(self, rows: list[int], describe: Callable[[int], tuple[int, str]]) -> None:
        """Note one fault of the same kind for each of `rows`; only the first few are described."""
        for row in rows[: _PLACES + 2]:
            self.add(*describe(row))
        left = len(rows) - (_PLACES + 2)
        if left > 0:
            self.count += left
            self._kinds[_VALUES.sub("*", describe(rows[0])[1])].count += left

    def _again(self, kind: _Kind, number: int | None) -> None:
        kind.count += 1
        if number is not None and len(kind.next) < _PLACES:
            kind.next.append(number)

    def place(self, number: int | None) -> str:
        """`corpus.jsonl:7` for a line, `corpus.parquet row 7` for a row, the path alone without a number."""
        if number is None:
            return str(self.path)
        return f"{self.path}:{number}" if self.unit == "line" else f"{self.path} {self.unit} {number}"

    def problems(self) -> list[str]:
        """A line for each kind of fault, twenty at most, and one that counts the rest."""
        told = [kind.line(self.unit) for kind in self._kinds.values()]
        return told + ([f"{self.path}: and {self._rest:,} more"] if self._rest else [])
