"""Dense and BM25 fused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.first_stages.bm25 import BM25
from rerankbench.first_stages.dense import Dense
from rerankbench.first_stages.first_stage import FirstStage, Searcher
from rerankbench.first_stages.search_context import SearchContext


@dataclass(frozen=True)
class Hybrid(FirstStage):
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009), or a weighted sum of scores.

    `fusion`: rrf (1 / (rrf_k + rank), summed) or weighted (each list's scores scaled to 0..1 per query,
    `dense_weight` for the dense list and the rest for BM25; a document that a list lacks gets 0 from it, and
    1 where all scores of a list are equal). `pool`: candidates taken from each list, at least as many as are
    kept. `rrf_k`: the larger, the more the lower ranks count in rrf. `dense_weight`: of the dense list, with
    weighted. `k1`, `b`, `language`: as of first_stage=bm25.
    """

    fusion: str = "rrf"
    rrf_k: int = 60
    dense_weight: float = 0.5
    pool: int = 200
    k1: float = 0.9
    b: float = 0.4
    language: str = "porter"

    kind: ClassVar[str] = "hybrid"

    def embeds(self) -> bool:
        return True

    def problems(self) -> list[str]:
        found = self.words().problems()
        if self.fusion not in ("rrf", "weighted"):
            found.append(f"first_stage.fusion={self.fusion}: choose rrf or weighted")
        if not 0 <= self.dense_weight <= 1:
            found.append(
                f"first_stage.dense_weight={self.dense_weight}: choose between 0 (BM25) and 1 (dense)"
            )
        if self.rrf_k < 0 or self.pool < 1:
            found.append(
                f"first_stage.rrf_k={self.rrf_k}, first_stage.pool={self.pool}: give positive numbers"
            )
        return found

    def words(self) -> BM25:
        return BM25(self.k1, self.b, self.language)

    def identity(self, context: SearchContext) -> dict[str, Any]:
        own = {"kind": self.kind, **asdict(self)}
        return own | {"dense": Dense().identity(context), "bm25": self.words().identity(context)}

    def search(self, collection: Collection, depth: int, context: SearchContext) -> Candidates:
        pool = max(depth, self.pool)
        dense, _ = Dense().retrieve(collection, pool, context)
        words, _ = self.words().retrieve(collection, pool, context)
        lists = zip(dense.rows, dense.scores, words.rows, words.scores, strict=True)
        fused = [self.fuse(*of_query, depth) for of_query in lists]
        rows, scores = (np.stack(parts) for parts in zip(*fused, strict=True))
        both = Candidates(rows, scores, dense.notes, dense.findings, dense.index)
        return both.with_findings(words.findings)

    def searcher(self, collection: Collection, depth: int, context: SearchContext) -> Searcher:
        pool = max(depth, self.pool)
        dense = Dense().searcher(collection, pool, context)
        words = self.words().searcher(collection, pool, context)

        def both(query: str) -> object:
            (dense_rows, dense_scores), (word_rows, word_scores) = dense(query), words(query)
            return self.fuse(dense_rows[0], dense_scores[0], word_rows, word_scores, depth)

        return both

    def lacking(self, collection: Collection, context: SearchContext) -> str:
        return Dense().lacking(collection, context)

    def fuse(
        self, dense_rows: Ints, dense_scores: Floats, word_rows: Ints, word_scores: Floats, depth: int
    ) -> tuple[Ints, Floats]:
        """One query's two lists as one; equal sums keep the order of rows."""
        rows = np.unique(np.concatenate([dense_rows, word_rows]))
        rows = rows[rows >= 0]
        total = self.part(dense_rows, dense_scores, rows, self.dense_weight)
        total += self.part(word_rows, word_scores, rows, 1 - self.dense_weight)
        order = np.lexsort((rows, -total))[:depth]
        fused_rows, fused_scores = np.full(depth, -1, np.int64), np.full(depth, -np.inf, np.float32)
        fused_rows[: len(order)], fused_scores[: len(order)] = rows[order], total[order]
        return fused_rows, fused_scores

    def part(self, listed: Ints, scores: Floats, rows: Ints, weight: float) -> NDArray[np.float64]:
        """What one list adds to each of `rows` (sorted)."""
        listed, scores = listed[listed >= 0], scores[listed >= 0]
        added = np.zeros(len(rows))
        if len(listed) and self.fusion == "rrf":
            added[np.searchsorted(rows, listed)] = 1 / (self.rrf_k + 1 + np.arange(len(listed)))
        elif len(listed):
            lowest, spread = scores.min(), float(scores.max() - scores.min())
            scaled = (scores - lowest) / spread if spread else np.ones(len(scores))
            added[np.searchsorted(rows, listed)] = weight * scaled
        return added
