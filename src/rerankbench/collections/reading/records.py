"""Documents and queries: (id, title, text) in Arrow batches, each value checked."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from decimal import Decimal
from numbers import Integral

import pyarrow as pa

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Row

SCHEMA = pa.schema([(name, pa.large_string()) for name in ("doc_id", "title", "text")])
_BATCH_BYTES = 4 << 20
_BATCH_ROWS = 8192


def read_records(
    rows: Iterable[tuple[int, Row]], log: FileLog, numbers: array[int]
) -> Iterator[pa.RecordBatch]:
    """Turn numbered rows (id, text) or (id, title, text) into batches of SCHEMA.

    Faulty records are logged and left out; the number of each good one is appended to `numbers`. Ids may be
    strings or whole numbers (counted in the log); nothing else is converted. A null title is the empty title.
    """
    ids: list[str] = []
    titles: list[str] = []
    texts: list[str] = []
    size = 0
    for number, row in rows:
        record_id = checked_id(row[0], "id", number, log)
        title = _string(row[1] if len(row) == 3 else "", "title", number, log, absent="")
        text = _string(row[-1], "text", number, log)
        if record_id is None or title is None or text is None:
            continue
        numbers.append(number)
        ids.append(record_id)
        titles.append(title)
        texts.append(text)
        size += len(title) + len(text)
        if size >= _BATCH_BYTES or len(ids) >= _BATCH_ROWS:
            yield _batch(ids, titles, texts)
            ids, titles, texts, size = [], [], [], 0
    if ids:
        yield _batch(ids, titles, texts)


def checked_id(value: object, role: str, number: int, log: FileLog) -> str | None:
    """An id as a string; None, and a fault, if it is empty or neither a string nor a whole number."""
    if not isinstance(value, str):
        if is_whole(value):
            log.numeric_ids += 1
            return str(value)
        log.add(number, f"the {role} is {_kind(value)}, {shown(value)}: {_id_cure(value, log)}")
    elif not value.strip():
        log.add(number, f"the {role} is empty, {shown(value)}: give every record an id")
    elif "\0" in value:
        log.add(number, f"the {role} holds a NUL character, {shown(value)}: remove it")
    else:
        return _character_string(value, role, number, log)
    return None


def _id_cure(value: object, log: FileLog) -> str:
    if value is None:
        return "give every record an id"
    if isinstance(value, list | tuple | dict):
        return "an id is one string"
    return f"ids are strings; {'write the column as text' if log.unit == 'row' else 'quote it'}"


def is_whole(value: object) -> bool:
    """Whether a value is a whole number of Python, of numpy or of a column of decimals without a fraction."""
    if isinstance(value, Decimal):
        return value.as_tuple().exponent == 0
    return isinstance(value, Integral) and not isinstance(value, bool)


def _string(value: object, role: str, number: int, log: FileLog, absent: str | None = None) -> str | None:
    if isinstance(value, str):
        return _character_string(value, role, number, log)
    if value is None and absent is not None:
        return absent
    log.add(number, f'the {role} is {_kind(value)}, {shown(value)}: it must be a string ("" for none)')
    return None


def _character_string(value: str, role: str, number: int, log: FileLog) -> str | None:
    """The string, unless it holds half of a surrogate pair: JSON can write that, UTF-8 and Arrow cannot."""
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        log.add(number, f"the {role} holds {half}, half of a surrogate pair and no character: remove it")
        return None
    return value


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def _batch(ids: list[str], titles: list[str], texts: list[str]) -> pa.RecordBatch:
    columns = [pa.array(values, pa.large_string()) for values in (ids, titles, texts)]
    return pa.record_batch(columns, schema=SCHEMA)
