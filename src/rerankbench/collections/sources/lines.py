"""Lines of a text file, strictly UTF-8, with the byte offset of what is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from rerankbench.collections.sources.file_log import FileLog

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CURE = "save the file as UTF-8"
_BINARY = "the file is damaged, binary or UTF-16; save it as text in UTF-8, or fetch it again"


def read_bytes_lines(path: Path, log: FileLog) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line with its end) of a file, plain or compressed; a leading BOM is dropped.

    Lines that are not UTF-8 or hold a NUL byte are faults and left out. Only a line feed ends a line: U+2028
    and its like are text.
    """
    offset = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(_UTF16):
                    log.add(1, f"starts with the mark of {_wide(line)}, byte 0x{line[0]:02x}: {_CURE}")
                    return
                start, offset = offset, offset + len(line)
                kept = line.removeprefix(_BOM) if number == 1 else line
                if _is_text(kept, number, start + len(line) - len(kept), log):
                    yield number, kept
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        log.add(None, f"cannot be read ({error}): check that the file is whole and that you may read it")


def read_lines(path: Path, log: FileLog) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) as text; see `read_bytes_lines`."""
    for number, line in read_bytes_lines(path, log):
        yield number, line.decode("utf-8")


def _open(path: Path) -> IO[bytes]:
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(path, "rb"))
        case ".zst":
            return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
        case _:
            return path.open("rb")


def _wide(line: bytes) -> str:
    return "UTF-32" if line.startswith(b"\xff\xfe\0\0") else "UTF-16"


def _is_text(line: bytes, number: int, start: int, log: FileLog) -> bool:
    if b"\0" in line:
        at = start + line.index(b"\0")
        log.add(number, f"holds a NUL byte at byte offset {at}: {_BINARY}")
        return False
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"0x{line[error.start]:02x} at byte offset {start + error.start}"
        log.add(number, f"is not UTF-8: byte {byte}: {_CURE}")
        return False
    return True
