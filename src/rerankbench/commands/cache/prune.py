"""Choosing what to remove, and removing it."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.commands.cache.entries import KINDS, LOCKS, Entry, entries
from rerankbench.commands.cache.leftovers import leftovers, remove_lock

_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([hdw])")


def seconds(age: str) -> float:
    """`30d`, `12h` or `2w` in seconds. Raises UserError for anything else."""
    match = _AGE.fullmatch(age)
    if match is None:
        raise UserError(f"--older-than {age}: give hours, days or weeks, for instance 12h, 30d or 2w")
    return float(match[1]) * _SECONDS[match[2]]


def refuse_unknown(kinds: Sequence[str]) -> None:
    """Raise UserError for kinds of entries that there are not."""
    if unknown := [kind for kind in kinds if kind not in (*KINDS, "leftovers")]:
        raise UserError(f"{', '.join(unknown)}: choose from {', '.join((*KINDS, 'leftovers'))}")


def chosen(
    cache_dir: Path, kinds: Sequence[str], older_than: float | None, identity: str | None
) -> list[Entry]:
    """What `prune` removes: entries of `kinds` that match both other conditions.

    kinds: of `entries.KINDS`, or `leftovers`; without any, all kinds, which then needs another condition.
    older_than: seconds since anything in the entry was written. identity: how its name begins.
    """
    refuse_unknown(kinds)
    if not kinds and older_than is None and not identity:
        raise UserError(
            "say what to prune: kinds (scores, vectors, leftovers, ...), --older-than or --identity"
        )
    found = entries(cache_dir)
    if "leftovers" in kinds:
        found += leftovers(cache_dir)
    wanted = [entry for entry in found if not kinds or entry.kind in kinds]
    latest = None if older_than is None else time.time() - older_than
    wanted = [entry for entry in wanted if latest is None or entry.modified < latest]
    return [entry for entry in wanted if entry.identity.startswith(identity or "")]


def remove(entry: Entry) -> bool:
    """Remove an entry; False where a process is working on it. Links in it are removed, never followed.

    Raises UserError for a folder that does not go.
    """
    if entry.kind != "leftovers" and entry.in_use():
        return False
    for path in entry.paths:
        if path.suffix in LOCKS and entry.kind == "leftovers":
            remove_lock(path)
        elif path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)
    return True


def remove_folder(path: Path) -> None:
    """Remove a folder. Raises UserError where it stays."""
    with suppress(RecursionError):  # folders nested deeper than Python's own stack
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise UserError(f"{path}: cannot be removed; remove it by hand: rm -r {shlex.quote(str(path))}")
