"""How long documents and queries are, and how many a model of a given length cuts off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, of_ids
from rerankbench.collections.collection import Collection
from rerankbench.commands.check.texts import document_finding

Tokenizer = Callable[..., Mapping[str, Any]]

_MEASURED_DOCS = 10_000  # at most so many, drawn with a fixed seed
_SPECIAL_TOKENS = 3  # of a pair: one in front, one between, one behind
_TOKENIZED_AT_ONCE = 512
_COST = "time grows with their length, up to max_length"


def length_findings(collection: Collection, tokenizer: Tokenizer | None, max_length: int) -> list[Finding]:
    """Lengths in tokens and what max_length cuts; without a tokenizer only lengths in characters."""
    rows = _measured(len(collection.corpus))
    texts = collection.corpus.texts(rows)
    if tokenizer is None:
        return [_spread("documents measured, in characters", np.array([len(text) for text in texts]), _COST)]
    documents = _token_counts(texts, tokenizer)
    queries = _token_counts(collection.query_texts, tokenizer)
    cut = rows[documents > max_length - int(np.median(queries)) - _SPECIAL_TOKENS]
    return [
        _spread("documents measured, in tokens", documents, _COST),
        _spread(
            "queries measured, in tokens", queries, "the longer the query, the less of each document is read"
        ),
        _cut(collection, cut, len(cut) / len(rows), max_length),
        _filled(collection, queries, max_length),
    ]


def _measured(total: int) -> NDArray[np.int64]:
    if total <= _MEASURED_DOCS:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, _MEASURED_DOCS, replace=False))


def _cut(collection: Collection, cut: NDArray[np.int64], share: float, max_length: int) -> Finding:
    what = f"documents that do not fit into max_length={max_length} beside a query"
    cure = "score windows (reranker.long_documents=max_passage), or raise max_length if the model can"
    effect = f"{share:.1%} of those measured lose their end; {cure}"
    return document_finding(what, cut, effect, collection.corpus)


def _filled(collection: Collection, queries: NDArray[np.int64], max_length: int) -> Finding:
    over = np.flatnonzero(queries > max_length - _SPECIAL_TOKENS).tolist()
    ids = [collection.query_ids[number] for number in over]
    what = f"queries that fill max_length={max_length} alone"
    return of_ids("warning", what, ids, "hardly any of the document is left to score")


def _token_counts(texts: list[str], tokenizer: Tokenizer) -> NDArray[np.int64]:
    counts: list[int] = []
    for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
        block = texts[start : start + _TOKENIZED_AT_ONCE]
        counts += [len(ids) for ids in tokenizer(block, add_special_tokens=False)["input_ids"]]
    return np.array(counts, np.int64)


def _spread(what: str, lengths: NDArray[np.int64], effect: str) -> Finding:
    middle, most = np.percentile(lengths, [50, 95])
    shape = (f"median {middle:,.0f}", f"95% up to {most:,.0f}", f"longest {lengths.max():,}")
    return Finding("info", what, len(lengths), shape, effect)
