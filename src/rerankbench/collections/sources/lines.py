"""Lines of a text file, strictly UTF-8, with the byte offset of what is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from rerankbench.collections.sources.file_log import FileLog

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# What starts other files than texts, whatever they are called, and what to do with them.
_BINARIES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: export it as CSV in UTF-8",
    b"\x1f\x8b\x08": "compressed by gzip: add .gz to its name",
    b"BZh91AY&SY": "compressed by bzip2: add .bz2 to its name",
    b"\xfd7zXZ\0": "compressed by xz: add .xz to its name",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: add .zst to its name",
    b'\x04"M\x18': "compressed by lz4, which is not read: decompress it",
    b"PAR1\x15": "a parquet file: give its name the ending .parquet",
    b"ARROW1\0": "an Arrow file, which is not read: write it as parquet",
    b"%PDF-": "a PDF, which is not read: give its text",
    b"SQLite format 3\0": "a database, which is not read: export it as CSV in UTF-8",
}
_CURE = "save the file as UTF-8"
_BINARY = "the file is damaged, binary or UTF-16; save it as text in UTF-8, or fetch it again"


def suffix(path: Path) -> str:
    """The extension that tells the format, that of compression left aside, in lower case."""
    return Path(path.stem if path.suffix in COMPRESSED else path.name).suffix.lower()


def read_bytes_lines(path: Path, log: FileLog) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line with its end) of a file, plain or compressed; a leading BOM is dropped.

    Lines that are not UTF-8 or hold a NUL byte are faults and left out. Only a line feed ends a line: U+2028
    and its like are text.
    """
    offset = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and (kind := binary_kind(line)):
                    log.add(None, f"is {kind}")
                    return
                if number == 1 and line.startswith(_UTF16):
                    kind = "UTF-32" if line.startswith(b"\xff\xfe\0\0") else "UTF-16"
                    log.add(1, f"starts with the mark of {kind}, byte 0x{line[0]:02x}: {_CURE}")
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
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast(IO[bytes], openers.get(path.suffix, open)(path, "rb"))


def binary_kind(line: bytes) -> str:
    """What a file is that starts so, and what to do with it; empty for a text."""
    return next((kind for start, kind in _BINARIES.items() if line.startswith(start)), "")


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
