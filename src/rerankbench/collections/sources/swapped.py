"""Pairs whose query and document columns are the wrong way round, told from the ids themselves."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

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
    unique = documents.unique()
    held = unique.filter(pc.is_in(unique, value_set=_intersection(known, unique)))
    both = pc.and_(
        pc.is_in(queries, value_set=known_queries.cast(queries.type)), pc.is_in(documents, value_set=held)
    )
    return int(pc.sum(both).as_py() or 0)


def _intersection(known: pa.ChunkedArray, wanted: pa.Array) -> pa.Array:
    return known.filter(pc.is_in(known, value_set=wanted)).unique()
