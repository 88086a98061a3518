"""Lines of a text file, strictly UTF-8, with the byte offset of what is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from rerankbench.basics.regular_file import open_regular
from rerankbench.collections.reading.file_log import FileLog

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_ALSO_CALLED = (".gzip", ".bzip2", ".lzma", ".zstd")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# What starts compressed files, and the ending that says so.
_COMPRESSIONS = {
    b"\x1f\x8b\x08": ("gzip", ".gz"),
    b"BZh91AY&SY": ("bzip2", ".bz2"),
    b"\xfd7zXZ\0": ("xz", ".xz"),
    b"\x28\xb5\x2f\xfd": ("zstd", ".zst"),
}
# What starts other files than texts, whatever they are called, and what to do with them.
_BINARIES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: export it as CSV in UTF-8",
    b'\x04"M\x18': "compressed by lz4, which is not read: decompress it",
    b"PAR1\x15": "a parquet file: give its name the ending .parquet",
    b"ARROW1\0": "an Arrow file, which is not read: write it as parquet",
    b"%PDF-": "a PDF, which is not read: give its text",
    b"SQLite format 3\0": "a database, which is not read: export it as CSV in UTF-8",
}
_TAR = b"ustar"
_TAR_AT = 257  # bytes into the file
_CURE = "save the file as UTF-8"
_BINARY = "the file is damaged, binary or UTF-16; save it as text in UTF-8, or fetch it again"


def suffix(path: Path) -> str:
    """The extension that tells the format, that of compression left aside, in lower case."""
    return Path(path.stem if compression(path) else path.name).suffix.lower()


def compression(path: Path) -> str:
    """The extension that tells how a file is compressed, in lower case; empty for one that is not."""
    ending = path.suffix.lower()
    return ending if ending in COMPRESSED else ""


def read_bytes_lines(path: Path, log: FileLog) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line with its end) of a file, plain or compressed.

    Lines that are not UTF-8 or hold a NUL byte are faults and left out. Only a line feed ends a line (U+2028
    and its like are text), or a carriage return in a file without any. A byte order mark at the beginning of
    a line is dropped: behind the first line it comes from files that were joined.
    """
    offset = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(_ended(file), start=1):
                if number == 1 and (kind := binary_kind(line, path)):
                    log.add(None, f"is {kind}")
                    return
                if number == 1 and line.startswith(_UTF16):
                    kind = "UTF-32" if line.startswith(b"\xff\xfe\0\0") else "UTF-16"
                    log.add(1, f"starts with the mark of {kind}, byte 0x{line[0]:02x}: {_CURE}")
                    return
                start, offset = offset, offset + len(line)
                kept = line
                while kept.startswith(_BOM):
                    kept = kept.removeprefix(_BOM)
                if _is_text(kept, number, start + len(line) - len(kept), log):
                    yield number, kept
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        unreadable = f"cannot be read ({error}): check that the file is whole and that you may read it"
        log.add(None, _never_compressed(path) or unreadable)


def read_lines(path: Path, log: FileLog) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) as text; see `read_bytes_lines`."""
    for number, line in read_bytes_lines(path, log):
        yield number, line.decode("utf-8")


def _ended(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that old Macs wrote, those that end with carriage returns."""
    first = file.readline()
    if b"\n" in first or b"\r" not in first or b"\0" in first:
        yield from chain((first,) if first else (), file)
    else:
        yield from filter(None, re.split(rb"(?<=\r)", first))


def _open(path: Path) -> IO[bytes]:
    ending = compression(path)
    if ending == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast(IO[bytes], openers.get(ending, open)(path, "rb"))


def _never_compressed(path: Path) -> str:
    """What to say of a file whose name alone says that it is compressed; empty for all others."""
    marks = [mark for mark, (_, ending) in _COMPRESSIONS.items() if ending == compression(path)]
    with suppress(OSError), open_regular(path.resolve()) as file:
        start = file.read(len(max(_COMPRESSIONS, key=len)))
        if marks and not start.startswith(marks[0][:2]):
            kind = binary_kind(start, path)
            return f"is {kind}" if kind else f"is not compressed: take {path.suffix} off its name"
    return ""


def no_parquet(path: Path) -> str:
    """What a file is that is called parquet; empty if it may be one, or a text."""
    with suppress(OSError), open_regular(path.resolve()) as file:
        start = file.read(_TAR_AT + len(_TAR))
        return "" if start.startswith(b"PAR1") else binary_kind(start, path)
    return ""


def binary_kind(start: bytes, path: Path) -> str:
    """What a file is whose first line is `start`, and what to do with it; empty for a text."""
    if start[_TAR_AT:].startswith(_TAR):
        return "a tar archive: unpack it and give the file inside"
    for mark, (how, ending) in _COMPRESSIONS.items():
        if start.startswith(mark):
            return f"compressed by {how}{_decompressing(path, ending)}"
    return next((kind for mark, kind in _BINARIES.items() if start.startswith(mark)), "")


def _decompressing(path: Path, ending: str) -> str:
    """What to do with a file that turns out to be compressed."""
    if suffix(path) == ".parquet":
        return ": decompress it, parquet is compressed inside"
    if path.suffix.lower() == ".tgz":
        return ": unpack it and give the file inside"
    if compression(path) == ending:
        return " twice: decompress it once"
    if compression(path) or path.suffix.lower() in _ALSO_CALLED:
        return f": call it {path.with_suffix(ending).name}"
    return f": add {ending} to its name"


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
