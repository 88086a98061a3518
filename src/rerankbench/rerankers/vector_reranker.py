"""Rerankers that give queries and documents vectors, each by itself, and compare them pair by pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.embedders.text_vectors import Matrix, TextVectors
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.engine.models.model_settings import ModelSettings
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.rows import arithmetic
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer


@dataclass(frozen=True)
class VectorReranker(ModelSettings, Reranker):
    """Settings of an embedder that reranks: the score of a pair is computed from vectors of its two texts."""

    GROUP: ClassVar[str] = "reranker"
    FREE: ClassVar[frozenset[str]] = Reranker.FREE | ModelSettings.WHERE
    WORK: ClassVar[type[Embedding]] = Embedding
    EMBEDDER: ClassVar[type[Embedder]] = Embedder

    def embedder(self) -> Embedder:
        """What makes its vectors, as settings: those that have the same names here."""
        own = {field.name for field in fields(self)}
        same = {one.name: getattr(self, one.name) for one in fields(self.EMBEDDER) if one.name in own}
        return self.EMBEDDER(**same)

    @abstractmethod
    def compare(self, query: Matrix, document: Matrix) -> float:
        """The score of two texts, by their vectors [vectors, dimensions] each."""

    def problems(self) -> list[str]:
        """Impossible settings, one line each; reads no weights."""
        found = self.model_problems()
        if self.attention not in ("sdpa", "eager", "flash_attention_2"):
            found.append(f"reranker.attention={self.attention}: choose one of sdpa, eager, flash_attention_2")
        return found + self.own_problems()

    def own_problems(self) -> list[str]:
        """Impossible settings of the family's own, one line each."""
        return []

    def length_problems(self, positions: int | None) -> list[str]:
        return as_reranker(self.embedder().length_problems(positions))

    def folder_problems(self, folder: Path) -> list[str]:
        found = as_reranker(self.embedder().folder_problems(folder))
        return [line.replace(OTHER, f"; {option_for(folder)}, or give an embedder") for line in found]

    def rehearse(self, weights: references.Weights, hardware: Hardware) -> None:
        """Raise UserError for whatever would keep the model from being loaded and from scoring right."""
        try:
            self.embedder().following(weights).rehearse(weights, hardware)
        except UserError as error:
            raise UserError(as_reranker(error.problems)) from error

    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]:
        """What its vectors depend on, and how they are compared."""
        embedder = self.embedder().following(weights)
        return {
            "family": self.family,
            **arithmetic(precision),
            "weights": weights.identity,
            "documents": embedder.identity(weights, precision),
            "queries": embedder.for_queries().identity(weights, precision),
            **self.comparison(),
        }

    def comparison(self) -> dict[str, Any]:
        """The settings by which vectors are compared."""
        return {}

    def embedding(self, weights: references.Weights, context: RunContext) -> Embedding:
        """The embedder at work, whose vectors are kept in the context's cache."""
        place = (context.hardware, context.cache_dir, context.budget(), context.reuse, context.executor)
        return self.WORK(self.embedder(), *place, weights)

    def load(self, weights: references.Weights, hardware: Hardware) -> Scorer:
        """Ready to score texts, whose vectors are computed each time and kept nowhere."""
        return VectorScorer(self, self.embedding(weights, RunContext(hardware, Path())), kept=False)

    def deployed(self, weights: references.Weights, context: RunContext) -> Scorer:
        return VectorScorer(self, self.embedding(weights, context), kept=True)


OTHER = "; give an embedder"  # what is said of a folder that holds something else


def as_reranker(lines: Sequence[str]) -> list[str]:
    """What an embedder says of its settings, said of a reranker's."""
    return [line.replace("embedder.", "reranker.") for line in lines]


class VectorScorer(Scorer):
    """Embeds queries whenever they are asked, and documents unless they were expected.

    kept: whether vectors of expected documents are read from the store and kept there.
    """

    batch = 4096  # each query of a batch is embedded once

    def __init__(self, settings: VectorReranker, embedding: Embedding, kept: bool) -> None:
        self.settings, self.kept = settings, kept
        self.queries = TextVectors(embedding, embedding.settings.for_queries(), "queries")
        self.documents = TextVectors(embedding, embedding.settings, "documents")
        self.held: dict[str, Matrix] = {}
        embedding.model  # noqa: B018 (loaded now)

    def expect(self, documents: Sequence[str]) -> None:
        """Have the documents' vectors in memory, as a deployment has that embedded its documents before."""
        lacking = [text for text in dict.fromkeys(documents) if text not in self.held]
        if lacking:
            found = self.from_store(lacking) if self.kept else self.documents.fresh(lacking)
            self.held |= dict(zip(lacking, found, strict=True))

    def from_store(self, texts: Sequence[str]) -> list[Matrix]:
        rows = np.arange(len(texts))

        def listed(some: Ints) -> list[str]:
            return [texts[row] for row in some.tolist()]

        digests = self.documents.digests(listed, rows)
        distinct, first, number = np.unique(digests, return_index=True, return_inverse=True)
        places = self.documents.stored(listed, first, distinct)
        return [np.array(places.matrix(place)) for place in number.tolist()]

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Floats:
        asked = list(dict.fromkeys(queries))
        vectors = dict(zip(asked, self.queries.fresh(asked), strict=True))
        lacking = [text for text in dict.fromkeys(documents) if text not in self.held]
        found = dict(zip(lacking, self.documents.fresh(lacking), strict=True)) if lacking else {}
        pairs = (
            (vectors[query], self.held[text] if text in self.held else found[text])
            for query, text in zip(queries, documents, strict=True)
        )
        return np.array([[self.settings.compare(*pair)] for pair in pairs], np.float32).reshape(-1, 1)


def product(first: Floats, second: Floats) -> float:
    """The inner product of two vectors, rounded once: the same to the last bit wherever it is computed."""
    return float(np.multiply(first, second, dtype=np.float64).sum())


def similarities(query: Matrix, document: Matrix) -> NDArray[np.float64]:
    """Inner products [query vectors, document vectors]."""
    found: NDArray[np.float64] = query.astype(np.float64) @ document.T.astype(np.float64)
    return found
