"""What a disk refuses, in one line that says where and how to go on."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rerankbench.basics.errors import UserError

ROOM = 1 << 20  # bytes: a disk with less is taken for the one that is full
WRITING = {  # these come of writing alone, wherever the file is
    errno.ENOSPC: "the disk is full; make room there",
    errno.EDQUOT: "the disk quota is used up; make room there",
    errno.EFBIG: "files may not grow that large here; lift the limit with: ulimit -f unlimited",
    errno.EROFS: "the disk is read-only; make it writable",
}
OURS = {  # and these may be of people's own files, unless these are in folders that we write to
    errno.EACCES: "permission denied; change the folder's permissions",
    errno.EPERM: "permission denied; change the folder's permissions",
    errno.EIO: "the disk has a fault; see whether it is whole and mounted",
    errno.ESTALE: "the network disk lost this file; see whether it is mounted",
    errno.ENOENT: "gone, it seems to have been removed during the run; remove nothing while a run needs it",
    errno.ENOTDIR: "a part of this path is a file; remove it",
    errno.EEXIST: "there is something else under this name; remove it",
    errno.ENAMETOOLONG: "this name is too long for the disk; shorten it",
}


def explained(error: Exception, places: Mapping[str, Path]) -> Exception:
    """The user's view of an error, where the disk made it; any other error as it is.

    places: the folders that a run writes to, by the setting that moves them elsewhere.
    """
    for found in causes(error):
        file = file_of(found)
        settings = [name for name, place in places.items() if is_place_of(file, place, found.errno)]
        known = WRITING | OURS if file and settings else WRITING
        if found.errno in known:
            where = file or " or ".join(str(places[name]) for name in settings) or "a file"
            other = f", or choose another place with {' or '.join(settings)}=FOLDER" if settings else ""
            again = "then the same command continues: what was computed is kept"
            return UserError(f"{where}: {known[found.errno]}{other}; {again}")
    return error


def takes_folders(above: Path) -> bool:
    """Whether a folder can be made in this one; permissions alone do not tell, as /proc shows."""
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".rerankbench-", dir=above))
    except OSError as error:
        return error.errno in WRITING  # a full disk takes them again: the run says what to do about it
    return True


def file_of(error: OSError) -> str:
    """The absolute path of the file that an error is about; empty where nothing tells.

    A write that fails does not name its file: then it is the one that was open in the function that wrote.
    """
    if isinstance(error.filename, str):
        return os.path.abspath(error.filename)
    opened: list[object] = []
    trace = error.__traceback__
    while trace is not None:
        opened += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, io.IOBase)]
        trace = trace.tb_next
    names = [name for file in opened if isinstance(name := getattr(file, "name", None), str)]
    return os.path.abspath(names[-1]) if names and not names[-1].startswith("<") else ""


def is_place_of(file: str, place: Path, number: int | None) -> bool:
    """Whether a file is in a folder; for an unknown one, whether it may be what the folder's disk refused."""
    if file:
        return Path(file).is_relative_to(place)
    if number == errno.EFBIG:  # a limit of the process, whatever room there is
        return True
    try:
        return shutil.disk_usage(place).free < ROOM
    except OSError:
        return True


def causes(error: BaseException | None) -> Iterator[OSError]:
    """The errors of the system behind an error, itself first."""
    while error is not None:
        if isinstance(error, OSError):
            yield error
        error = error.__cause__ or error.__context__


def named(error: OSError, path: Path) -> OSError:
    """The error with the file that was written, which a write that fails does not say."""
    return error if error.filename or not error.errno else OSError(error.errno, error.strerror, str(path))


def told(error: RuntimeError, path: Path) -> Exception:
    """What a library, which tells the system's reason only in its text, could not write to `path`."""
    number = next((number for number in WRITING if os.strerror(number) in str(error)), None)
    return OSError(number, os.strerror(number), str(path)) if number else error
