"""JSON files of runs and judgements: nested as by ranx and BEIR, tables, Elasticsearch's hits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from rerankbench.basics.finding import shown
from rerankbench.collections.reading.column_guess import unclear_problems
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.layout import Layout, Row
from rerankbench.collections.reading.lines import read_lines, suffix
from rerankbench.collections.reading.objects import in_columns, repeated_keys
from rerankbench.collections.reading.rows import read_rows

_SHAPE = 'the shape is {"query id": {"document id": number}}, or a list of objects with one column a key'
_PAIR = 2  # elements of [document id, number]
_LINES = "one object per line has the ending .jsonl"


class _Object(list[tuple[str, object]]):
    """A JSON object with its keys as written, repeated ones included."""


def read_pairs(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    """Yield (number, one value per role) of a run or of judgements; see `rows.read_rows` for other formats.

    A .json file holds {query: {document: number}}, a list of objects such as {"qid": .., "docno": ..,
    "score": ..}, a table such as {"qid": [..], "docno": [..], "score": [..]}, or {query: list}: of documents,
    the best first, of pairs [document, number], or of hits, each an object, perhaps inside Elasticsearch's
    whole answer. Entries are numbered from 1 through the file. A query that stands twice is a fault, since
    JSON readers would silently drop the first.
    """
    return _entries(path, layout, log) if suffix(path) == ".json" else read_rows(path, layout, log)


def _entries(path: Path, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    content = "".join(line for _, line in read_lines(path, log))
    if log.count:
        return
    log.unit = "entry"
    try:
        top = json.loads(content, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        log.add(None, f"is not valid JSON ({error}): {_SHAPE}; {_LINES}")
        return
    records = _records(top, layout)
    if records is not None:
        for problem in unclear_problems(list(dict(records[0])), layout) if records else ():
            log.add(None, problem)
        for number, item in enumerate(records, start=1):
            yield from _record(number, item, layout, log)
    elif isinstance(top, _Object):
        yield from _of_queries(top, layout, log)
    else:
        log.add(None, f"holds {shown(top)} at the top: {_SHAPE}")


def _records(top: object, layout: Layout) -> list[_Object] | None:
    """The records of a list of them, or of a table whose columns the layout knows; None for anything else."""
    if isinstance(top, _Object):
        if repeated_keys(top) or layout.missing([key for key, _ in top]):
            return None
        rows = in_columns({key: dict(of) if isinstance(of, _Object) else of for key, of in top})
        return None if rows is None else [_Object(row.items()) for row in rows]
    listed = isinstance(top, list) and all(isinstance(item, _Object) for item in top)
    return cast(list[_Object], top) if listed else None


def _of_queries(queries: _Object, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    number = 0
    seen: set[str] = set()
    for query_id, found in queries:
        documents = _hits(found)
        if not isinstance(documents, list) or not all(map(_is_listed, documents)):
            log.add(number + 1, f"query {shown(query_id)} has {shown(found)}: {_SHAPE}")
            continue
        if query_id in seen:
            log.add(number + 1, f"query {shown(query_id)} appears twice: put its documents into one object")
        seen.add(query_id)
        for place, document in enumerate(documents, start=1):
            number += 1
            if isinstance(document, _Object):
                of_query = _Object([*document, (layout.names["query"][0], query_id)])
                yield from _record(number, of_query, layout, log)
            elif isinstance(document, tuple | list):  # a document id and its number
                yield number, (query_id, *document, *(None for _ in layout.roles[3:]))
            else:
                yield number, _bare(query_id, document, place, layout)


def _is_listed(document: object) -> bool:
    """Whether something in a query's list is a hit, a document and its number, or a document's id."""
    if isinstance(document, list) and not isinstance(document, _Object):
        return len(document) == _PAIR
    return isinstance(document, tuple | _Object | str | int)


def _bare(query_id: str, document: object, place: int, layout: Layout) -> Row:
    """A document without a number: where documents are ranked, its place is its rank."""
    known = {"query": query_id, "document": document, "rank": place}
    roles = zip(layout.roles, layout.absent, strict=True)
    return tuple(known.get(role, none) for role, none in roles)


def _hits(found: object) -> object:
    """The list inside Elasticsearch's answer, {"took": .., "hits": {"hits": [..]}}; else what was found."""
    while isinstance(found, _Object) and isinstance(inner := dict(found).get("hits"), list):
        found = inner
    return found


def _record(number: int, pairs: _Object, layout: Layout, log: FileLog) -> Iterator[tuple[int, Row]]:
    record = dict(pairs)
    columns = layout.find(record)
    twice = repeated_keys(pairs) & set(columns.values()) - {layout.names["query"][0]}
    if set(layout.roles) - layout.dispensable(list(record)) - columns.keys():
        log.add(number, layout.missing(list(record))[0])
    elif twice:
        log.add(number, f"has {min(twice)!r} twice: keep one")
    else:
        absent = zip(layout.roles, layout.absent, strict=True)
        yield number, tuple(record[columns[role]] if role in columns else none for role, none in absent)
