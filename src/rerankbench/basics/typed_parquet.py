"""Parquet files whose columns are checked, so that whoever reads one gets what was promised or one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rerankbench.basics.regular_file import open_regular
from rerankbench.basics.typed_json import shown
from rerankbench.basics.visible import visible

MOST = 8 << 30  # bytes of a file
MOST_READ = 4 << 30  # bytes of what is read of it: a few packed bytes can stand for very many
ROWS_AT_ONCE = 1 << 16

TEXT, WHOLE, NUMBER = "text", "whole numbers", "numbers"
STORED = {TEXT: pa.string(), WHOLE: pa.int64(), NUMBER: pa.float64()}

Columns = Mapping[str, str]
Keep = Callable[[pa.RecordBatch], pa.RecordBatch]


def read(file: Path, columns: Callable[[list[str]], Columns], keep: Keep = lambda batch: batch) -> pa.Table:
    """Some columns of a file as strings, int64 and float64, which may be null where the file has nulls.

    columns: what the file's column names make of it: those that are wanted, and what is in them. `keep` takes
    the rows that are wanted. Raises ValueError saying in one line what is wrong, and OSError.
    """
    with opened(file) as stream:
        return whole(pq.ParquetFile(stream, page_checksum_verification=True), columns, keep)


def names(file: Path) -> list[str]:
    """The names of a file's columns. Raises as `read`."""
    with opened(file) as stream:
        return list(pq.read_schema(stream).names)


@contextmanager
def opened(file: Path) -> Iterator[BufferedReader]:
    """An open file, about whose content pyarrow's errors become a ValueError in one line."""
    try:
        with open_regular(file, MOST) as stream:
            yield stream
    except (pa.ArrowException, MemoryError, OverflowError, KeyError, IndexError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:  # the system's own
            raise
        text = visible(" ".join(str(error).split())) or type(error).__name__
        text = text if len(text) <= 160 else text[:157] + "..."
        raise ValueError(f"cannot be read ({text})") from None


def whole(file: pq.ParquetFile, columns: Callable[[list[str]], Columns], keep: Keep) -> pa.Table:
    """The wanted columns of an open file."""
    schema = file.schema_arrow
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ValueError(f"its column {shown(twice[0])} is there twice")
    wanted = columns(schema.names)
    for name, kind in wanted.items():
        if name not in schema.names:
            raise ValueError(f"its column {shown(name)} is missing")
        if not fits(schema.field(name).type, kind):
            found = shown(schema.field(name).type)
            raise ValueError(f"its column {shown(name)} should hold {kind}, not {found}")
    if not file.metadata.num_rows:
        raise ValueError("it has no rows")
    stored = pa.schema([pa.field(name, STORED[kind]) for name, kind in wanted.items()])
    batches, size, rows = [], 0, 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(wanted)):
        batch.validate(full=True)  # texts that are no UTF-8, lists that end before they begin
        kept = keep(batch.select(list(wanted)))
        size, rows = size + kept.nbytes, rows + len(batch)
        if size > MOST_READ:
            raise ValueError(f"it holds more than {MOST_READ:,} bytes, which no run writes")
        batches.append(pa.table(kept.columns, names=list(wanted)).cast(stored))
    if rows != file.metadata.num_rows:
        raise ValueError(f"it promises {file.metadata.num_rows:,} rows and holds {rows:,}")
    return pa.concat_tables(batches) if batches else stored.empty_table()


def fits(found: pa.DataType, kind: str) -> bool:
    """Whether a column of that type holds what is expected; one of nulls alone holds nothing."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found):
        return kind != TEXT
    if kind == TEXT:
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    return pa.types.is_integer(found) or (kind == NUMBER and pa.types.is_floating(found))
