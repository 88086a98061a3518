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

    def identity(self, bench: SearchContext) -> dict[str, Any]:
        settings = asdict(bench.index) | ({} if bench.index.exact else {"seed": bench.seed})
        return {"kind": self.kind, "embedder": embedding(bench).identity(), "index": settings}

    def search(self, collection: Collection, depth: int, bench: SearchContext) -> Candidates:
        embedder = embedding(bench)
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        queries = embedder.queries(collection.query_texts)
        index = bench.index.ready(vectors, bench.seed, bench.cache_dir, bench.reuse)
        rows, scores = search(index, queries, depth)
        if bench.index.exact:
            return Candidates(rows, scores)
        measures = {f"recall_at_{depth}": recall(rows, queries, vectors, bench.seed)}
        return Candidates(rows, scores, recall_notes(measures), index=measures)

    def searcher(self, collection: Collection, depth: int, bench: SearchContext) -> Searcher:
        embedder = embedding(bench)
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        index = bench.index.ready(vectors, bench.seed, bench.cache_dir)
        return lambda query: search(index, embedder.vector(query), depth)

    def lacking(self, collection: Collection, bench: SearchContext) -> str:
        embedder = embedding(bench)
        if embedder.missing(collection.corpus.texts, len(collection.corpus)):
            return "the collection's vectors are no longer in the cache; run the sweep again"
        vectors = embedder.passages(collection.corpus.texts, len(collection.corpus))
        if not bench.index.kept(vectors, bench.seed, bench.cache_dir):
            return "its index is no longer in the cache; run the sweep again"
        return ""


def embedding(bench: SearchContext) -> Embedding:
    own = (bench.embedder, bench.hardware, bench.cache_dir)
    return Embedding(*own, bench.budget(), bench.reuse, bench.executor)
