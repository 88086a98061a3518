"""Ranked lists and judgements as files that trec_eval, ir_measures, ranx and PyTerrier read back exactly.

The rule for scores: single-precision numbers, strictly decreasing along each list. trec_eval ignores the rank
column, keeps scores in single precision and orders equal ones by document id, so two documents with one score
could change places there. A score that is not below its predecessor is therefore lowered to the next number
below it; distinct decreasing scores are written as they are, with all their digits.

The rule for ids: TREC files are split on white space, so a file whose ids hold any (or that would start with
a byte order mark) is written as JSON instead, {query: {document: number}}, under the same name with `.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.collection import Collection
from rerankbench.engine.store import disk

_QUERIES_AT_ONCE = 256  # keeps the ids that are in memory together few
_SMALLEST_STEP = np.float32(1e-30)  # above the denormal numbers, which some libraries flush to zero

Number = TypeVar("Number", int, float)
_Lists = Iterable[tuple[str, list[str], list[Number]]]


def write_trec(
    path: Path,
    collection: Collection,
    rows: NDArray[np.int64],
    scores: NDArray[np.floating] | None,
    tag: str,
) -> Path:
    """Write ranked lists as a TREC run; returns the path written, `.json` if the ids need it.

    rows: [queries, depth] corpus rows, best first, -1 behind the end. scores: the same shape, or None for
    depth, depth - 1, ... Their order need not agree with the rows' (a tail that was not reranked may score on
    another scale): the rows' order is what is written. Raises ValueError for scores that are not finite.
    """
    ids = collection.corpus.ids(np.unique(rows[rows >= 0]))
    name = "_".join(tag.split()) or "rerankbench"
    lists = _ranked_lists(collection, rows, decreasing(rows, scores))
    if not _fit_for_trec([*collection.query_ids, *ids]):
        return _write(path.with_suffix(".json"), _json_lines(lists))
    return _write(path, _run_lines(lists, name))


def write_qrels(path: Path, collection: Collection) -> Path:
    """Write all judgements as TREC qrels, missing documents included; returns the path written."""
    ids = collection.judged_ids()
    lists = _judged_lists(collection, ids)
    if not _fit_for_trec([*collection.query_ids, *ids]):
        return _write(path.with_suffix(".json"), _json_lines(lists))
    lines = (
        f"{query_id} 0 {doc_id} {grade}\n"
        for query_id, doc_ids, grades in lists
        for doc_id, grade in zip(doc_ids, grades, strict=True)
    )
    return _write(path, lines)


def decreasing(rows: NDArray[np.int64], scores: NDArray[np.floating] | None) -> NDArray[np.float32]:
    """Scores [queries, depth] in single precision that strictly decrease along each list; see the module."""
    if scores is None:
        return np.broadcast_to(np.arange(rows.shape[1], 0, -1, dtype=np.float32), rows.shape)
    if not np.isfinite(scores[rows >= 0]).all():
        raise ValueError("scores of ranked documents must be finite")
    out = np.where(rows >= 0, scores, -np.inf).astype(np.float32)
    with np.errstate(over="ignore"):  # padding and overflow become -inf, and overflow is refused below
        for rank in range(1, out.shape[1]):
            before = out[:, rank - 1]
            below = np.minimum(np.nextafter(before, np.float32(-np.inf)), before - _SMALLEST_STEP)
            out[:, rank] = np.minimum(out[:, rank], below)
    if not np.isfinite(out[rows >= 0]).all():
        raise ValueError("scores of ranked documents must be within single precision")
    return out


def _fit_for_trec(ids: list[str]) -> bool:
    # str.split knows more white space than trec_eval does, and Python's tools split with it.
    return all(len(name.split()) == 1 and name == name.strip() for name in ids) and ids[0][0] != "\ufeff"


def _ranked_lists(
    collection: Collection, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> Iterator[tuple[str, list[str], list[float]]]:
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        block = rows[start : start + _QUERIES_AT_ONCE]
        ids = iter(collection.corpus.ids(block[block >= 0]))
        for offset, row in enumerate(block):
            ranked = row >= 0
            doc_ids = [next(ids) for _ in range(int(ranked.sum()))]
            yield collection.query_ids[start + offset], doc_ids, scores[start + offset][ranked].tolist()


def _judged_lists(collection: Collection, doc_ids: list[str]) -> Iterator[tuple[str, list[str], list[int]]]:
    ends = np.searchsorted(collection.judged_query, np.arange(len(collection.query_ids) + 1))
    for number, query_id in enumerate(collection.query_ids):
        judged = slice(int(ends[number]), int(ends[number + 1]))
        yield query_id, doc_ids[judged], collection.judged_grade[judged].tolist()


def _run_lines(lists: _Lists[float], tag: str) -> Iterator[str]:
    for query_id, doc_ids, scores in lists:
        for rank, (doc_id, score) in enumerate(zip(doc_ids, scores, strict=True), start=1):
            yield f"{query_id} Q0 {doc_id} {rank} {score!r} {tag}\n"


def _json_lines(lists: _Lists[Number]) -> Iterator[str]:
    """One JSON object, a query per line; queries with nothing are left out, as they are in TREC files."""
    opening = "{"
    for query_id, doc_ids, numbers in lists:
        if doc_ids:
            entry = json.dumps(dict(zip(doc_ids, numbers, strict=True)), ensure_ascii=False)
            yield f"{opening}{json.dumps(query_id, ensure_ascii=False)}: {entry}"
            opening = ",\n"
    yield "{}\n" if opening == "{" else "}\n"


def _write(path: Path, lines: Iterable[str]) -> Path:
    """Write beside the target and rename, so that no half-written file is ever taken for a whole one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        os.replace(temporary, path)
    except OSError as error:
        raise disk.named(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
