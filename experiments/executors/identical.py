"""Are the scores and vectors of two stores the same to the last bit?

    python experiments/executors/identical.py CACHE_DIR OTHER_CACHE_DIR

Prints what was compared for each identity that both stores hold; exit code 1 where anything differs or there
is nothing in common.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rerankbench.engine.store.rows import RowStore, read_array, read_shard


def scores(folder: Path, other: Path) -> tuple[int, int]:
    """Pairs compared, and how many differ or are in one store only."""
    shards = [shard for path in folder.glob("*.shard") if (shard := read_shard(path))]
    keys, columns = np.unique(np.concatenate([shard.keys for shard in shards])), shards[0].columns
    (here, _), (there, found) = (RowStore(place, {}).lookup(keys, columns) for place in (folder, other))
    return len(keys), int((~found | (here != there).any(axis=1)).sum())


def vectors(folder: Path, other: Path) -> tuple[int, int]:
    """Vectors compared, and how many differ or are in one store only."""
    total = differing = 0
    for name in {path.name.partition("-")[0] for path in folder.glob("*-*.npy")}:
        here, there = read_array(folder, name), read_array(other, name)
        assert here is not None
        total += len(here)
        differing += len(here) if there is None else int((here != there).any(axis=1).sum())
    return total, differing


def main(first: str, second: str) -> int:
    wrong, compared = 0, 0
    for kind, compare in (("scores", scores), ("vectors", vectors)):
        for folder in sorted((Path(first) / kind).glob("*")):
            if (other := Path(second) / kind / folder.name).is_dir():
                total, differing = compare(folder, other)
                print(f"{kind} {folder.name[:12]}: {total:,} compared, {differing:,} differ")
                wrong, compared = wrong + differing, compared + total
    return 0 if compared and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
