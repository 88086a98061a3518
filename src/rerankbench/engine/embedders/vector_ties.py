"""One vector for each token sequence of a corpus, to the last bit, whichever blocks its copies are in.

Blocks are computed each by itself, by whoever is free, so that a sequence which several of them hold has
vectors that differ in their last bits. Its first block decides, and the others take its vector over.

A product of matrices, in turn, does not give equal columns equal products to the last bit. So a search
compares each different vector once, and `Copies` put the others back beside it.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Digests, Floats, Ints

Block = Floats


def differing(blocks: Sequence[Block], digests: Digests) -> dict[int, Block]:
    """The blocks, by number, that hold another vector than the first one of the same sequence, mended.

    digests: of the tokens of every row, S16 [rows].
    """
    ends = np.cumsum([len(block) for block in blocks])
    source = first_rows(digests)
    copies = np.flatnonzero(source != np.arange(len(source)))
    copy_in, source_in = (np.searchsorted(ends, rows, "right") for rows in (copies, source[copies]))
    copies = copies[copy_in != source_in]  # within a block they are one already
    copy_in = copy_in[copy_in != source_in]
    mended: dict[int, Block] = {}
    for number in np.unique(copy_in).tolist():
        rows = copies[copy_in == number]
        wanted, places = vectors_at(blocks, ends, source[rows]), rows - (ends[number] - len(blocks[number]))
        if not np.array_equal(blocks[number][places], wanted):
            mended[number] = np.array(blocks[number])
            mended[number][places] = wanted
    return mended


def first_rows(digests: Digests) -> Ints:
    """For each row the first one with the same digest. Compared by half of it first: numbers sort faster."""
    half = np.frombuffer(np.ascontiguousarray(digests), "<u8").reshape(-1, 2)[:, 0]
    _, first, number = np.unique(half, return_index=True, return_inverse=True)
    found = first[number]
    return np.where(digests[found] == digests, found, np.arange(len(digests)))


def vectors_at(blocks: Sequence[Block], ends: Ints, rows: Ints) -> Block:
    """The vectors of some rows, gathered from their blocks."""
    found = np.empty((len(rows), blocks[0].shape[1]), np.float32)
    number = np.searchsorted(ends, rows, "right")
    for block in np.unique(number).tolist():
        here = number == block
        found[here] = blocks[block][rows[here] - (ends[block] - len(blocks[block]))]
    return found


@dataclass(frozen=True)
class Copies:
    """Which rows have the vector of an earlier one: `first` [rows] is the first row with the same."""

    first: Ints

    @classmethod
    def among(cls, blocks: Sequence[Block]) -> Copies:
        """Found by the vectors' first numbers; only where those are the same, by all of them."""
        heads = []
        for block in blocks:
            head = np.zeros((len(block), 2), np.float32)
            head[:, : block.shape[1]] = block[:, :2]
            heads.append(head.view("<u8")[:, 0])
            release(block)
        together = np.concatenate(heads)
        _, number, counts = np.unique(together, return_inverse=True, return_counts=True)
        several = np.flatnonzero(counts[number] > 1)
        first = np.arange(len(together))
        if len(several):
            first[several] = several[first_rows(vector_digests(blocks, several))]
        return cls(first)

    @cached_property
    def rows(self) -> Ints:
        """The rows that are no copies, ascending."""
        return np.flatnonzero(self.first == np.arange(len(self.first)))

    def put_back(self, rows: Ints, scores: Floats, depth: int) -> tuple[Ints, Floats]:
        """Ranked rows with their scores [queries, n] and, in order of rows, their copies: [queries, depth].

        -1 and -inf behind the end.
        """
        listed = np.full((len(rows), depth), -1, np.int64)
        values = np.full((len(rows), depth), -np.inf, np.float32)
        for query, (found, products) in enumerate(zip(rows, scores, strict=True)):
            found, products = found[found >= 0], products[found >= 0]
            if len(self.rows) < len(self.first):
                found, products = self.beside(found, products)
            some = min(depth, len(found))
            listed[query, :some], values[query, :some] = found[:some], products[:some]
        return listed, values

    def beside(self, found: Ints, products: Floats) -> tuple[Ints, Floats]:
        """One query's rows with all of their copies, in order of scores and rows."""
        order, starts, counts = self.groups
        each = counts[found]
        places = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        rows, values = order[np.repeat(starts[found], each) + places], np.repeat(products, each)
        ranked = np.lexsort((rows, -values))
        return rows[ranked], values[ranked]

    @cached_property
    def groups(self) -> tuple[Ints, Ints, Ints]:
        """All rows by their first ones, and for each first row where its group starts and how many it has."""
        order, every = np.argsort(self.first, kind="stable"), np.arange(len(self.first))
        starts, ends = (np.searchsorted(self.first[order], every, side) for side in ("left", "right"))
        return order, starts, ends - starts


def vector_digests(blocks: Sequence[Block], rows: Ints) -> Digests:
    """16-byte BLAKE2b digest of some rows, ascending."""
    ends = np.cumsum([len(block) for block in blocks])
    digests: list[bytes] = []
    for block, end in zip(blocks, ends.tolist(), strict=True):
        low, high = np.searchsorted(rows, [end - len(block), end])
        for row in (rows[low:high] - (end - len(block))).tolist():
            digests.append(hashlib.blake2b(np.array(block[row]).tobytes(), digest_size=16).digest())
        release(block)
    return np.array(digests, "S16")


def release(block: NDArray[Any]) -> None:
    """Let go of a block's mapped pages, which would count as this process's memory; they stay cached."""
    mapping = getattr(block, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
