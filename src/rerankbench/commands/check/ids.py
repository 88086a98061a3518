"""Ids that other tools cannot write, and ids that queries and documents share."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from rerankbench.basics.finding import Finding, examples, of_ids
from rerankbench.collections.collection import Collection


def id_findings(collection: Collection) -> list[Finding]:
    """What the ids are like (that they are unique, and match, was checked on loading)."""
    return [_spaced(collection), *_shared(collection)]


def _spaced(collection: Collection) -> Finding:
    corpus = collection.corpus
    rows = np.flatnonzero(pc.match_substring_regex(corpus.id_column, r"[\s\pZ]").to_numpy())
    effect = "TREC files cannot hold them: runs are written as JSON"
    return Finding("info", "document ids with white space", len(rows), examples(corpus.ids(rows[:4])), effect)


def _shared(collection: Collection) -> list[Finding]:
    """Queries whose id is also a document's: with the same text (ArguAna), or only the same number."""
    rows = collection.corpus.rows(collection.query_ids)
    shared = np.flatnonzero(rows >= 0).tolist()
    texts = dict(zip(shared, collection.corpus.texts(rows[shared]), strict=True))
    same = [number for number in shared if _is_itself(collection.query_texts[number], texts[number])]
    itself = [collection.query_ids[number] for number in same]
    other = [collection.query_ids[number] for number in shared if number not in set(same)]
    documents, ids = "queries that are documents too", "query ids that are also the id of another document"
    if collection.drop_same_id:
        effect = "drop_same_id=true removes documents that only share a number; set it to false"
        return [
            of_ids("info", documents, itself, "removed, as asked"),
            of_ids("warning", ids, other, effect),
        ]
    effect = "each finds itself first, which counts as not relevant; set dataset.drop_same_id=true"
    return [
        of_ids("warning", documents, itself, effect),
        of_ids("info", ids, other, "none: documents are matched by text, not by id"),
    ]


def _is_itself(query: str, text: str) -> bool:
    """Whether a document is the query: its text, perhaps behind a title."""
    return bool(query) and query in text and 2 * len(query) >= len(text)
