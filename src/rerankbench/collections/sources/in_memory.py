"""A collection from Python objects, with the same checks as one from files."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.assembly import Options, Parts, assemble
from rerankbench.collections.sources.file_log import FileLog
from rerankbench.collections.sources.judgements import read_judgements
from rerankbench.collections.sources.mapped import Stored
from rerankbench.collections.sources.records import SCHEMA, read_records


def collection_of(
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    judgements: Mapping[str, Mapping[str, int]],
    *,
    name: str = "in memory",
    relevance_threshold: int = 1,
    drop_same_id: bool = False,
) -> Collection:
    """Texts by doc_id, texts by query_id, and grades by query_id and doc_id, as a collection.

    Raises UserError for what a file could not hold either: empty ids, other types, nothing judged.
    """
    parts = parts_of(documents, queries, judgements, name=name)
    if parts.problems:
        raise UserError(parts.problems)
    options = Options(name=name, relevance_threshold=relevance_threshold, drop_same_id=drop_same_id)
    return assemble(parts, options)


def parts_of(
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    judgements: Mapping[str, Mapping[str, int]],
    *,
    name: str = "in memory",
) -> Parts:
    """The same as a `Source` reads them, faults included; `name` is where messages say that they are."""
    logs = [FileLog(Path(f"{name} {part}"), "entry") for part in ("documents", "queries", "judgements")]
    pairs = ((query, document, grade) for query, of in judgements.items() for document, grade in of.items())
    return Parts(
        documents=Stored(_table(documents, logs[0])),
        queries=_table(queries, logs[1]),
        judgements=read_judgements(enumerate(pairs, start=1), logs[2]),
        corpus_place=str(logs[0].path),
        queries_place=str(logs[1].path),
        judgements_place=str(logs[2].path),
        problems=[problem for log in logs for problem in log.problems()],
    )


def _table(texts: Mapping[str, str], log: FileLog) -> pa.Table:
    numbers: array[int] = array("q")
    return pa.Table.from_batches(read_records(enumerate(texts.items(), start=1), log, numbers), SCHEMA)
