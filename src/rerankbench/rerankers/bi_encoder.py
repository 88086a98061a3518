"""Embedders as rerankers: the inner product of a query's vector and a document's, a cosine where both have
length 1. The cheapest model there is beside a first stage without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerankbench.engine.embedders.text_vectors import Matrix
from rerankbench.rerankers.vector_reranker import VectorReranker, as_reranker, product


@dataclass(frozen=True)
class BiEncoder(VectorReranker):
    """Scores by one vector each of the query and the document, made as `embedder=` makes them.

    pooling: cls (BGE) or mean (MiniLM, E5).
    normalize: whether vectors have length 1, so that scores are cosines.
    max_length: most tokens of a document.
    query_max_length: most tokens of a query; null: as max_length.
    """

    pooling: str = "cls"
    normalize: bool = True
    max_length: int = 512
    query_max_length: int | None = None

    family: ClassVar[str] = "bi-encoder"

    def own_problems(self) -> list[str]:
        return as_reranker(self.embedder().setting_problems())

    def compare(self, query: Matrix, document: Matrix) -> float:
        return product(query[0], document[0])
