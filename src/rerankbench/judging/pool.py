"""The pairs that decide between arms: the documents on the first ranks of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.lists import Lists

Pair = tuple[str, str]


@dataclass(frozen=True)
class Pool:
    """Documents in the first `cutoff` ranks of any arm, and those that are judged besides.

    pairs: for each query its documents; weights: [arms, queries, documents] the discount at the document's
    rank, 0 beyond the cutoff; grades: [queries, documents], UNJUDGED where nobody has judged yet and behind
    the last document; wanted: [queries, documents] whether any arm ranks it within the cutoff. lines: the
    deepest arm of each reranker and layer, and the first stages.
    """

    cutoff: int
    query_ids: tuple[str, ...]
    pairs: tuple[tuple[str, ...], ...]
    weights: NDArray[np.float64]
    grades: NDArray[np.int32]
    wanted: NDArray[np.bool_]
    lines: tuple[int, ...]

    @property
    def open(self) -> NDArray[np.bool_]:
        """Which pairs nobody has judged yet."""
        return self.wanted & (self.grades == UNJUDGED)

    @property
    def judged(self) -> int:
        return int((self.grades != UNJUDGED).sum())

    def place(self, pair: Pair) -> tuple[int, int] | None:
        """Where a pair stands; None where it is in no list."""
        if pair[0] not in self.query_ids:
            return None
        query = self.query_ids.index(pair[0])
        known = self.pairs[query]
        return (query, known.index(pair[1])) if pair[1] in known else None


def pool(lists: Lists, cutoff: int, judged: Mapping[Pair, int]) -> Pool:
    """The pool of some lists, with what is judged."""
    arms, queries, ranks = lists.orders.shape
    top = lists.orders[:, :, : min(cutoff, ranks)]
    others: dict[str, list[str]] = {}
    for query_id, doc_id in judged:
        others.setdefault(query_id, []).append(doc_id)
    pairs, places = [], []
    for query, known in enumerate(lists.documents):
        shown = np.unique(top[:, query])
        ids = [known[i] for i in shown[shown >= 0]]
        inside = set(ids)
        ids += sorted(doc_id for doc_id in others.get(lists.query_ids[query], []) if doc_id not in inside)
        pairs.append(tuple(ids))
        places.append(shown[shown >= 0])
    width = max(map(len, pairs), default=0)
    weights, wanted = np.zeros((arms, queries, width)), np.zeros((queries, width), bool)
    grades = np.full((queries, width), UNJUDGED, np.int32)
    discount = 1 / np.log2(np.arange(2, top.shape[2] + 2))
    for query, shown in enumerate(places):
        wanted[query, : len(shown)] = True
        for arm in range(arms):
            row = top[arm, query]
            weights[arm, query, np.searchsorted(shown, row[row >= 0])] = discount[: int((row >= 0).sum())]
        for column, doc_id in enumerate(pairs[query]):
            grades[query, column] = judged.get((lists.query_ids[query], doc_id), UNJUDGED)
    return Pool(cutoff, lists.query_ids, tuple(pairs), weights, grades, wanted, tuple(lists.fullest()))
