"""Rows of a CSV file as objects, some of whose cells hold lists, as csv and pandas write them."""

from __future__ import annotations

import ast
import csv
import io
import json
import tokenize
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.lines import read_lines
from rerankbench.collections.reading.shapes.shape import Item

_SEPARATORS = ",;\t|"
_LONGEST_FIELD = 1 << 30
_CURE = "write the file as .jsonl or .parquet, which keep lists"


def csv_items(path: Path, lists: Collection[str], log: FileLog) -> Iterator[tuple[int, Item]]:
    """Yield (line, object) of a CSV file with a header; faults are logged.

    lists: the columns whose cells may hold a list or an object, as JSON or as Python writes it (`str(list)`).
    """
    lines = (pair[1] for pair in read_lines(path, log))
    head = next(lines, "")
    separator = max(_SEPARATORS, key=head.count)
    csv.field_size_limit(_LONGEST_FIELD)
    names = next(csv.reader([head], delimiter=separator), [])
    rows = csv.reader(lines, delimiter=separator)
    while True:
        number = rows.line_num + 2  # the header is line 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            log.add(number, f"is not a row of CSV ({error}); {_CURE}")
            return
        if len(cells) != len(names):
            if cells:
                has = f"has {len(cells)} columns instead of {len(names)}: {shown(' '.join(cells))}"
                log.add(number, f"{has}; quote cells that hold {separator!r}", kind="columns")
        elif (item := _item(names, cells, lists, number, log)) is not None:
            yield number, item


def _item(
    names: list[str], cells: list[str], lists: Collection[str], number: int, log: FileLog
) -> Item | None:
    item: Item = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            item[name] = listed(cell) if name in lists else cell
        except ValueError:
            log.add(number, f"{name!r} is {shown(cell)}, which cannot be read as a list; {_CURE}")
            return None
    return item


def listed(cell: str) -> object:
    """The list or object that a cell holds, None for an empty one, any other cell as it is.

    Raises ValueError for what cannot be read for sure: numpy writes arrays without commas, which Python would
    take for one long string, and shortens long ones.
    """
    text = cell.strip()
    if not text.startswith(("[", "{")):
        return cell if text else None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        if _joins_strings(text):
            raise ValueError("strings without a comma between them")
        found = ast.literal_eval(text)
    except (SyntaxError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ValueError(str(error)) from None
    if Ellipsis in found:
        raise ValueError("a shortened list")
    return found


def _joins_strings(text: str) -> bool:
    """Whether two strings stand side by side, which Python takes for one."""
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.NEWLINE)]
    return any(one == other == tokenize.STRING for one, other in pairwise(kinds))
