"""Documents and queries whose text is missing, damaged or repeated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, examples, of_ids
from rerankbench.collections.collection import Collection, Corpus

_BLANK = r"^[\s\pZ]*$"
# The replacement character, and UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for "’".
_DAMAGED = "\ufffd|\u00c3[\u0080-\u00bf]|\u00e2[\u0080\u20ac]"


@dataclass(frozen=True)
class _Rows:
    """Documents that are blank, damaged, or repeat an earlier text."""

    blank: NDArray[np.int64]
    damaged: NDArray[np.int64]
    repeated: NDArray[np.int64]


def text_findings(collection: Collection) -> list[Finding]:
    """What the texts of documents and queries are like, from one pass over the corpus."""
    corpus = collection.corpus
    rows = _look_through(corpus)
    relevant = collection.judged_row[collection.judged_grade >= collection.relevance_threshold]
    lost = np.intersect1d(rows.blank, relevant)
    copies = "copies take up ranks, and an unjudged copy counts as not relevant"
    found = (
        ("documents without text", rows.blank, "they still take ranks and pairs"),
        ("relevant documents without text", lost, "nothing in them can be found"),
        ("documents with the same text as an earlier one", rows.repeated, copies),
        ("documents with signs of a wrong encoding", rows.damaged, "their words do not match"),
    )
    return [*(document_finding(*each, corpus) for each in found), _repeated_queries(collection)]


def document_finding(what: str, rows: NDArray[np.int64], effect: str, corpus: Corpus) -> Finding:
    """A warning about these documents, the first ids as examples."""
    return Finding("warning", what, len(rows), examples(corpus.ids(rows[:4])), effect)


def _look_through(corpus: Corpus) -> _Rows:
    """Stream the corpus once; eight bytes per document are all that is kept."""
    blank, damaged, digests = [], [], []
    start = 0
    for _, texts in corpus.blocks():
        blank.append(start + _matching(texts, _BLANK))
        damaged.append(start + _matching(texts, _DAMAGED))
        digests.append(_digests(texts))
        start += len(texts)
    blanks = np.concatenate(blank)
    _, first, inverse = np.unique(np.concatenate(digests), return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(corpus)))
    return _Rows(blanks, np.concatenate(damaged), np.setdiff1d(repeated, blanks))


def _matching(texts: pa.Array, pattern: str) -> NDArray[np.int64]:
    return np.flatnonzero(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False))


def _digests(texts: pa.Array) -> NDArray[np.uint64]:
    content = texts.cast(pa.large_binary()).to_pylist()
    digests = (hashlib.blake2b(text, digest_size=8).digest() for text in content)
    return np.frombuffer(b"".join(digests), np.uint64)


def _repeated_queries(collection: Collection) -> Finding:
    seen: set[str] = set()
    repeated = []
    for query_id, text in zip(collection.query_ids, collection.query_texts, strict=True):
        if text in seen:
            repeated.append(query_id)
        seen.add(text)
    what = "judged queries with the same text as an earlier one"
    return of_ids("info", what, repeated, "the same question counts more than once in every mean")
