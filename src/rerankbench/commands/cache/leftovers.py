"""What stopped processes left behind: temporary files, unfinished parts, damaged files, free locks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from rerankbench.commands.cache import entries
from rerankbench.commands.cache.entries import KINDS, LOCKS, Entry, children, files_below, held
from rerankbench.engine.store import lock
from rerankbench.engine.store.lock import ABANDONED_SECONDS

_TEMPORARY = re.compile(r".*\.(tmp|partial)|again-[0-9a-f]{32}|.*\.owner\.(break|restore)\..*")


def leftovers(cache_dir: Path) -> list[Entry]:
    """Everything that no process will use again, in the folders that rerankbench makes."""
    found = []
    for path in (path for kind in KINDS for path in abandoned(kind, cache_dir / kind)):
        entry = entries.entry_of("leftovers", path.name, path.suffix.lstrip(".") or "temporary", [path])
        found.append(replace(entry, modified=newest(path)))
    return found


def abandoned(kind: str, folder: Path) -> Iterator[Path]:
    """Leftovers in a kind's folder and in the folders of its entries."""
    for path in children(folder):
        if is_leftover(path):
            yield path
        elif path.is_dir() and kind != "datasets" and entries.identity_of(kind, path):
            yield from (child for child in children(path) if is_leftover(child))


def is_leftover(path: Path) -> bool:
    """Damaged files always; locks and parts that nobody holds; temporary names after a day."""
    if path.suffix == ".damaged":
        return True
    if path.suffix in LOCKS:
        return not held(path) and path.exists()
    if path.suffix == ".part":  # begun embeddings: the lock beside them is held while somebody goes on
        return not any(held(path.with_suffix(suffix)) for suffix in LOCKS)
    return bool(_TEMPORARY.fullmatch(path.name)) and time.time() - newest(path) > ABANDONED_SECONDS


def newest(path: Path) -> float:
    """When a file, or anything in a folder, was last written."""
    return max((file.lstat().st_mtime for file in [path, *files_below(path)] if file.exists()), default=0.0)


def remove_lock(file: Path) -> None:
    """Remove a lock file while holding it, so that nobody else believes to hold it then."""
    if file.suffix == lock.SUFFIX:
        if not lock.held(file):
            file.unlink(missing_ok=True)
        return
    if not file.is_file():  # FileLock would make it, and its folder
        return
    try:
        with FileLock(file, timeout=0):
            file.unlink(missing_ok=True)
    except Timeout:  # taken since it was listed
        return
