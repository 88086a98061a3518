"""Pairs as CSV for a spreadsheet, and back.

Spreadsheets take the zeros off ids, make dates of them and run texts that begin like a formula. So each row
has a name of its own by which it is found again, and no cell begins like a formula.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.basics.regular_file import read_regular
from rerankbench.basics.visible import visible
from rerankbench.engine.store.rows import write_atomic
from rerankbench.judging.pool import Pair
from rerankbench.judging.record import JUDGED, MOST_NOTE, UNCLEAR
from rerankbench.judging.texts import Texts

COLUMNS = ("pair", "query", "document", "grade", "note", "query_id", "doc_id")
UNSAFE = ("=", "+", "-", "@", "\t", "\r")
LONGEST_CELL = 32_000  # of the 32,767 characters that spreadsheets keep
CUT = " [cut here: the passage is longer; rerankbench-judge without --export shows all of it]"
MOST_BYTES = 1 << 30
TOLD = 5  # faults of a file
UNCLEAR_WORDS = ("?", "cannot tell")


Graded = tuple[Pair, str, int | None, str]


@dataclass(frozen=True)
class Imported:
    """What a file holds: pairs with answer, grade and note, and how many rows have no grade."""

    answers: list[Graded]
    empty: int


def write(path: Path, pairs: Sequence[Pair], texts: Texts) -> None:
    """One row a pair, those of a query together; UTF-8 with the mark by which Excel knows it."""
    order = {query_id: i for i, query_id in enumerate(dict.fromkeys(query_id for query_id, _ in pairs))}
    rows = sorted(pairs, key=lambda pair: order[pair[0]])
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for (query_id, doc_id), text in zip(rows, texts.documents([doc for _, doc in rows]), strict=True):
        cells = (name_of((query_id, doc_id)), texts.queries.get(query_id, ""), text, "", "", query_id, doc_id)
        writer.writerow(map(safe, cells))
    write_atomic(path, out.getvalue().encode("utf-8-sig", "replace"))


def name_of(pair: Pair) -> str:
    """A short name of a pair that no spreadsheet takes for a number or a date."""
    return "p" + hashlib.sha256("\x00".join(pair).encode("utf-8", "replace")).hexdigest()[:15]


def safe(cell: str) -> str:
    shown = cell if len(cell) <= LONGEST_CELL else cell[:LONGEST_CELL] + CUT
    return "'" + shown if cell.startswith(UNSAFE) else shown


def read(path: Path, known: Iterable[Pair], highest: int) -> Imported:
    """The grades of a file for pairs that are `known`. Raises UserError with what is wrong in it."""
    by_name = {name_of(pair): pair for pair in known}
    answers: list[Graded] = []
    problems, empty = [], 0
    for number, cells in rows_of(path):
        pair = found(cells, by_name)
        grade, note = cells["grade"].lower(), cells.get("note", "")[:MOST_NOTE]
        if pair is None:
            problems.append(f"{path}, row {number}: its pair is in none of these runs")
        elif not grade:
            empty += 1
        elif grade in UNCLEAR_WORDS:
            answers.append((pair, UNCLEAR, None, note))
        elif (value := whole(grade)) is None or value > highest:
            problems.append(
                f"{path}, row {number}: the grade is {visible(grade[:40])}; give 0 to {highest}, ? or nothing"
            )
        else:
            answers.append((pair, JUDGED, value, note))
    problems += twice(path, answers)
    if problems:
        more = [f"{path}: {len(problems) - TOLD} more such rows"] if len(problems) > TOLD else []
        raise UserError(problems[:TOLD] + more)
    return Imported(answers, empty)


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows that are not empty, by heading, with their numbers in a spreadsheet.

    Raises UserError where it is no CSV, or has not the columns.
    """
    first, *rows = lines_of(path) or [[]]
    names = [name.strip().lower() for name in first]
    if "grade" not in names or not ("pair" in names or {"query_id", "doc_id"} <= {*names}):
        raise UserError(f"--import {path}: needs the columns pair and grade, as --export writes them")
    if several := [name for name in COLUMNS if names.count(name) > 1]:
        raise UserError(f"--import {path}: has the column {several[0]} more than once; keep one")
    for number, row in enumerate(rows, 2):
        if any(cell.strip() for cell in row):
            yield number, dict.fromkeys(names, "") | dict(zip(names, map(str.strip, row), strict=False))


def lines_of(path: Path) -> list[list[str]]:
    """All rows of a file. Raises UserError where it is no CSV."""
    csv.field_size_limit(MOST_BYTES)  # a note may be long
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text)))
    except UnicodeDecodeError:
        raise UserError(f"--import {path}: is not UTF-8; save it as “CSV UTF-8”") from None
    except OSError as error:
        raise UserError(f"--import {path}: cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise UserError(f"--import {path}: is not CSV ({error}); export it again") from None


def delimiter(text: str) -> str:
    """What stands between the names of the first line: spreadsheets of many countries write semicolons."""
    first = re.split("[\r\n]", text, maxsplit=1)[0]
    return max(",;\t", key=first.count)


def found(cells: dict[str, str], by_name: dict[str, Pair]) -> Pair | None:
    if cells.get("pair"):
        return by_name.get(cells["pair"])
    pair = cells.get("query_id", ""), cells.get("doc_id", "")
    return pair if by_name.get(name_of(pair)) == pair else None


def whole(grade: str) -> int | None:
    """A grade as spreadsheets write it: 2, 2.0 or 2,0."""
    found = re.fullmatch("([0-9]{1,4})([.,]0*)?", grade)
    return int(found[1]) if found else None


def twice(path: Path, answers: Sequence[Graded]) -> list[str]:
    """Pairs that have two grades."""
    given: dict[Pair, int | None] = {}
    return [
        f"{path}: query {visible(pair[0])}, document {visible(pair[1])} has two grades; keep one"
        for pair, _, grade, _ in answers
        if given.setdefault(pair, grade) != grade
    ]
