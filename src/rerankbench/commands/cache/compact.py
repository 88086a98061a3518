"""Many small shards of one identity merged into one, so that they are read at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from rerankbench.commands.cache.entries import entries_of
from rerankbench.engine.store.rows import (
    Keys,
    RowStore,
    Shard,
    append_lock,
    read_shard,
    shard_names,
    write_atomic,
)

Columns = tuple[int, ...]


def compact(cache_dir: Path) -> list[tuple[Path, int, int]]:
    """Compact every folder of scores: (folder, shards before, shards after) where that changed anything."""
    found = []
    for entry in entries_of("scores", cache_dir / "scores"):
        before, after = compact_folder(entry.paths[0])
        if after < before:
            found.append((entry.paths[0], before, after))
    return found


def compact_folder(folder: Path) -> tuple[int, int]:
    """Merge the shards in `folder`; returns how many there were and how many there are.

    Safe at any moment of a kill: the merged shard holds what a lookup returns, under number 0, before the
    old ones go. Safe beside readers, which list again when a listed shard is gone, and beside writers, which
    wait for the same lock. Shards of other layers stay apart.
    """
    with append_lock(folder):
        old = [folder / name for name in shard_names(folder)]
        groups = keys_by_columns(old)
        if len(groups) == len(old):
            return len(old), len(old)
        merged = [merge(folder, columns, keys) for columns, keys in groups.items()]
        if not all(read_shard(path) for path in merged):
            raise OSError(f"{folder}: a merged shard cannot be read back; the old ones are kept")
        for path in set(old) - set(merged):
            path.unlink(missing_ok=True)
    return len(old), len(merged)


def keys_by_columns(shards: list[Path]) -> dict[Columns, list[Keys]]:
    """The keys of all whole shards, by the layers they hold."""
    groups: dict[Columns, list[Keys]] = {}
    for path in shards:
        if shard := read_shard(path):
            groups.setdefault(tuple(int(column) for column in shard.columns), []).append(shard.keys)
    return groups


def merge(folder: Path, columns: Columns, keys: list[Keys]) -> Path:
    """Write what a lookup of these keys returns as shard 0, before all others; returns its path."""
    distinct = np.unique(np.concatenate(keys))
    values, found = RowStore(folder, {}).lookup(distinct, columns)
    if not found.all():
        raise OSError(f"{folder}: a shard was damaged while it was read; run the command again")
    data = Shard(np.array(columns, np.int32), distinct, values).to_bytes()
    path = folder / f"{0:08d}-{hashlib.sha256(data).hexdigest()}.shard"
    write_atomic(path, data)
    return path
