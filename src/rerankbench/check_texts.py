"""Oddities of a collection's texts and ids, found in one pass over the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.collection import Collection, Corpus
from rerankbench.finding import Finding, examples

Tokenizer = Callable[..., Mapping[str, Any]]

_MEASURED_DOCS = 10_000  # lengths are taken from at most so many documents, drawn with a fixed seed
_BLANK = r"^[\s\pZ]*$"
# The replacement character, and UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for "’".
_DAMAGED = "\ufffd|\u00c3[\u0080-\u00bf]|\u00e2[\u0080\u20ac]"
_SPECIAL_TOKENS = 3  # of a pair: one in front, one between, one behind


@dataclass(frozen=True)
class _Texts:
    """Rows of documents that are blank, damaged, or repeat an earlier text."""

    blank: NDArray[np.int64]
    damaged: NDArray[np.int64]
    repeated: NDArray[np.int64]


def _look_through(corpus: Corpus) -> _Texts:
    """Stream the corpus once; eight bytes per document are all that is kept."""
    blank, damaged, digests = [], [], []
    start = 0
    for _, texts in corpus.blocks():
        blank.append(start + _matching(texts, _BLANK))
        damaged.append(start + _matching(texts, _DAMAGED))
        hashes = b"".join(
            hashlib.blake2b(text, digest_size=8).digest()
            for text in texts.cast(pa.large_binary()).to_pylist()
        )
        digests.append(np.frombuffer(hashes, np.uint64))
        start += len(texts)
    blanks = np.concatenate(blank)
    _, first, inverse = np.unique(np.concatenate(digests), return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(corpus)))
    return _Texts(blanks, np.concatenate(damaged), np.setdiff1d(repeated, blanks))


def _matching(texts: pa.Array, pattern: str) -> NDArray[np.int64]:
    return np.flatnonzero(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False))


def text_findings(collection: Collection) -> list[Finding]:
    texts = _look_through(collection.corpus)
    judged = np.unique(collection.judged_row[collection.judged_grade >= collection.relevance_threshold])
    lost = np.intersect1d(texts.blank, judged)
    return [
        _documents(
            "documents without text",
            texts.blank,
            "still ranked and scored, by a text that says nothing",
            collection,
        ),
        _documents(
            "relevant documents without text", lost, "nothing in them can be found or reranked", collection
        ),
        _documents(
            "documents with the text of an earlier one",
            texts.repeated,
            "copies take ranks from others, and a copy that nobody judged counts as not relevant",
            collection,
        ),
        _documents(
            "documents with signs of a wrong encoding",
            texts.damaged,
            "words are broken; convert the source as UTF-8",
            collection,
        ),
        _repeated_queries(collection),
    ]


def _documents(what: str, rows: NDArray[np.int64], effect: str, collection: Collection) -> Finding:
    return Finding("warning", what, len(rows), examples(collection.corpus.ids(rows[:4])), effect)


def _repeated_queries(collection: Collection) -> Finding:
    first = {text: number for number, text in reversed(list(enumerate(collection.query_texts)))}
    repeated = [
        query_id
        for number, (query_id, text) in enumerate(
            zip(collection.query_ids, collection.query_texts, strict=True)
        )
        if first[text] != number
    ]
    effect = "the question counts more than once in every mean"
    return Finding(
        "info", "judged queries with the text of an earlier one", len(repeated), examples(repeated), effect
    )


def id_findings(collection: Collection) -> list[Finding]:
    spaced = pc.match_substring_regex(collection.corpus.id_column, r"\s")
    rows = np.flatnonzero(spaced.to_numpy())
    effect = "TREC files cannot hold them: runs are written as JSON"
    return [
        Finding(
            "info",
            "document ids with white space",
            len(rows),
            examples(collection.corpus.ids(rows[:4])),
            effect,
        ),
        *_shared_ids(collection),
    ]


def _shared_ids(collection: Collection) -> list[Finding]:
    """Queries whose id is also a document's: the same text (ArguAna), or only the same number."""
    rows = collection.corpus.rows(collection.query_ids)
    shared = np.flatnonzero(rows >= 0)
    queries = [collection.query_texts[number] for number in shared.tolist()]
    texts = collection.corpus.texts(rows[shared])
    same = np.array([_is_itself(query, text) for query, text in zip(queries, texts, strict=True)], bool)
    itself, other = (
        [collection.query_ids[number] for number in numbers.tolist()]
        for numbers in (shared[same], shared[~same])
    )
    drops = collection.drop_same_id
    found = (
        "removed from the candidates" if drops else "each finds itself first; set dataset.drop_same_id=true"
    )
    lost = (
        "drop_same_id=true takes these documents away; set it to false"
        if drops
        else "none while drop_same_id=false"
    )
    return [
        Finding(
            "info" if drops else "warning",
            "queries that are documents too",
            len(itself),
            examples(itself),
            found,
        ),
        Finding(
            "warning" if drops else "info",
            "query ids of unrelated documents",
            len(other),
            examples(other),
            lost,
        ),
    ]


def _is_itself(query: str, text: str) -> bool:
    return bool(query) and query in text and 2 * len(query) >= len(text)


def length_findings(collection: Collection, tokenizer: Tokenizer | None, max_length: int) -> list[Finding]:
    total = len(collection.corpus)
    rows = np.arange(total)
    if total > _MEASURED_DOCS:
        rows = np.sort(np.random.default_rng(0).choice(total, _MEASURED_DOCS, replace=False))
    texts = collection.corpus.texts(rows)
    if tokenizer is None:
        return [_spread("documents measured, in characters", np.array([len(text) for text in texts]), "")]
    lengths = _token_counts(texts, tokenizer)
    queries = _token_counts(collection.query_texts, tokenizer)
    room = max_length - int(np.median(queries)) - _SPECIAL_TOKENS
    cut = rows[lengths > room]
    share = len(cut) / len(rows)
    effect = f"{share:.1%} of those measured; what stands behind the cut is not seen by the reranker"
    over = np.flatnonzero(queries > max_length - _SPECIAL_TOKENS)
    return [
        _spread("documents measured, in tokens", lengths, f"a median query leaves room for {room:,}"),
        _spread("queries measured, in tokens", queries, ""),
        _documents(f"documents longer than max_length={max_length} leaves room for", cut, effect, collection),
        Finding(
            "warning",
            f"queries that fill max_length={max_length} alone",
            len(over),
            examples([collection.query_ids[number] for number in over.tolist()[:4]]),
            "nothing of the document is left to score",
        ),
    ]


def _token_counts(texts: list[str], tokenizer: Tokenizer) -> NDArray[np.int64]:
    blocks = (texts[start : start + 512] for start in range(0, len(texts), 512))
    return np.array(
        [len(ids) for block in blocks for ids in tokenizer(block, add_special_tokens=False)["input_ids"]],
        np.int64,
    )


def _spread(what: str, lengths: NDArray[np.int64], effect: str) -> Finding:
    middle, most = np.percentile(lengths, [50, 95])
    shape = (f"median {middle:,.0f}", f"95% up to {most:,.0f}", f"longest {lengths.max():,}")
    return Finding("info", what, len(lengths), shape, effect)
