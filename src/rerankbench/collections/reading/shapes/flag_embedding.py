"""FlagEmbedding's lines of training and evaluation: `query`, `pos` and, perhaps, `neg`."""

from __future__ import annotations

from collections.abc import Iterator

from rerankbench.collections.reading.shapes.gathered import Gathered
from rerankbench.collections.reading.shapes.shape import CollectionShape, Item


class _FlagEmbedding(CollectionShape):
    """Passages in `pos` have grade 1, those in `neg` grade 0."""

    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        for number, item in items:
            query_id = into.query(number, item.get("query"))
            into.judge(number, query_id, item.get("pos"), 1, "pos")
            if item.get("neg") is not None:
                into.judge(number, query_id, item["neg"], 0, "neg")


COLLECTIONS = (
    _FlagEmbedding("flag_embedding", "FlagEmbedding's lines", (("query",), ("pos",)), ("pos", "neg")),
)
