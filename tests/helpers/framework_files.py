"""One collection written as the frameworks write it; the objects are theirs, key by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Texts = Mapping[str, str]  # id -> text
Write = Callable[[Texts], object]

# What a dump of LlamaIndex's TextNode and Document has beside the id and the text.
NODE: dict[str, Any] = {
    "embedding": None,
    "metadata": {"file_name": "a.txt"},
    "excluded_embed_metadata_keys": [],
    "excluded_llm_metadata_keys": [],
    "relationships": {},
    "metadata_template": "{key}: {value}",
    "metadata_separator": "\n",
}
BEHIND: dict[str, Any] = {"text_template": "{metadata_str}\n\n{content}"}
NO_RESOURCES: dict[str, Any] = {"image_resource": None, "audio_resource": None, "video_resource": None}


def langchain(doc_id: str | None, text: str, **metadata: object) -> dict[str, Any]:
    """`Document(...).model_dump()`."""
    return {"id": doc_id, "metadata": metadata, "page_content": text, "type": "Document"}


def langchain_serialised(doc_id: str | None, text: str, **metadata: object) -> dict[str, Any]:
    """`dumpd(Document(...))`, which leaves an id of None out."""
    named = {"id": doc_id} if doc_id is not None else {}
    inner = {**named, "metadata": metadata, "page_content": text, "type": "Document"}
    place = ["langchain", "schema", "document", "Document"]
    return {"lc": 1, "type": "constructor", "id": place, "kwargs": inner}


def node(doc_id: str, text: str) -> dict[str, Any]:
    """`TextNode(...).to_dict()`."""
    ends = {"mimetype": "text/plain", "start_char_idx": None, "end_char_idx": None}
    return {"id_": doc_id, **NODE, "text": text, **ends, **BEHIND, "class_name": "TextNode"}


def node_document(doc_id: str, text: str) -> dict[str, Any]:
    """LlamaIndex's `Document(...).to_dict()`; `model_dump()` may lack the text at the end."""
    resource = {"embeddings": None, "text": text, "path": None, "url": None, "mimetype": None}
    return {
        "id_": doc_id,
        **NODE,
        "text_resource": resource,
        **NO_RESOURCES,
        **BEHIND,
        "class_name": "Document",
    }


def docstore(texts: Texts) -> dict[str, Any]:
    """The docstore.json of `StorageContext.persist()`."""
    nodes = {i: {"__data__": node(i, text), "__type__": "1"} for i, text in texts.items()}
    return {"docstore/data": nodes, "docstore/metadata": {i: {"doc_hash": "16748e"} for i in texts}}


def vector_store(texts: Texts) -> dict[str, Any]:
    """`InMemoryVectorStore.dump()` of LangChain."""
    return {
        i: {"id": i, "vector": [-0.68, 1.38], "text": text, "metadata": {"source": "a.txt"}}
        for i, text in texts.items()
    }


def haystack(doc_id: str, text: str) -> dict[str, Any]:
    """`Document(...).to_dict(flatten=False)`."""
    ends = {"score": None, "embedding": None, "sparse_embedding": None}
    return {"id": doc_id, "content": text, "blob": None, "meta": {"text": "none", "source": "b"}, **ends}


def haystack_flat(doc_id: str, text: str) -> dict[str, Any]:
    """`Document(...).to_dict()`: the meta data stand before the rest."""
    flat = {key: value for key, value in haystack(doc_id, text).items() if key != "meta"}
    return {"text": "of the meta data", "body": "of the meta data, too", **flat}


