"""LlamaIndex's QA dataset, `EmbeddingQAFinetuneDataset.save_json`."""

from __future__ import annotations

from collections.abc import Iterator

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.shapes.gathered import Gathered
from rerankbench.collections.reading.shapes.shape import CollectionShape, Item


class _Dataset(CollectionShape):
    """{"queries": {id: text}, "corpus": {id: text}, "relevant_docs": {query id: [document ids]}}."""

    def gather(self, items: Iterator[tuple[int, Item]], into: Gathered, relevant: str | None) -> None:
        for number, item in items:
            for key in ("queries", "corpus", "relevant_docs"):
                if not isinstance(item.get(key), dict):
                    into.log.add(number, f"{key!r} is {shown(item.get(key))}: write an object, {{id: ..}}")
                    return
            _gather(item, into)


def _gather(item: Item, into: Gathered) -> None:
    """Entries are numbered through each of the three parts."""
    parts = {key: value for key, value in item.items() if isinstance(value, dict)}
    for number, (doc_id, text) in enumerate(parts["corpus"].items(), start=1):
        into.document(number, doc_id, "", text)
    for number, (query_id, text) in enumerate(parts["queries"].items(), start=1):
        into.query(number, text, query_id)
    for number, (query_id, doc_ids) in enumerate(parts["relevant_docs"].items(), start=1):
        if not isinstance(doc_ids, list):
            into.log.add(number, f"query {shown(query_id)} has {shown(doc_ids)}: write a list of ids")
            continue
        into.judgements += [(number, (query_id, doc_id, 1)) for doc_id in doc_ids]


COLLECTIONS = (
    _Dataset("llama_index_qa", "QA datasets of LlamaIndex", (("queries",), ("corpus",), ("relevant_docs",))),
)
