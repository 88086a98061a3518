"""A corpus and queries given in each other's place, told from how many texts they are, and how long."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

FAR = 2.0  # times as many and as long: what no judgement speaks of has to differ clearly


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
