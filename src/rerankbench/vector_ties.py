"""One vector for each token sequence of a corpus, to the last bit, whichever blocks its copies are in.

Blocks are computed each by itself, by whoever is free, so that a sequence which several of them hold has
vectors that differ in their last bits. Its first block decides, and the others take its vector over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]


def differing(blocks: Sequence[Block], digests: NDArray[np.bytes_]) -> dict[int, Block]:
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


def first_rows(digests: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """For each row the first one with the same digest. Compared by half of it first: numbers sort faster."""
    half = np.frombuffer(np.ascontiguousarray(digests), "<u8").reshape(-1, 2)[:, 0]
    _, first, number = np.unique(half, return_index=True, return_inverse=True)
    found = first[number]
    return np.where(digests[found] == digests, found, np.arange(len(digests)))


def vectors_at(blocks: Sequence[Block], ends: NDArray[np.int64], rows: NDArray[np.int64]) -> Block:
    """The vectors of some rows, gathered from their blocks."""
    found = np.empty((len(rows), blocks[0].shape[1]), np.float32)
    number = np.searchsorted(ends, rows, "right")
    for block in np.unique(number).tolist():
        here = number == block
        found[here] = blocks[block][rows[here] - (ends[block] - len(blocks[block]))]
    return found
