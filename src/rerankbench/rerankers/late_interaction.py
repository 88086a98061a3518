"""ColBERT and its kind: a query's tokens look for the document's most similar ones, MaxSim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rerankbench.engine.embedders.colbert import ColbertEmbedder
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.embedders.matrices import MatrixEmbedding
from rerankbench.engine.embedders.text_vectors import Matrix
from rerankbench.rerankers.vector_reranker import VectorReranker, similarities


@dataclass(frozen=True)
class LateInteraction(VectorReranker):
    """Score = the sum over the query's vectors of the cosine with the document's most similar vector.

    What is null is taken from the folder, which Stanford's ColBERT or PyLate wrote.

    max_length: most tokens of a document, its marker among them.
    query_max_length: most tokens of a query, to which it is filled up.
    query_prefix, document_prefix: the token that marks queries, documents; '' for none.
    query_expansion: whether queries are filled up with mask tokens, which have vectors as others do.
    attend_to_expansion_tokens: whether a query's other tokens attend to those.
    skiplist_words: tokens whose vectors documents leave out, by default punctuation.
    """

    max_length: int | None = None
    query_max_length: int | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    query_expansion: bool | None = None
    attend_to_expansion_tokens: bool | None = None
    skiplist_words: list[str] | None = None

    family: ClassVar[str] = "late-interaction"
    WORK: ClassVar[type[Embedding]] = MatrixEmbedding
    EMBEDDER: ClassVar[type[Embedder]] = ColbertEmbedder

    def embedder(self) -> Embedder:
        known = self if self.max_length is not None else replace(self, max_length=0)
        return super(LateInteraction, known).embedder()

    def own_problems(self) -> list[str]:
        lengths = {"max_length": self.max_length, "query_max_length": self.query_max_length}
        return [
            f"reranker.{name}={value}: give at least 4 tokens, or null for what the folder says"
            for name, value in lengths.items()
            if value is not None and value < 4
        ]

    def compare(self, query: Matrix, document: Matrix) -> float:
        return float(similarities(query, document).max(axis=1).sum())
