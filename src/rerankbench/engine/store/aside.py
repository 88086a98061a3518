"""Setting aside what stands in the store's way: damaged files, and what is no file at all.

It is renamed, never followed or opened: a link is renamed itself, and a folder with all that is in it.
"""

from __future__ import annotations

import logging
import stat
import uuid
from pathlib import Path

from rerankbench.basics.regular_file import KINDS

log = logging.getLogger("rerankbench.engine.store.rows")

_told: set[Path] = set()  # what could not be renamed, so that it is told once


def set_aside(path: Path, error: Exception) -> None:
    """Keep a damaged file out of every later reading, but on the disk for people to look at."""
    target = path.with_suffix(".damaged")
    if target.is_dir() or path.is_dir():  # a rename would not take its place
        target = path.with_suffix(f".{uuid.uuid4().hex}.damaged")
    try:
        path.replace(target)
    except FileNotFoundError:  # another process was quicker
        pass
    except OSError:  # of a disk that is read-only
        if path in _told:
            return
        _told.add(path)
    log.warning("set aside a damaged store file, its part is computed again: %s (%s)", path, error)


def make_way(path: Path) -> None:
    """Set aside what is neither a file nor nothing, so that a file can be put there."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return
    if kind != stat.S_IFREG:
        set_aside(path, ValueError(f"it is {KINDS.get(kind, 'something else')}, not a file"))
