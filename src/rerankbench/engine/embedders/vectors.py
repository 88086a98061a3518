"""Vectors on disk: blocks of rows, each in a file that is named by its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.vector_ties import Copies
from rerankbench.engine.store.rows import Keys, identity, read_array

BLOCK = 8192  # texts whose vectors share a file, the unit that executors share out: 13 MB at 384 dimensions
SMALL_BLOCK = 2048  # of corpora up to SMALL_CORPUS texts, so that a few thousand are work for several workers
SMALL_CORPUS = 65_536  # no more files than a larger corpus has


@dataclass(frozen=True)
class Vectors:
    """Vectors float32 [rows, dimensions] as memory-mapped blocks in row order."""

    blocks: tuple[Floats, ...]

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    @property
    def dimensions(self) -> int:
        return self.blocks[0].shape[1]

    @property
    def identity(self) -> str | None:
        """What their files' names, which are hashes of content, determine; None for vectors without files."""
        files = [getattr(block, "filename", None) for block in self.blocks]
        return None if None in files else identity({"blocks": [Path(str(file)).name for file in files]})

    @cached_property
    def copies(self) -> Copies:
        """Which rows have the vector of an earlier one."""
        return Copies.among(self.blocks)

    def array(self) -> Floats:
        """All of them in memory; meant for queries."""
        return np.concatenate(self.blocks)


def block_name(keys: Keys) -> str:
    """A block is named by its texts, in order."""
    return hashlib.sha256(keys.tobytes()).hexdigest()


def stretches(rows: int) -> Iterator[Ints]:
    """The row numbers of each block."""
    size = BLOCK if rows > SMALL_CORPUS else min(BLOCK, SMALL_BLOCK)
    return (np.arange(start, min(start + size, rows)) for start in range(0, rows, size))


TOKENS = ".tokens"


def tokens_name(name: str) -> str:
    """The name of what tells the token sequences of a block apart."""
    return f"{name}{TOKENS}"


def whole(folder: Path, name: str) -> Floats:
    """A block that was written a moment ago. Raises UserError where it is gone."""
    block = read_array(folder, name)
    if block is None:
        raise UserError(
            f"{folder}: vectors are gone, as if files were removed or damaged while they "
            "were computed; the same command computes them again"
        )
    return block


def finished(folder: Path, name: str) -> bool:
    return any(folder.glob(f"{name}-*.npy"))
