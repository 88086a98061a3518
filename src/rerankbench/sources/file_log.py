"""What goes wrong while one file is read: every fault with its line, the first twenty of them shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_SHOWN = 20


class FileLog:
    """Faults of one file. Readers add to it and go on, so that one run names everything that is wrong.

    unit: what a number counts, "line" for text files and "row" for tables.
    numeric_ids: how many ids the file gave as numbers instead of strings.
    """

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path = path
        self.unit = unit
        self.count = 0
        self.numeric_ids = 0
        self._shown: list[str] = []

    def add(self, number: int | None, problem: str) -> None:
        """Note one fault at a line or row (None: the file as a whole)."""
        self.count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(f"{self.place(number)}: {problem}")

    def add_all(self, rows: list[int], describe: Callable[[int], tuple[int, str]]) -> None:
        """Note one fault for each of `rows`; only those that are shown are described (number, problem)."""
        described = rows[: max(0, _SHOWN - len(self._shown))]
        for row in described:
            self.add(*describe(row))
        self.count += len(rows) - len(described)

    def place(self, number: int | None) -> str:
        """`corpus.jsonl:7` for a line, `corpus.parquet row 7` for a row, the path alone without a number."""
        if number is None:
            return str(self.path)
        return f"{self.path}:{number}" if self.unit == "line" else f"{self.path} {self.unit} {number}"

    def problems(self) -> list[str]:
        """At most twenty lines, and one that counts the rest."""
        rest = self.count - len(self._shown)
        return self._shown + ([f"{self.path}: and {rest:,} more"] if rest else [])
