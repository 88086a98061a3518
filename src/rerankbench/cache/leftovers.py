"""What stopped processes left behind: temporary files, unfinished parts, damaged files, free locks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rerankbench.cache.entries import KINDS, Entry, children, files_below, held, identity_of

ABANDONED_SECONDS = 24 * 3600.0  # longer than anything takes that writes under a temporary name
_TEMPORARY = re.compile(r".*\.(tmp|partial)|again-[0-9a-f]{32}")


def leftovers(cache_dir: Path) -> list[Entry]:
    """Everything that no process will use again, in the folders that rerankbench makes."""
    return [entry_of(path) for kind in KINDS for path in abandoned(kind, cache_dir / kind)]


def abandoned(kind: str, folder: Path) -> Iterator[Path]:
    """Leftovers in a kind's folder and in the folders of its entries."""
    for path in children(folder):
        if is_leftover(path):
            yield path
        elif path.is_dir() and kind != "datasets" and identity_of(kind, path):
            yield from (child for child in children(path) if is_leftover(child))


def is_leftover(path: Path) -> bool:
    """Damaged files always; locks and parts that nobody holds; temporary names after a day."""
    if path.suffix == ".damaged":
        return True
    if path.suffix == ".lock":
        return not held(path)
    if path.suffix == ".part":  # begun embeddings: the lock beside them is held while somebody goes on
        return not held(path.with_suffix(".lock"))
    return bool(_TEMPORARY.fullmatch(path.name)) and time.time() - newest(path) > ABANDONED_SECONDS


def newest(path: Path) -> float:
    """When a file, or anything in a folder, was last written."""
    return max((file.lstat().st_mtime for file in [path, *files_below(path)] if file.exists()), default=0.0)


def entry_of(path: Path) -> Entry:
    files = files_below(path)
    size = sum(file.lstat().st_size for file in files if file.exists())
    return Entry(
        "leftovers",
        path.name,
        path.suffix.lstrip(".") or "temporary",
        (path,),
        len(files),
        size,
        newest(path),
    )


def remove_lock(lock: Path) -> None:
    """Remove a lock file while holding it, so that nobody else believes to hold it then."""
    if not lock.is_file():  # FileLock would make it, and its folder
        return
    try:
        with FileLock(lock, timeout=0):
            lock.unlink(missing_ok=True)
    except Timeout:  # taken since it was listed
        return
