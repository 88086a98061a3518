"""Embeddings and a FAISS index."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.first_stages.first_stage import FirstStage, Searcher
from rerankbench.first_stages.index import recall, recall_notes, search
from rerankbench.first_stages.search_context import SearchContext


@dataclass(frozen=True)
class Dense(FirstStage):
    """The rows whose vectors have the largest inner product with the query's."""

    kind: ClassVar[str] = "dense"

    def embeds(self) -> bool:
        return True

    def identity(self, context: SearchContext) -> dict[str, Any]:
        settings = asdict(context.index) | ({} if context.index.exact else {"seed": context.seed})
        return {"kind": self.kind, "embedder": embedding(context).identity(), "index": settings}

    def search(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        embedder = embedding(context)
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        queries = embedder.queries(collection.query_texts)
        index = context.index.ready(vectors, context.seed, context.cache_dir, context.reuse)
        rows, scores = search(index, queries, depth)
        if context.index.exact:
            return Candidates(rows, scores)
        measures = {f"recall_at_{depth}": recall(rows, queries, vectors, context.seed)}
        return Candidates(rows, scores, recall_notes(measures), index=measures)

    def searcher(self, collection: Collection, depth: int, context: SearchContext) -> Searcher:
        embedder = embedding(context)
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        index = context.index.ready(vectors, context.seed, context.cache_dir)
        embedder.load()
        return lambda query: search(index, embedder.vector(query), depth)

    def lacking(self, collection: Collection, context: SearchContext) -> str:
        embedder = embedding(context)
        if embedder.missing(collection.corpus.texts, len(collection.corpus)):
            return "the collection's vectors are no longer in the cache; run the sweep again"
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        if not context.index.kept(vectors, context.seed, context.cache_dir):
            return "its index is no longer in the cache; run the sweep again"
        return ""


def embedding(context: SearchContext) -> Embedding:
    own = (context.embedder, context.hardware, context.cache_dir)
    return Embedding(*own, context.budget(), context.reuse, context.executor)
