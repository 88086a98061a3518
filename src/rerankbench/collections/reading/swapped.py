"""What is the wrong way round: columns of pairs, told from the ids, or files, told from their texts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

FAR = 2.0  # times as many and as long: what no judgement speaks of has to differ clearly
BY_HAND = "put the query's id first, or name the columns in a header"


def swapped(
    queries: pa.Array, documents: pa.Array, known_queries: pa.Array, known_documents: pa.ChunkedArray
) -> bool:
    """Whether far more pairs make sense the other way round: twice as many, and more than half of all."""
    straight = _known(queries, documents, known_queries, known_documents)
    turned = _known(documents, queries, known_queries, known_documents)
    return turned > 2 * straight and 2 * turned > len(queries)


def _known(
    queries: pa.Array, documents: pa.Array, known_queries: pa.Array, known_documents: pa.ChunkedArray
) -> int:
    """How many pairs have a query and a document that are known."""
    known = known_documents.cast(documents.type)
    # Hash the ids of the file, which are fewer than those of a large corpus.
    held = known.filter(pc.is_in(known, value_set=documents.unique())).unique()
    asked = pc.is_in(queries, value_set=known_queries.cast(queries.type))
    return int(pc.sum(pc.and_(asked, pc.is_in(documents, value_set=held))).as_py() or 0)


def exchanged(documents: pa.Table, queries: pa.Table) -> bool | None:
    """Whether the documents look like queries, being fewer and shorter; None where the two tell otherwise."""
    fewer = len(documents) < len(queries)
    shorter = _mean_bytes(documents) < _mean_bytes(queries)
    return fewer if fewer == shorter else None


def far_exchanged(documents: pa.Table, queries: pa.Table) -> bool:
    """Whether the queries are at least twice as many as the documents, and twice as long."""
    if len(queries) < FAR * len(documents):
        return False
    return _mean_bytes(queries) >= FAR * _mean_bytes(documents) > 0


def the_same(documents: pa.Table, queries: pa.Table) -> bool:
    """Whether the queries are the documents, by their ids and texts."""
    return len(documents) == len(queries) and all(
        documents.column(name).equals(queries.column(name)) for name in ("doc_id", "text")
    )


def _mean_bytes(table: pa.Table) -> float:
    return float(pc.mean(pc.binary_length(table.column("text"))).as_py() or 0.0)
