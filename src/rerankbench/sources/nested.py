"""JSON files of the shape {query_id: {doc_id: number}}, as ranx, BEIR and pytrec_eval exchange them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rerankbench.finding import shown
from rerankbench.sources.file_log import FileLog
from rerankbench.sources.lines import read_lines

_SHAPE = 'the shape is {"query id": {"document id": number}}'


class _Object(list[tuple[str, object]]):
    """A JSON object with its keys as written, repeated ones included."""


def read_nested(path: Path, log: FileLog) -> Iterator[tuple[int, str, str, object]]:
    """Yield (number of the entry from 1, query id, document id, value) in file order.

    A query that stands twice is a fault, since JSON readers would silently drop the first.
    """
    content = "".join(line for _, line in read_lines(path, log))
    if log.count:
        return
    log.unit = "entry"
    try:
        queries = json.loads(content, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        log.add(None, f"is not valid JSON ({error}): {_SHAPE}")
        return
    if not isinstance(queries, _Object):
        log.add(None, f"holds {shown(queries)} at the top: {_SHAPE}")
        return
    yield from _entries(queries, log)


def _entries(queries: _Object, log: FileLog) -> Iterator[tuple[int, str, str, object]]:
    number = 0
    seen: set[str] = set()
    for query_id, documents in queries:
        if not isinstance(documents, _Object):
            log.add(number + 1, f"query {shown(query_id)} has {shown(documents)}: {_SHAPE}")
            continue
        if query_id in seen:
            log.add(number + 1, f"query {shown(query_id)} stands twice: put its documents into one object")
        seen.add(query_id)
        for doc_id, value in documents:
            number += 1
            yield number, query_id, doc_id, value
