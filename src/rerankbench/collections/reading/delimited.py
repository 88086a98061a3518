"""How a delimited file is to be read: what stands between its columns, and which column holds what.

Both are told from the first rows. A first row that may name columns, none of which we know, is never taken
for a record: the file is refused with the settings that name its columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.column_guess import cure, is_number, setting, unclear_problems
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.grade_words import are_akin, grade_word
from rerankbench.collections.reading.layout import Layout
from rerankbench.collections.reading.lines import read_bytes_lines, read_lines

Cells = list[str]

_PEEKED_LINES = 400
_PEEKED_ROWS = 50
_LONGEST_FIELD = 1 << 30  # csv's own limit is 128 KiB, less than a long document
# One to four words, as columns are called: digits at most at their ends, no punctuation of sentences.
_WORD = r"[^\W\d]+[0-9]{0,2}"
_NAME = re.compile(rf"[(#]?{_WORD}([ ./()\[\]'_-]{{1,2}}{_WORD}){{0,3}}[)\]%]?")
_LONGEST_NAME = 40
_JSON = re.compile(r'(\[\s*)?\{\s*("|$)|\[$')
_IS_JSON = "holds JSON: give its name the ending .jsonl (one object a line) or .json"
_COMMENT = re.compile(r"(#|//) ")


@dataclass(frozen=True)
class Dialect:
    """What stands between columns (None: white space; padded: blanks follow); whether fields are quoted."""

    separator: str | None
    quoted: bool
    padded: bool = False


_SPACED, _TABS = Dialect(None, False), Dialect("\t", False)
_QUOTED = tuple(Dialect(separator, True) for separator in (",", ";", "\t", "|"))


@dataclass(frozen=True)
class Shape:
    """How a file is read.

    places: for each role the number of its column from 0, None where there is none. header: the names in the
    first row, empty where it is a record. number: the line of the first row. problems: why it cannot be read.
    """

    dialect: Dialect
    width: int = 0
    places: tuple[int | None, ...] = ()
    header: tuple[str, ...] = ()
    number: int = 1
    problems: tuple[str, ...] = ()


def shape_of(path: Path, layout: Layout, suffix: str) -> Shape | None:
    """The shape of a file with this extension, from its first rows; None for a file without any."""
    dialects = _dialects(path, suffix, layout)
    first = _first_line(path)
    if _JSON.match(first):
        return Shape(dialects[0], problems=(_IS_JSON,))
    peeked = {dialect: _peek(path, dialect, layout) for dialect in dialects}
    own = dialects[0]
    if not any(peeked.values()):  # the first row is a long one
        peeked[own] = list(islice(_cells(path, own, layout, FileLog(path)), 1))
    peeked = {dialect: rows for dialect, rows in peeked.items() if rows}
    if not peeked:
        return None
    dialect = _choose(peeked, layout)
    rows = peeked[dialect]
    if dialect.quoted and all(cell.startswith(" ") for _, cells in rows for cell in cells[1:]):
        dialect = replace(dialect, padded=True)
        rows = _peek(path, dialect, layout) or rows
    shape = _shape(dialect, rows[0][0], rows[0][1], [cells for _, cells in rows[1:]], layout)
    if not shape.header and _COMMENT.match(first):
        return replace(shape, problems=("is a comment: take such lines out",))
    late = next((number for number, cells in rows[1:] if _is_whole_header(_stripped(cells), layout)), None)
    if late is not None and not shape.header:  # sep=; of Excel, a title
        problem = f"the columns are named in line {late} only: remove the lines above it"
        return replace(shape, problems=(problem,))
    return shape


def _first_line(path: Path) -> str:
    """The first line that is not blank."""
    return next((line for _, line in read_lines(path, FileLog(path)) if line.strip()), "").strip()


def _is_whole_header(names: Cells, layout: Layout) -> bool:
    return layout.is_header(names) and not layout.missing(names)


def _stripped(cells: Cells) -> Cells:
    return [cell.strip() for cell in cells]


def log_faults(path: Path, layout: Layout, suffix: str, log: FileLog) -> None:
    """Note why a file has no first row, if anything is wrong with it."""
    for _ in _cells(path, _dialects(path, suffix, layout)[0], layout, log):
        pass


def read_cells(path: Path, shape: Shape, layout: Layout, log: FileLog) -> Iterator[tuple[int, Cells]]:
    """Yield (line number, cells) of every record, the header left out; other widths are faults."""
    for number, cells in _cells(path, shape.dialect, layout, log):
        if number < shape.number or (number == shape.number and shape.header):
            continue
        if shape.header and tuple(map(str.strip, cells)) == shape.header:  # files that were joined
            log.add(number, "names the columns again: remove this line")
            continue
        if len(cells) != shape.width:
            has = f"has {len(cells)} columns instead of {shape.width}: {shown(' '.join(cells))}"
            log.add(number, f"{has}; {_width_cure(shape)}", kind="columns")
            continue
        yield number, cells


def _width_cure(shape: Shape) -> str:
    """What to do about a record with another number of columns than the first one."""
    if shape.dialect.separator is None:
        return f"write {shape.width}, as in line {shape.number}; an id cannot hold a space here"
    quotes = f", and quote a field that holds {shape.dialect.separator!r}" if shape.dialect.quoted else ""
    return f"write {shape.width}, as in line {shape.number}{quotes}"


# --- what stands between columns ---


def _dialects(path: Path, suffix: str, layout: Layout) -> list[Dialect]:
    """The dialects that a file may have, that of its extension first.

    Judgements and runs hold no texts, so white space may stand between their columns whatever the extension.
    """
    if suffix == ".csv":
        return list(_QUOTED)
    tabs = _QUOTED[2] if _quotes_everything(path) else _TABS
    others = [dialect for dialect in _QUOTED if dialect.separator != "\t"]
    if suffix == ".tsv":
        return [tabs, *others, *([_SPACED] if layout.numbers else [])]
    return [_SPACED, tabs, *others]


def _quotes_everything(path: Path) -> bool:
    """Whether every field of the first line is quoted: tabs alone quote nothing."""
    fields = _first_line(path).split("\t")
    return all(re.fullmatch(r'"([^"]|"")*"', field) for field in fields)


def _peek(path: Path, dialect: Dialect, layout: Layout) -> list[tuple[int, Cells]]:
    """The first rows; the last one may be cut short and is left out where there are others."""
    log = FileLog(path)
    lines = list(islice(read_lines(path, log), _PEEKED_LINES))
    split = _split(iter(lines), dialect, layout, log)
    rows = list(islice((row for row in split if any(map(str.strip, row[1]))), _PEEKED_ROWS))
    return rows[:-1] if len(lines) == _PEEKED_LINES and 1 < len(rows) < _PEEKED_ROWS else rows


def _choose(peeked: dict[Dialect, list[tuple[int, Cells]]], layout: Layout) -> Dialect:
    """The dialect in which the first rows make sense."""
    own = next(iter(peeked))
    known = [dialect for dialect, rows in peeked.items() if _is_whole_header(rows[0][1], layout)]
    even = [dialect for dialect, rows in peeked.items() if _width(rows) is not None]
    if known:
        return next((dialect for dialect in known if dialect in even), known[0])
    if layout.is_header(peeked[own][0][1]) and own in even:
        return own
    widths = {len(positions) for positions in layout.headerless}
    fitting = [dialect for dialect in even if _width(peeked[dialect]) in widths]
    if fitting:  # of several, the one whose first column is shortest: ids hardly hold separators
        return min(fitting, key=lambda dialect: sum(len(cells[0]) for _, cells in peeked[dialect]))
    wide = [dialect for dialect in even if (_width(peeked[dialect]) or 0) > 1]
    return next((dialect for dialect in wide if dialect.separator is not None), wide[0] if wide else own)


def _width(rows: Sequence[tuple[int, Cells]]) -> int | None:
    widths = {len(cells) for _, cells in rows}
    return widths.pop() if len(widths) == 1 else None


def _cells(path: Path, dialect: Dialect, layout: Layout, log: FileLog) -> Iterator[tuple[int, Cells]]:
    if dialect.separator is None:
        return _spaced(read_bytes_lines(path, log), layout)
    return _split(read_lines(path, log), dialect, layout, log)


def _split(
    lines: Iterator[tuple[int, str]], dialect: Dialect, layout: Layout, log: FileLog
) -> Iterator[tuple[int, Cells]]:
    if dialect.separator is None:
        return _spaced(((number, line.encode()) for number, line in lines), layout)
    if not dialect.quoted:
        return _tabs(lines)
    return _quoted(lines, dialect.separator, log, skipinitialspace=dialect.padded)


def _quoted(
    lines: Iterator[tuple[int, str]], separator: str, log: FileLog, *, skipinitialspace: bool
) -> Iterator[tuple[int, Cells]]:
    csv.field_size_limit(_LONGEST_FIELD)
    last = 0

    def content() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line

    reader = csv.reader(content(), strict=True, delimiter=separator, skipinitialspace=skipinitialspace)
    while True:
        first = last + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            reason = str(error).replace("\t", "\\t")
            cure = (
                "quote fields that hold commas, quotes or line ends, and write each quote inside them twice"
            )
            log.add(first, f"is not valid CSV ({reason}): {cure}")
            return
        if cells is None:
            return
        if cells:
            yield first, cells


def _tabs(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Cells]]:
    for number, line in lines:
        if content := line.rstrip("\r\n"):
            yield number, content.split("\t")


def _spaced(lines: Iterable[tuple[int, bytes]], layout: Layout) -> Iterator[tuple[int, Cells]]:
    # Bytes split on ASCII white space only, as trec_eval does; str.split would also cut ids at U+00A0.
    most = len(layout.headerless[0]) if layout.open_end else 0
    for number, line in lines:
        cells = line.split()
        if 0 < most < len(cells) and all(is_number(cell.decode()) for cell in cells[most - 3 : most - 1]):
            cells = line.split(None, most - 1)
            cells[-1] = cells[-1].rstrip()
        if cells:
            yield number, [cell.decode("utf-8") for cell in cells]


# --- which column holds what ---


def _shape(dialect: Dialect, number: int, first: Cells, rest: list[Cells], layout: Layout) -> Shape:
    width = len(first)
    numbered = _numbered(first, layout)
    if numbered:
        problems, places = _by_number(first, numbered, layout)
        return Shape(dialect, width, places, (), number, tuple(problems))
    names = _stripped(first)
    if layout.is_header(names):
        problems = _header_problems(names, rest, layout)
        found = layout.find(names)
        places = tuple(names.index(found[role]) if role in found else None for role in layout.roles)
        return Shape(dialect, width, places, tuple(names), number, tuple(problems))
    positions = next((shape for shape in layout.headerless if len(shape) == width), None)
    if positions is None or _names_columns(first, rest, bool(layout.numbers & set(positions))):
        spaced = dialect.separator is None and not layout.numbers
        problem = _untabbed(first, layout) if spaced else _unknown(first, rest, layout)
        return Shape(dialect, width, number=number, problems=(problem,))
    places = tuple(positions.index(role) if role in positions else None for role in layout.roles)
    return Shape(dialect, width, places, (), number, _turned_problems([first, *rest], positions, layout))


def _turned_problems(rows: list[Cells], positions: tuple[str, ...], layout: Layout) -> tuple[str, ...]:
    """Why ids and texts without names seem to stand in each other's column: for the most part, texts have
    blanks in them and ids have none."""
    if positions != ("id", "text"):
        return ()
    kept = [cells for cells in rows if len(cells) == len(positions)]
    first, second = (sum(" " in cells[at].strip() for cells in kept) for at in range(2))
    if 2 * first <= len(kept) or 2 * second > len(kept):
        return ()
    ways = [
        " ".join(setting(layout.keys[role], str(at)) for role, at in zip(positions, order, strict=True))
        for order in ((2, 1), (1, 2))
        if {*positions} <= layout.keys.keys()
    ]
    cure = f"say which: {' or '.join(ways)}" if ways else "put the ids first"
    return (f"the texts seem to stand first and the ids behind them: {cure}",)


def _numbered(first: Cells, layout: Layout) -> dict[str, int]:
    """Role -> column from 1, where the config gives columns by number; pandas and R call columns so, too."""
    given = {role: layout.names[role][0] for role in layout.given}
    counted = [[str(at + start) for at in range(len(first))] for start in (0, 1)]
    if _stripped(first) in counted:
        return {}
    return {role: int(name) for role, name in given.items() if name.isascii() and name.isdecimal()}


def _by_number(
    first: Cells, numbered: dict[str, int], layout: Layout
) -> tuple[list[str], tuple[int | None, ...]]:
    dispensable = numbered.keys() | layout.optional | layout.assumed
    problems = [
        f"{layout.keys.get(role, role)}={place}: the columns have the numbers 1 to {len(first)}"
        for role, place in numbered.items()
        if not 1 <= place <= len(first)
    ]
    problems += [
        f"no column for the {role}: give its number too, {layout.keys.get(role)}"
        for role in layout.roles
        if role not in dispensable and layout.instead.get(role) not in numbered
    ]
    places = tuple(numbered[role] - 1 if role in numbered else None for role in layout.roles)
    return problems, places


def _header_problems(names: Cells, rest: list[Cells], layout: Layout) -> list[str]:
    problems = layout.missing(names, cure(names, rest, layout)) + unclear_problems(names, layout)
    return problems + layout.doubled(names)


def _untabbed(first: Cells, layout: Layout) -> str:
    """What to say of texts between whose columns nothing but blanks stands."""
    kept = " and ".join(role for role in layout.roles if role not in layout.optional)
    return f"has no tab between {kept}: {shown(' '.join(first))}; put one there, or write CSV or JSONL"


def _unknown(first: Cells, rest: list[Cells], layout: Layout) -> str:
    """What to say of a first row that is neither a header we know nor certainly a record."""
    numbers = cure([str(at) for at in range(1, len(first) + 1)], rest or [first], layout)
    if all(len(shape) != len(first) for shape in layout.headerless) and not _looks_named(
        first, rest, bool(layout.numbers)
    ):
        widths = sorted({len(positions) for positions in layout.headerless})
        shapes = f"{', '.join(map(str, widths[:-1]))} or {widths[-1]}" if len(widths) > 1 else str(widths[0])
        what = f"has {len(first)} columns, not {shapes}, and no header: {shown(' '.join(first))}"
        return f"{what}; {layout.header_cure(len(first), numbers)}"
    named = cure(_stripped(first), rest, layout)
    record = f"; if it is a record: {numbers}" if numbers else ""
    what = f"names columns that are not recognised: {shown(', '.join(first))}"
    return f"{what}; {layout.header_cure(len(first), named)}{record}"


def _names_columns(first: Cells, rest: list[Cells], numbers: bool) -> bool:
    """Whether a first row of the right width may be a header all the same; numbers: whether a column has
    some."""
    if not numbers:
        return _looks_named(first, rest, numbers)
    if any(map(is_number, first)):
        return False
    return _above_words(first, rest) or _any_numbers(rest, len(first))


def _above_words(first: Cells, rest: list[Cells]) -> bool:
    """Whether the last column is yes and no, and the first row has another word there, such as "relevant"."""
    words = {grade_word(cells[-1]) for cells in rest if len(cells) == len(first)}
    said = grade_word(first[-1])
    return bool(words) and None not in words and not any(are_akin(str(said), str(word)) for word in words)


def _any_numbers(rest: list[Cells], width: int) -> bool:
    """Whether any of the columns holds numbers for the most part."""
    columns = zip(*(map(is_number, cells) for cells in rest if len(cells) == width), strict=True)
    return any(2 * sum(below) > len(below) for below in columns)


def _looks_named(first: Cells, rest: list[Cells], numbers: bool) -> bool:
    """Whether the cells of a first row look like names of columns rather than like the rows below.

    An id with a number in it that is built as those below is one of them; where neither is certain, a record
    lost to a refusal is less than a header taken for a record.
    """
    below = [cells for cells in rest if len(cells) == len(first)]
    names = _stripped(first)
    if names == [str(at) for at in range(len(names))] and below:  # as pandas calls columns without names
        return not all(is_number(cells[-1]) for cells in below)
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        return False
    if len(names) > 1 and len({name.rstrip("0123456789") for name in names}) == 1:  # V1, V2, as R calls them
        return True
    if numbers:
        return _any_numbers(rest, len(first))
    if not below:
        return not any(map(str.isdigit, "".join(names)))
    alike = sum(_pattern(cells[0]) == _pattern(names[0]) for cells in below)
    return 10 * alike <= len(below) or not any(map(str.isdigit, names[0]))


def _is_name(cell: str) -> bool:
    return len(cell) <= _LONGEST_NAME and _NAME.fullmatch(cell) is not None


def _pattern(cell: str) -> str:
    """How an id is built: "a9" for "doc12"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", cell.strip()))