RECORDS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "plain": lambda i, text: {"_id": i, "text": text},
    "LangChain, ids": lambda i, text: langchain(i, text, source="a.txt", page=3),
    "LangChain, sources": lambda i, text: langchain(None, text, source=i, page=3),
    "LangChain, serialised": lambda i, text: langchain_serialised(i, text, source="a.txt"),
    "LangChain, serialised, sources": lambda i, text: langchain_serialised(None, text, source=i),
    "LlamaIndex, nodes": node,
    "LlamaIndex, documents": node_document,
    "LlamaIndex, found": lambda i, text: {"node": node(i, text), "score": 0.5, "class_name": "NodeWithScore"},
    "Haystack": haystack,
    "Haystack, flat": haystack_flat,
}
WHOLE: dict[str, Write] = {
    "LlamaIndex, docstore": docstore,
    "LangChain, vector store": vector_store,
    "texts by id": dict,
    "records by id": lambda texts: {i: {"title": "", "text": text} for i, text in texts.items()},
    "a list under a key": lambda texts: {
        "version": 2,
        "rows": [{"id": i, "text": t} for i, t in texts.items()],
    },
}


def held(value: Any) -> Any:
    """The same as parquet can hold it: without objects that are empty."""
    return (
        {key: held(inner) for key, inner in value.items() if inner != {}}
        if isinstance(value, dict)
        else value
    )


def parquet(path: Path, items: Iterable[object]) -> Path:
    pq.write_table(pa.Table.from_pylist([held(item) for item in items]), path)
    return path


def lines(items: Iterable[object]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def array(items: Iterable[object]) -> str:
    return json.dumps(list(items), ensure_ascii=False)


def spread_array(items: Iterable[object]) -> str:
    return json.dumps(list(items), indent=2)


FORMS: dict[str, tuple[str, Callable[[Iterable[object]], str]]] = {
    "lines": (".jsonl", lines),
    "an array": (".json", array),
    "an array over lines": (".json", spread_array),
    "an array called jsonl": (".jsonl", array),
}


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


# --- whole collections; passages and queries without ids are numbered from 0 ---

Judged = Mapping[str, Mapping[str, int]]  # query id -> document id -> grade


def of_grade(judged: Judged, query_id: str, grade: int, texts: Texts) -> list[str]:
    return [texts[i] for i, given in judged.get(query_id, {}).items() if given == grade]


def qa_dataset(texts: Texts, queries: Texts, judged: Judged) -> str:
    """`EmbeddingQAFinetuneDataset.save_json()` of LlamaIndex."""
    relevant = {q: list(of) for q, of in judged.items()}
    parts = {"queries": queries, "corpus": texts, "relevant_docs": relevant, "mode": "text"}
    return json.dumps(parts, indent=4)


def flag_embedding(texts: Texts, queries: Texts, judged: Judged) -> str:
    return lines(
        {"query": text, "pos": of_grade(judged, i, 1, texts), "neg": of_grade(judged, i, 0, texts)}
        for i, text in queries.items()
    )


def ragas(texts: Texts, queries: Texts, judged: Judged, names: str = "user_input retrieved_contexts") -> str:
    """`EvaluationDataset.to_jsonl()`; fields that were not given are left out."""
    question, retrieved = names.split()
    return lines(
        {
            question: text,
            retrieved: of_grade(judged, i, 0, texts),
            "reference_contexts": of_grade(judged, i, 1, texts),
            "response": "an answer",
            "reference": "the right answer",
        }
        for i, text in queries.items()
    )


def squad_rows(texts: Texts, queries: Texts, judged: Judged) -> list[dict[str, Any]]:
    """The rows of rajpurkar/squad_v2; a question has one passage."""
    return [
        {
            "id": q,
            "title": "",
            "context": texts[next(iter(judged[q]))],
            "question": text,
            "answers": {"text": ["x"], "answer_start": [0]}
            if 1 in judged[q].values()
            else {"text": [], "answer_start": []},
        }
        for q, text in queries.items()
    ]


def squad(texts: Texts, queries: Texts, judged: Judged) -> str:
    """train-v2.0.json, one paragraph a document."""
    paragraphs = [
        {
            "context": text,
            "qas": [
                {
                    "id": q,
                    "question": queries[q],
                    "answers": [{"text": "x", "answer_start": 0}] if judged[q][i] else [],
                    "is_impossible": not judged[q][i],
                }
                for q in queries
                if i in judged[q]
            ],
        }
        for i, text in texts.items()
    ]
    return json.dumps({"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]})
