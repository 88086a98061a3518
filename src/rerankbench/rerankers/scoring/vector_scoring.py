"""Scores of pairs out of vectors: each text is embedded once and kept, scoring is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rerankbench.basics.arrays import Digests, Floats, Ints
from rerankbench.engine.embedders.embedding import Embedding, Texts
from rerankbench.engine.embedders.text_vectors import Matrix, Places, TextVectors
from rerankbench.engine.models.references import Weights
from rerankbench.engine.store.rows import RowStore, pair_keys
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.sequences import columns
from rerankbench.rerankers.scoring.text_scoring import TextWork, cost
from rerankbench.rerankers.vector_reranker import VectorReranker

WINDOW = 1024  # documents whose pairs are scored together

Keep = Callable[[Ints, Floats], None]


@dataclass(frozen=True)
class VectorWork(TextWork):
    """Pairs for an embedder, which is loaded when a vector is missing; an executor shares that out."""

    reranker: VectorReranker
    origin: Weights

    @cached_property
    def embedding(self) -> Embedding:
        return self.reranker.embedding(self.origin, self.context)

    @cached_property
    def loaded(self) -> tuple[Scorer, float]:
        started = time.perf_counter()
        scorer = self.reranker.deployed(self.origin, self.context)
        return scorer, time.perf_counter() - started

    @property
    def queries(self) -> TextVectors:
        return TextVectors(self.embedding, self.embedding.settings.for_queries(), "queries")

    @property
    def documents(self) -> TextVectors:
        return TextVectors(self.embedding, self.embedding.settings, "documents")

    def query_texts(self, rows: Ints) -> list[str]:
        return [self.collection.query_texts[row] for row in rows.tolist()]

    def run(self, todo: Ints, keep: Keep, store: RowStore | None = None) -> dict[str, float]:
        """Score the pairs `todo` and hand their scores to `keep`. Returns the cost.

        Pairs that are the same tokens to the model have one score, in this run and in later ones: `store`
        keeps it under the tokens of both texts, and what it holds already counts. The cost is that of
        queries and arithmetic: a deployment has embedded its documents before a query comes.
        """
        pairs = self.pairs
        asked = Sequences.of(self.queries, self.query_texts, pairs.queries[todo])
        listed = Sequences.of(self.documents, self.collection.corpus.texts, pairs.documents[todo])
        documents = self.at_hand(self.documents, self.collection.corpus.texts, listed)
        started = time.perf_counter()
        queries = self.at_hand(self.queries, self.query_texts, asked)
        order = np.argsort(listed.number, kind="stable")
        bounds = np.searchsorted(listed.number[order], np.arange(0, len(listed.digests) + WINDOW, WINDOW))
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            some = order[low:high]
            keys = pair_keys(asked.digests[asked.number[some]], listed.digests[listed.number[some]])
            held = vectors_of(queries, asked.number[some]), vectors_of(documents, listed.number[some])
            keep(todo[some], self.scores(keys, asked.number[some], listed.number[some], held, store))
        return cost(len(todo), time.perf_counter() - started, 0.0)

    def at_hand(self, kind: TextVectors, texts: Texts, wanted: Sequences) -> Places | list[Matrix]:
        """The vectors of texts, embedded where they are not stored; computed anew where nothing is reused."""
        if self.context.reuse:
            return kind.stored(texts, wanted.rows, wanted.digests)
        found: list[Matrix] = []
        for start in range(0, len(wanted.rows), WINDOW):
            found += kind.fresh(texts(wanted.rows[start : start + WINDOW]))
        return found

    def scores(
        self,
        keys: Digests,
        queries: Ints,
        documents: Ints,
        held: tuple[dict[int, Matrix], dict[int, Matrix]],
        store: RowStore | None,
    ) -> Floats:
        """Scores [pairs, 1]; each pair of sequences is compared once, and not at all if `store` knows it."""
        distinct, first, number = np.unique(keys, return_index=True, return_inverse=True)
        values = np.full((len(distinct), 1), np.nan, np.float32)
        found = np.zeros(len(distinct), bool)
        if store is not None:
            values, found = store.lookup(distinct, columns(self.layers))
        for place in np.flatnonzero(~found).tolist():
            pair = int(first[place])
            query, document = held[0][int(queries[pair])], held[1][int(documents[pair])]
            values[place] = self.reranker.compare(query, document)
        if store is not None and not found.all():
            store.append(distinct[~found], values[~found], columns(self.layers))
        return values[number]

    def lacking(self, todo: Ints) -> Ints:
        """A row of each of the documents of the pairs `todo` whose vectors are not stored."""
        documents = self.collection.corpus.texts
        wanted = Sequences.of(self.documents, documents, self.pairs.documents[todo])
        if not self.context.reuse:
            return wanted.rows
        return wanted.rows[self.documents.places(wanted.digests).block < 0]


@dataclass(frozen=True)
class Sequences:
    """The different token sequences of some texts: `digests` and a row for each, `number` of every text."""

    digests: Digests
    rows: Ints
    number: Ints

    @classmethod
    def of(cls, kind: TextVectors, texts: Texts, rows: Ints) -> Sequences:
        """Of the texts in `rows`, which may repeat; in order of the first row of each."""
        listed, of = np.unique(rows, return_inverse=True)
        digests, first, number = np.unique(
            kind.digests(texts, listed), return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(digests[order], listed[first[order]], place[number][of])


def vectors_of(held: Places | Sequence[Matrix], numbers: Ints) -> dict[int, Matrix]:
    """The vectors of some sequences by their numbers."""
    wanted = np.unique(numbers).tolist()
    return {n: held.matrix(n) if isinstance(held, Places) else held[n] for n in wanted}
