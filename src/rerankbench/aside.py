"""Setting aside what stands in the store's way: damaged files, and what is no file at all.

It is renamed, never followed or opened: a link is renamed itself, and a folder with all that is in it.
"""

from __future__ import annotations

import json
import logging
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankbench.regular_file import KINDS, read_regular

log = logging.getLogger("rerankbench.store")

NOTE_BYTES = 1 << 20

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
    log.warning("set aside a damaged store file, its part is computed again: %s (%s)", readable(path), error)


def readable(path: Path) -> str:
    """A name that obeys no terminal."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def make_way(path: Path) -> None:
    """Set aside what is neither a file nor nothing, so that a file can be put there."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return
    if kind != stat.S_IFREG:
        set_aside(path, ValueError(f"it is {KINDS.get(kind, 'something else')}, not a file"))


def read_note(path: Path, most: int = NOTE_BYTES) -> dict[str, Any]:
    """The JSON object that a file beside something stored holds; empty where there is none to be read."""
    try:
        found = json.loads(read_regular(path, most))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def numbers(note: Mapping[str, Any]) -> dict[str, float]:
    """Those values of a note that are numbers."""
    return {name: float(one) for name, one in note.items() if type(one) in (int, float) and abs(one) < 1e300}
