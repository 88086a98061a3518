"""The vectors of texts, one matrix a text: found by its tokens wherever they are stored, else embedded.

Blocks of vectors say beside them which token sequence each row belongs to (`tokens_name`). So whoever asks
for a text finds it in every block that was ever embedded with the same settings: the corpus of a dense first
stage, or the candidates of an earlier run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Digests, Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding, Texts
from rerankbench.engine.embedders.vectors import TOKENS
from rerankbench.engine.store.rows import read_array
from rerankbench.engine.tokens import token_digests

Matrix = Floats  # [vectors, dimensions] of one text

TEXTS = 4096  # that are tokenized together


@dataclass
class Places:
    """Where the vectors of some token sequences are: in the block `names[block]`, `count` rows from `first`.

    All [sequences]; `block` is -1 for what is stored nowhere.
    """

    folder: Path
    names: list[str]
    block: Ints
    first: Ints
    count: Ints
    opened: dict[int, Matrix] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, digests: Digests, several: bool) -> Places:
        """Look for token sequences, by their digests S16 [sequences], each of them different.

        several: whether all rows of a sequence belong together; else each of them is the vector of it.
        """
        block, first, count = (np.full(len(digests), -1, np.int64) for _ in range(3))
        found = cls(folder, block_names(folder), block, first, count)
        order = np.argsort(digests)
        for number, name in enumerate(found.names):
            stored = read_array(folder, f"{name}{TOKENS}") if (found.block < 0).any() else None
            if stored is not None:
                found.take(number, stored, digests, order, several)
        return found

    def take(self, number: int, stored: Digests, digests: Digests, order: Ints, several: bool) -> None:
        """Note what is in a block and was not found before; `stored` are its digests, `order` sorts ours."""
        place = np.minimum(np.searchsorted(halves(digests[order]), halves(stored)), len(order) - 1)
        rows = np.flatnonzero(digests[order[place]] == stored)
        wanted = order[place[rows]]
        fresh = self.block[wanted] < 0
        rows, wanted = rows[fresh], wanted[fresh]
        known, start, count = np.unique(wanted, return_index=True, return_counts=True)
        if not len(known) or self.open(number) is None:
            return
        self.block[known], self.first[known] = number, rows[start]
        self.count[known] = count if several else 1

    def open(self, number: int) -> Matrix | None:
        """A block, memory-mapped; None where it is not whole."""
        if number not in self.opened:
            block = read_array(self.folder, self.names[number])
            if block is None:
                return None
            self.opened[number] = block
        return self.opened[number]

    def matrix(self, sequence: int) -> Matrix:
        """The vectors of one sequence that is stored."""
        first = self.first[sequence]
        return self.opened[int(self.block[sequence])][first : first + self.count[sequence]]


def halves(digests: Digests) -> NDArray[np.uint64]:
    """The first half of each digest as a number that sorts as the digests do: it compares faster."""
    return np.frombuffer(np.ascontiguousarray(digests), ">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def block_names(folder: Path) -> list[str]:
    """The blocks of a folder whose token sequences are known, in an order that does not change."""
    end = f"{TOKENS}-"
    return sorted(file.name.partition(end)[0] for file in folder.glob(f"*{TOKENS}-*.npy"))


@dataclass
class TextVectors:
    """Texts of one kind, queries or documents, as `settings` say, with an embedder at work."""

    embedding: Embedding
    settings: Embedder
    title: str

    def digests(self, texts: Texts, rows: Ints) -> Digests:
        """The digest of the tokens of each text, S16 [rows]."""
        reader, found = self.embedding.reader, [np.empty(0, "S16")]
        for start in range(0, len(rows), TEXTS):
            some = texts(rows[start : start + TEXTS])
            found.append(token_digests(reader.tokenize(some, self.settings)))
        return np.concatenate(found)

    def places(self, digests: Digests) -> Places:
        """Where the vectors of different token sequences are stored."""
        folder = self.embedding.folder(self.settings)
        return Places.of(folder, digests, self.embedding.several)

    def stored(self, texts: Texts, rows: Ints, digests: Digests) -> Places:
        """Where the vectors of texts with these different digests are, once those that lacked are embedded.

        Raises UserError where they are gone again.
        """
        found = self.places(digests)
        lacking = rows[found.block < 0]
        if not len(lacking):
            return found
        self.embedding.embed(self.settings, lambda some: texts(lacking[some]), len(lacking), self.title)
        found = self.places(digests)
        if (found.block < 0).any():
            raise UserError(
                f"{found.folder}: vectors are gone, as if files were removed or damaged while they "
                "were computed; the same command computes them again"
            )
        return found

    def fresh(self, texts: Sequence[str]) -> list[Matrix]:
        """The vectors of each text, computed now, and each token sequence once; nothing is stored."""
        tokens = self.embedding.model.tokenize(texts, self.settings)
        digests = token_digests(tokens)
        _, first, number = np.unique(digests, return_index=True, return_inverse=True)
        found = self.embedding.computed(self.settings, [tokens[place] for place in first.tolist()])
        return [found[place] for place in number.tolist()]
