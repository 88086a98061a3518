"""Objects of a JSON file, one by one: an object a line, an array of them, or one object around them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.lines import read_lines, suffix

Item = dict[str, object]
IsRecord = Callable[[Item], bool]

ENDINGS = (".jsonl", ".json", ".ndjson")
_AT_ONCE = 1 << 20  # characters of an array that are decoded together
_BEFORE_FIRST, _BETWEEN = re.compile(r"\s*\[\s*(\]?)"), re.compile(r"\s*(?:,\s*|(\]))")
_DOCSTORE, _NODE = "docstore/data", "__data__"  # of LlamaIndex's docstore.json
_FORMS = "write one object per line, or an array of objects"


class Repeating(Item):
    """An object in which some keys stand more than once."""

    repeated: frozenset[str] = frozenset()


def repeated_keys(pairs: Iterable[tuple[str, object]]) -> set[str]:
    """The keys that stand more than once; JSON readers would silently keep the last."""
    counts = Counter(key for key, _ in pairs)
    return {key for key, count in counts.items() if count > 1}


def read_objects(
    path: Path, is_record: IsRecord, log: FileLog, is_table: IsRecord = lambda top: False
) -> Iterator[tuple[int, Item]]:
    """Yield (line, object); of an array, or of one object around all others, (entry, object).

    is_table: whether an object that is a record by its keys holds a column of values under each.

    An array may stand on one line or on many, whatever the ending. One object may hold all records: {id:
    text}, {id: record}, {any key: [record, ..]}, {column: [value, ..]}, {column: {row: value}}, or
    LlamaIndex's docstore. Faults are logged.
    """
    lines = (pair for pair in read_lines(path, log) if not pair[1].isspace())
    start = list(islice(lines, 2))
    every = chain(start, lines)
    if start and start[0][1].lstrip().startswith("["):
        log.unit = "entry"
        yield from _only_objects(_elements(every, log), log)
    elif start and _is_around(path, [line for _, line in start], is_record, is_table):
        log.unit = "entry"
        text = "".join(line for _, line in every)
        yield from _inside(text, is_record, is_table, log)
    else:
        for number, line in every:
            item = _decoded(line, number, log)
            if item is not None:
                yield number, item


def _is_around(path: Path, start: list[str], is_record: IsRecord, is_table: IsRecord) -> bool:
    """Whether a file begins with an object that holds all others."""
    if start[0].strip() == "{":
        return True
    if len(start) > 1:
        return False
    only = _decoded(start[0], 1, FileLog(path))
    if only is None:
        return False
    return is_table(only) if is_record(only) else suffix(path) == ".json"


def in_columns(top: Mapping[str, object]) -> list[Item] | None:
    """The records of {column: [value, ..]} or {column: {row: value}}, as tables write themselves; None for
    anything else."""
    columns = list(top.values())
    by_row = [column for column in columns if isinstance(column, dict)]
    if by_row and len(by_row) == len(columns):
        if any(list(column) != list(by_row[0]) for column in by_row):
            return None
        columns = [list(column.values()) for column in by_row]
    lists = [column for column in columns if isinstance(column, list)]
    if not lists or len(lists) < len(columns) or any(len(column) != len(lists[0]) for column in lists):
        return None
    return [dict(zip(top, values, strict=True)) for values in zip(*lists, strict=True)]


def keep_repeated(pairs: list[tuple[str, object]]) -> Item:
    """An object of JSON that knows which of its keys stand more than once."""
    item = dict(pairs)
    if len(item) == len(pairs):
        return item
    repeating = Repeating(item)
    repeating.repeated = frozenset(repeated_keys(pairs))
    return repeating


def _decoded(line: str, number: int, log: FileLog) -> Item | None:
    what = "is not a JSON object"
    try:
        item = json.loads(line, object_pairs_hook=keep_repeated)
        if isinstance(item, dict):
            return item
    except (ValueError, RecursionError) as error:
        what = f"is not valid JSON ({_reason(error)})"
    log.add(number, f"{what}: {shown(line.strip())}; one JSON object per line")
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "msg", error))


# --- arrays ---


def _elements(lines: Iterator[tuple[int, str]], log: FileLog) -> Iterator[tuple[int, object]]:
    """The elements of an array, numbered from 1, decoded as they come: no list of them is ever held."""
    decoder = json.JSONDecoder(object_pairs_hook=keep_repeated)
    held, number, size, before = "", 0, _AT_ONCE, _BEFORE_FIRST
    while True:
        more = _some(lines, size)
        held, at, reason = held + more, 0, "a comma or the closing bracket is missing"
        while match := before.match(held, at):
            if match[1]:
                if rest := (held[match.end() :] + _some(lines, 1)).strip():
                    log.add(number + 1, f"comes after the end of the array: {shown(rest)}; {_FORMS}")
                return
            try:
                value, end = decoder.raw_decode(held, match.end())
            except (ValueError, RecursionError) as error:
                reason = _reason(error)
                break
            number, at, before = number + 1, end, _BETWEEN
            yield number, value
        held = held[at:]
        if not more:
            log.add(
                number + 1, f"is not valid JSON ({reason}): {shown(held.strip())}; correct the array there"
            )
            return
        size = _AT_ONCE if at else 2 * size


def _some(lines: Iterator[tuple[int, str]], size: int) -> str:
    """The next lines, of `size` characters or more together; empty at the end."""
    taken: list[str] = []
    length = 0
    while length < size and (pair := next(lines, None)) is not None:
        taken.append(pair[1])
        length += len(pair[1])
    return "".join(taken)


def _only_objects(elements: Iterable[tuple[int, object]], log: FileLog) -> Iterator[tuple[int, Item]]:
    for number, element in elements:
        if isinstance(element, dict):
            yield number, element
        else:
            log.add(number, f"is not a JSON object: {shown(element)}; write an array of objects")


# --- one object around all others ---


def _inside(text: str, is_record: IsRecord, is_table: IsRecord, log: FileLog) -> Iterator[tuple[int, Item]]:
    try:
        top = json.loads(text, object_pairs_hook=keep_repeated)
    except (ValueError, RecursionError) as error:
        log.add(None, f"is not valid JSON ({error}): {shown(text.strip())}; {_FORMS}")
        return
    assert isinstance(top, dict)  # it begins with a brace
    if isinstance(top, Repeating):
        log.add(None, f"has {min(top.repeated)!r} twice: keep one")
    elif is_record(top):
        rows = in_columns(top) if is_table(top) else None
        yield from enumerate([top] if rows is None else rows, start=1)
    elif isinstance(nodes := top.get(_DOCSTORE), dict):
        of = (node.get(_NODE) if isinstance(node, dict) else None for node in nodes.values())
        yield from _only_objects(enumerate(of, start=1), log)
    elif lists := [key for key, v in top.items() if isinstance(v, list) and v and isinstance(v[0], dict)]:
        if len(lists) > 1:
            several = " and ".join(map(repr, lists[:3]))
            log.add(None, f"holds more than one list, {several}: write the one that counts to its own file")
            return
        yield from _only_objects(enumerate(top[lists[0]], start=1), log)
    else:
        yield from records_by_id(top, is_record, log)


def records_by_id(top: Item, is_record: IsRecord, log: FileLog) -> Iterator[tuple[int, Item]]:
    """The records of {id: text} or {id: record}; keys that only count them are no ids beside others."""
    counted = list(top) == [str(at) for at in range(len(top))]
    for number, (key, value) in enumerate(top.items(), start=1):
        item: Item = {"_id": key, "text": value} if isinstance(value, str) else {}
        if isinstance(value, dict):
            own = [name for name in ("_id", "id", "id_") if value.get(name) is not None]
            item = value if own else {**value, "_id": key}
            if not counted and any(value[name] != key for name in own):
                log.add(number, f"the key {shown(key)} is not the {own[0]!r} in it: keep one of the two ids")
                continue
        if is_record(item):
            yield number, item
        else:
            log.add(number, f"{shown(key)} has {shown(value)}, which is not a record: {_FORMS}")
