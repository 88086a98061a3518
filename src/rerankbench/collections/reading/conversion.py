"""A source as an Arrow table: in memory while small, else a memory-mapped file kept in the cache."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerankbench.basics import typed_json
from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import shown
from rerankbench.basics.regular_file import open_regular
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.parquet import parts
from rerankbench.collections.reading.records import SCHEMA, read_records
from rerankbench.collections.reading.rows import read_rows
from rerankbench.engine.store.aside import make_way
from rerankbench.engine.store.rows import write_atomic


@dataclass(frozen=True)
class Stored:
    """A table and, if it is a file's, the mapping that holds it."""

    table: pa.Table
    mapping: mmap.mmap | None = None

    def release(self) -> None:
        """Let go of the pages that were read; the next access brings them back from the file.

        Without this, a process that reads a large corpus once appears to hold all of it in memory.
        """
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)


IN_MEMORY_BYTES = 50_000_000
_VERSION = 4  # raise it when the same source would be read differently
_ABANDONED_SECONDS = 24 * 3600


def read_table(path: Path, layout: Layout, log: FileLog, cache_dir: Path) -> Stored:
    """All records of a file in file order: `doc_id`, `title`, `text`; duplicate ids are faults and left out.

    A table beyond 50 MB is written once to `cache_dir/corpora`, under the hash of the file and of the layout,
    and memory-mapped from there. Raises UserError when the cache cannot be written.
    """
    content = [_file_sha256(part.resolve()) for part in parts(path)]  # it may well be a link
    identity = f"{content} {path.suffixes} {layout.identity}"
    return stored_table(read_rows(path, layout, log), identity, log, cache_dir)


def stored_table(rows: Iterable[tuple[int, Row]], identity: str, log: FileLog, cache_dir: Path) -> Stored:
    """The table kept under `identity`, or else that of `rows`, which is kept if large and without fault.

    identity: everything that decides the content. The rest is as with `read_table`.
    """
    folder = cache_dir / "corpora"
    kept = folder / f"{hashlib.sha256(f'{_VERSION} {identity}'.encode()).hexdigest()}.arrow"
    found = _open_kept(kept, log)
    if found is not None:
        return found
    numbers: array[int] = array("q")  # the line of each record
    held, spilled = _gather(read_records(rows, log, numbers), folder)
    if spilled is None:
        return Stored(_without_duplicates(pa.Table.from_batches(held, SCHEMA), numbers, log))
    whole = _open_mapped(spilled)
    unique = _without_duplicates(whole.table, numbers, log)
    if log.count:
        spilled.unlink()
        return Stored(unique, whole.mapping)
    _keep(spilled, kept, log)
    return whole


def table_of(rows: Iterable[tuple[int, Row]], log: FileLog) -> pa.Table:
    """The same table in memory, whatever its size."""
    numbers: array[int] = array("q")
    return _without_duplicates(pa.Table.from_batches(read_records(rows, log, numbers), SCHEMA), numbers, log)


def _without_duplicates(table: pa.Table, numbers: array[int], log: FileLog) -> pa.Table:
    """The table as it is when its ids are unique; else each later record of an id is a fault and left out."""
    ids = table.column("doc_id")
    if pc.count_distinct(ids).as_py() == len(ids):
        return table
    codes = pc.index_in(ids, value_set=ids.unique()).to_numpy()
    first_of = np.full(int(codes.max()) + 1, -1, np.int64)
    first_of[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    repeated = first_of[codes] != np.arange(len(codes))

    def describe(row: int) -> tuple[int, str]:
        used = f"was used by {log.unit} {numbers[int(first_of[codes[row]])]}"
        return numbers[row], f"the id {shown(ids[row].as_py())} {used}: ids are unique, rename or remove one"

    log.add_all(np.flatnonzero(repeated).tolist(), describe)
    return table.filter(pa.array(~repeated))


def _gather(batches: Iterator[pa.RecordBatch], folder: Path) -> tuple[list[pa.RecordBatch], Path | None]:
    """All batches; or, beyond IN_MEMORY_BYTES, none and the temporary file that holds them."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > IN_MEMORY_BYTES:
            return [], _spill(held, batches, folder)
    return held, None


def _spill(held: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch], folder: Path) -> Path:
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            while held:
                writer.write_batch(held.pop(0))
            for batch in rest:
                writer.write_batch(batch)
    except OSError as error:
        raise UserError(
            f"cannot keep the corpus in {folder} ({error}): set cache_dir to a disk with room"
        ) from error
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed process left behind; a day is longer than any conversion takes."""
    for path in folder.glob("*.tmp"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            path.unlink(missing_ok=True)


def _keep(spilled: Path, kept: Path, log: FileLog) -> None:
    """Move a finished file to its name; the note beside it, written last, vouches for its bytes."""
    note = {"sha256": _file_sha256(spilled), "numeric_ids": log.numeric_ids}
    make_way(kept)
    os.replace(spilled, kept)
    write_atomic(kept.with_suffix(".json"), json.dumps(note).encode())


def _open_kept(kept: Path, log: FileLog) -> Stored | None:
    """The kept table, None if there is none or its bytes changed since it was written."""
    try:
        note = typed_json.read(kept.with_suffix(".json"), typed_json.OBJECT, typed_json.MOST_NOTE)
        if _file_sha256(kept) != note["sha256"]:
            return None
        log.numeric_ids = int(note["numeric_ids"])
        return _open_mapped(kept)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _open_mapped(path: Path) -> Stored:
    """The table of an Arrow IPC file, not read before it is used. Raises OSError or pyarrow's errors."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Stored(pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping))).read_all(), mapping)


def _file_sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
