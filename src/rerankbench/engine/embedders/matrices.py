"""Embedders that give a text several vectors, and how their blocks are computed and stored.

A block holds the vectors of its texts one below the other, each token sequence once; beside it, as for other
blocks, lies the digest of the sequence that each row belongs to.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.progress import Progress
from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
from rerankbench.engine.embedders.embedding import Embedding, Texts
from rerankbench.engine.embedders.vectors import SMALL_BLOCK, tokens_name, whole
from rerankbench.engine.store.rows import NotFinite, RowStore, write_array
from rerankbench.engine.tokens import Tokens, sizes, token_digests

if TYPE_CHECKING:
    from torch import Tensor

VECTORS = 65_536  # about as many in a block: 34 MB at 128 dimensions, 270 MB at 1024


class MatrixModel(EmbedderModel):
    """A loaded embedder whose `forward` gives [n, width, dimensions]: a vector for each token."""

    def matrix(self, values: Floats, text: Tokens, settings: Embedder) -> Floats:
        return values[: len(text)].copy()

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Vectors float32 [n, width, dimensions] of padded `input_ids` with their `attention_mask`."""


@dataclass
class MatrixEmbedding(Embedding):
    """One embedder with several vectors a text at work."""

    several: ClassVar[bool] = True

    def cuts(self, settings: Embedder, texts: Texts, rows: int) -> list[Ints]:
        """Blocks of about `VECTORS` vectors."""
        everything, lengths = np.arange(rows), [np.empty(0, np.int64)]
        for start in range(0, rows, SMALL_BLOCK):
            some = texts(everything[start : start + SMALL_BLOCK])
            lengths.append(sizes(self.reader.tokenize(some, settings)))
        ends = np.cumsum(np.concatenate(lengths))
        return [part for part in np.split(everything, places_of_cuts(ends)) if len(part)]

    def tied(self, settings: Embedder, texts: Texts, rows: int, blocks: list[Floats]) -> list[Floats]:
        """The blocks as they are: who asks for a sequence is given the first that is found."""
        return blocks

    def compute(
        self, settings: Embedder, store: RowStore, texts: Sequence[str], progress: Progress
    ) -> Floats:
        """Embed each token sequence of a block once, and write the block."""
        folder, name = store.folder.parent, store.folder.stem
        tokens = self.model.tokenize(texts, settings)
        digests = token_digests(tokens)
        first = np.sort(np.unique(digests, return_index=True)[1])
        found = self.computed(settings, [tokens[place] for place in first.tolist()])
        block = np.concatenate(found)
        if not np.isfinite(block).all():
            raise NotFinite(
                "the model's values are not finite (NaN or infinite), so none of them is kept; "
                "try precision=fp32, or another copy of the model"
            )
        write_array(folder, tokens_name(name), np.repeat(digests[first], [len(one) for one in found]))
        write_array(folder, name, block)
        progress.advance(len(texts))
        return whole(folder, name)


def places_of_cuts(ends: Ints) -> list[int]:
    """Where texts that end at `ends` [texts] are cut into blocks: each is of one text, or not too large."""
    cuts, start = [], 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + VECTORS, "right"))
        start = min(max(stop, start + 1), start + SMALL_BLOCK)
        cuts.append(start)
    return cuts
