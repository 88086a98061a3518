"""Opening files that strangers may have put there: regular files only, and none larger than it may be.

A pipe under a file's name would be waited for without end, a device read without end, a link would lead to
another file. All of them are refused before a byte is read.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegular(OSError):
    """Something else than a file stands under a file's name."""


class TooLarge(OSError):
    """A file is larger than anything that belongs under its name."""


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """Open a regular file for reading bytes; never waits, and follows no link in the last part of `path`.

    Where people may well use links, give `path.resolve()`. `most`: the largest size in bytes.

    Raises NotRegular, TooLarge, and what opening raises (FileNotFoundError, PermissionError).
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise not_regular(path, os.lstat(path).st_mode) from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise not_regular(path, found.st_mode)
        if most is not None and found.st_size > most:
            raise too_large(path, found.st_size, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most: int | None = None) -> bytes:
    """All bytes of a regular file; raises as `open_regular` does, also for a file that grows meanwhile."""
    with open_regular(path, most) as file:
        if most is None:
            return file.read()
        data = file.read(most + 1)
    if len(data) > most:
        raise too_large(path, len(data), most)
    return data


def not_regular(path: Path, mode: int) -> NotRegular:
    kind = KINDS.get(stat.S_IFMT(mode), "something else")
    return NotRegular(errno.EINVAL, f"it is {kind}, not a file", str(path))


def too_large(path: Path, size: int, most: int) -> TooLarge:
    return TooLarge(errno.EINVAL, f"it has {size:,} bytes, at most {most:,} are allowed", str(path))
