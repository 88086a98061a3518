"""Some pairs as the token sequences that a model scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Ints
from rerankbench.engine.tokens import Tokens, sizes
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.scoring.sequences import pieces


@dataclass(frozen=True)
class PairWindow:
    """Some pairs as token sequences. `owner` [sequences] names the pair of each sequence, ascending."""

    model: PairModel
    queries: list[Tokens]
    documents: list[Tokens]
    owner: Ints
    lengths: Ints

    @classmethod
    def of(
        cls,
        model: PairModel,
        queries: Sequence[Tokens],
        documents: Sequence[Tokens],
        parts: NDArray[np.int32] | None = None,
    ) -> PairWindow:
        """One sequence a pair, or several where long documents are scored in overlapping windows.

        parts: which of its document's windows each pair stands for; None: all of them.
        """
        owner, kept = np.arange(len(queries)), list(documents)
        if model.settings.long_documents == "max_passage":
            cuts = [pieces(model, d, model.room(len(q))) for q, d in zip(queries, documents, strict=True)]
            if parts is not None:
                cuts = [[found[part]] for found, part in zip(cuts, parts.tolist(), strict=True)]
            owner, kept = np.repeat(owner, sizes(cuts)), [piece for found in cuts for piece in found]
        asked = [queries[i] for i in owner.tolist()]
        return cls(model, asked, kept, owner, model.lengths(sizes(asked), sizes(kept)))

    def collate(self, index: Ints) -> dict[str, Ints]:
        return self.model.collate([self.queries[i] for i in index], [self.documents[i] for i in index])

    def distinct(self) -> tuple[PairWindow, Ints]:
        """Each different sequence once, in order, and which of them each sequence is."""
        number: dict[bytes, int] = {}
        of = np.empty(len(self.owner), np.int64)
        first: list[int] = []
        for place, (query, document) in enumerate(zip(self.queries, self.documents, strict=True)):
            room = self.model.room(len(query))
            seen = b"%d %b%b" % (len(query), query.tobytes(), document[:room].tobytes())
            of[place] = number.setdefault(seen, len(number))
            if len(number) > len(first):
                first.append(place)
        return self.take(first), of

    def take(self, places: Sequence[int]) -> PairWindow:
        """Some of the sequences."""
        return PairWindow(
            self.model,
            [self.queries[place] for place in places],
            [self.documents[place] for place in places],
            self.owner[places],
            self.lengths[places],
        )
