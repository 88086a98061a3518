"""Arrow tables in memory or memory-mapped, whose pages can be let go."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


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


def open_mapped(path: Path) -> Stored:
    """The table of an Arrow IPC file, not read before it is used. Raises OSError or pyarrow's errors."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Stored(pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping))).read_all(), mapping)
