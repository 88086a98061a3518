"""The first stage's ranked documents as arrays; run files in and out.

Run files are the only place where ranked lists leave the arrays. Reading: documents stand in order of score,
best first; equal scores keep the file's rank column, then the order of its lines. (trec_eval ignores the rank
and breaks ties by document id, descending, which says nothing about the system that made the run.)
`run_order` says what happens where there are no scores, or ranks that contradict them. Writing, in `exports`:
scores strictly decrease, so that every tool reads back exactly the order that was written.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding, examples, noticed, of_ids, shown
from rerankbench.collections.collection import Collection
from rerankbench.collections.exports import write_qrels, write_trec
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import first_of_pair
from rerankbench.collections.reading.layout import LACKING, RUN, Layout
from rerankbench.collections.reading.lost_zeros import lost_zeros, none_known
from rerankbench.collections.reading.nested import read_pairs
from rerankbench.collections.reading.records import checked_id
from rerankbench.collections.reading.rows import is_unnamed, new_log, swap_cure
from rerankbench.collections.reading.swapped import swapped
from rerankbench.collections.run_order import Listed, OrderBy, Ordered, ordered
from rerankbench.collections.sources.source import file_problem

__all__ = ["Candidates", "read_trec", "write_qrels", "write_trec"]

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
_NO_RANK = np.iinfo(np.int64).min
_TAGS = 4  # so many are named
_LARGEST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, eq=False, repr=False)
class Candidates:
    """Ranked documents of each query of a collection, best first.

    rows: [queries, depth] row numbers in the corpus, -1 behind the end of a list.
    scores: [queries, depth] first-stage scores, never increasing, -inf behind the end.
    notes: one plain line for each thing counted on reading; `findings` are the same, structured.
    index: how an approximate index did, for instance `recall_at_100` against exact search.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    index: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            shapes = f"rows {self.rows.shape} and scores {self.scores.shape}"
            raise ValueError(f"{shapes} must be the same [Q, depth]")

    def __repr__(self) -> str:
        queries, depth = self.rows.shape
        return f"<Candidates of {queries:,} queries, at most {depth:,} of each>"

    def with_findings(self, findings: Sequence[Finding]) -> Candidates:
        """The same with more to say about them."""
        notes = (*self.notes, *(finding.line() for finding in findings))
        return replace(self, notes=notes, findings=(*self.findings, *findings))

    def lengths(self) -> NDArray[np.int64]:
        """How many documents each query has: [queries]."""
        return (self.rows >= 0).sum(axis=1)


@dataclass(frozen=True)
class _Entries:
    """A run file as it stands: parallel arrays, one element per ranked document."""

    queries: pa.Array
    documents: pa.Array
    scores: NDArray[np.float64]  # NaN: none
    ranks: NDArray[np.int64]  # _NO_RANK: none
    numbers: NDArray[np.int64]
    tags: tuple[str, ...] = ()  # of all systems in the file, a few at most

    def __len__(self) -> int:
        return len(self.scores)

    def listed(self, unnamed: bool) -> Listed:
        """What decides the order; a rank that is the same everywhere says nothing."""
        ranks = self.ranks if len(self) and (self.ranks != _NO_RANK).all() else None
        return Listed(self.queries, self.scores, ranks, unnamed)

    def keep(self, mask: NDArray[np.bool_]) -> _Entries:
        chosen = pa.array(mask)
        kept = (self.scores[mask], self.ranks[mask], self.numbers[mask])
        return _Entries(self.queries.filter(chosen), self.documents.filter(chosen), *kept, self.tags)


def read_trec(
    path: Path,
    collection: Collection,
    depth: int,
    layout: Layout = RUN,
    order_by: OrderBy | None = None,
) -> Candidates:
    """Read a run of any system, best `depth` documents of each query.

    Formats: .json (see `sources.nested`), .parquet, .csv and .tsv, .jsonl; any other extension is TREC's six
    columns; `.gz` may follow. layout: what the columns are called. order_by: what orders the documents, None
    as far as the file leaves no doubt.

    Entries of queries that the collection does not judge, and of documents that it does not have, are left
    out and noted; so are documents with the query's own id where the collection asks for that. Raises
    UserError with every fault, or if nothing matches.
    """
    if problem := file_problem(path, "first_stage.path"):
        raise UserError(problem)
    entries, order = _ordered_entries(path, collection, layout, order_by)
    query = _match_queries(entries, collection, path)
    if order.problem:
        raise UserError(f"{path}: {order.problem}")
    findings = [*order.findings, *_tag_findings(entries), *_query_findings(entries, query, collection)]
    entries, query = entries.keep(query >= 0), query[query >= 0]
    rows = collection.corpus.rows(pa.chunked_array([entries.documents]))
    findings += _document_findings(entries, rows, collection, path)
    known = rows >= 0
    if collection.drop_same_id:
        own = collection.corpus.rows(collection.query_ids)
        same = known & (rows == own[query])
        what, effect = "candidates with the id of their query", "removed, drop_same_id is set"
        findings.append(Finding("info", what, int(same.sum()), (), effect))
        known &= ~same
    kept, query, rows = entries.keep(known), query[known], rows[known]
    if (kept.ranks == _NO_RANK).all():  # of judgements there are none
        findings += _grades_finding(kept.scores, query, rows, collection)
    return _ranked(kept, query, rows, len(collection.query_ids), depth).with_findings(noticed(*findings))


def _ordered_entries(
    path: Path, collection: Collection, layout: Layout, order_by: OrderBy | None
) -> tuple[_Entries, Ordered]:
    """The entries with values that order them. Raises UserError with every fault of the file."""
    log = new_log(path)
    entries = _read_entries(path, layout, log)
    _log_gaps("score", np.isnan(entries.scores), entries, log)
    _log_gaps("rank", entries.ranks == _NO_RANK, entries, log)
    _log_duplicates(entries, log)
    if log.count:
        raise UserError(log.problems())
    _refuse_swapped(entries, collection, path, layout)
    order = ordered(entries.listed(is_unnamed(path, layout)), order_by)
    return replace(entries, scores=order.values), order


def _ranked(
    entries: _Entries, query: NDArray[np.int64], rows: NDArray[np.int64], queries: int, depth: int
) -> Candidates:
    order = np.lexsort((entries.ranks, -entries.scores, query))  # stable: the order of lines comes last
    counts = np.bincount(query)
    position = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    order, position = order[position < depth], position[position < depth]
    width = min(depth, int(counts.max(initial=0)))
    ranked_rows = np.full((queries, width), -1, np.int64)
    ranked_scores = np.full((queries, width), -np.inf, np.float32)
    ranked_rows[query[order], position] = rows[order]
    ranked_scores[query[order], position] = entries.scores[order]
    return Candidates(ranked_rows, ranked_scores)


def _read_entries(path: Path, layout: Layout, log: FileLog) -> _Entries:
    query_ids: list[str] = []
    doc_ids: list[str] = []
    scores, ranks, numbers = array("d"), array("q"), array("q")
    tags: dict[object, None] = {}
    for number, (query, document, score, rank, tag) in read_pairs(path, layout, log):
        query_id = checked_id(query, "query id", number, log)
        doc_id = checked_id(document, "document id", number, log)
        value = _score(score, number, log)
        place = _rank(rank, number, log)
        if query_id is not None and doc_id is not None and value is not None and place is not None:
            query_ids.append(query_id)
            doc_ids.append(doc_id)
            scores.append(value)
            ranks.append(place)
            numbers.append(number)
            if tag is not None and len(tags) < _TAGS:
                tags[tag] = None
    queries, documents = (pa.array(values, pa.large_string()) for values in (query_ids, doc_ids))
    columns = (np.array(scores), np.array(ranks), np.array(numbers))
    return _Entries(queries, documents, *columns, tuple(map(str, tags)))


def _score(value: object, number: int, log: FileLog) -> float | None:
    """A finite number that single precision holds, NaN for none; None, and a fault, for anything else."""
    if value is LACKING:
        return math.nan
    value = value.strip() if isinstance(value, str) else value
    numeric = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not numeric and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        comma = ", with a point for decimals" if isinstance(value, str) and _COMMA.fullmatch(value) else ""
        log.add(number, f"the score is {shown(value)}: it must be a finite number{comma}")
        return None
    score = float(value)  # type: ignore[arg-type]
    if not math.isfinite(score) or abs(score) > _LARGEST:
        log.add(number, f"the score is {shown(value)}: it must be a finite number in single precision")
        return None
    return score


def _rank(value: object, number: int, log: FileLog) -> int | None:
    if value is None:
        return _NO_RANK
    text = str(value).strip()
    if not _WHOLE.fullmatch(text):
        log.add(number, f"the rank is {shown(value)}: it must be a whole number")
        return None
    return int(text.partition(".")[0])


def _log_gaps(what: str, lacks: NDArray[np.bool_], entries: _Entries, log: FileLog) -> None:
    """Scores or ranks that some entries have and others lack order nothing."""
    if not lacks.all():
        problem = f"lacks the {what} that others have: give it to each"
        log.add_all(entries.numbers[lacks].tolist(), lambda number: (number, problem))


def _log_duplicates(entries: _Entries, log: FileLog) -> None:
    first_of = first_of_pair(entries.queries, entries.documents)
    several = len(entries.tags) > 1
    tags = ", ".join(examples(entries.tags))
    cure = f"the file holds runs of several systems ({tags}), keep one" if several else "remove one"

    def describe(row: int) -> tuple[int, str]:
        query_id, doc_id = shown(entries.queries[row].as_py()), shown(entries.documents[row].as_py())
        before = f"{log.unit} {entries.numbers[first_of[row]]}"
        problem = f"query {query_id} has document {doc_id} twice, first in {before}: {cure}"
        return int(entries.numbers[row]), problem

    log.add_all(np.flatnonzero(first_of != np.arange(len(entries))).tolist(), describe)


def _refuse_swapped(entries: _Entries, collection: Collection, path: Path, layout: Layout) -> None:
    known = pa.array(collection.query_ids, pa.large_string())
    if swapped(entries.queries, entries.documents, known, collection.corpus.id_column):
        raise UserError(f"{path}: its query and document columns are swapped; {swap_cure(path, layout)}")


def _match_queries(entries: _Entries, collection: Collection, path: Path) -> NDArray[np.int64]:
    """The query number of each entry, -1 for queries that the collection does not have."""
    known = pa.array(collection.query_ids, pa.large_string())
    query = pc.index_in(entries.queries, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
    if not (query >= 0).any():
        where = f"{collection.name}, split {collection.split}"
        otherwise = "is the run of another collection or split?"
        told = none_known(entries.queries, "query", pa.chunked_array([known]), where, otherwise)
        raise UserError(f"{path}: {told}")
    return query


def _grades_finding(
    scores: NDArray[np.float64], query: NDArray[np.int64], rows: NDArray[np.int64], collection: Collection
) -> list[Finding]:
    """About a run that is the judgements themselves: judged pairs alone, each with its grade as the score."""
    if not 0 < len(scores) <= len(collection.judged_grade):
        return []
    judged = zip(collection.judged_query.tolist(), collection.judged_row.tolist(), strict=True)
    grade_of = dict(zip(judged, collection.judged_grade.tolist(), strict=True))
    pairs = zip(query.tolist(), rows.tolist(), strict=True)
    if any(grade_of.get(p) != s for p, s in zip(pairs, scores.tolist(), strict=True)):
        return []
    what = "ranked documents, all judged and scored by their grades"
    effect = "the file seems to be the judgements; figures of a first stage need its run"
    return [Finding("warning", what, len(scores), (), effect)]


def _tag_findings(entries: _Entries) -> list[Finding]:
    if len(entries.tags) < 2:
        return []
    effect = "taken together as one run; split the file if they are several systems' runs"
    return [of_ids("warning", "tags in one run", entries.tags, effect)]


def _query_findings(entries: _Entries, query: NDArray[np.int64], collection: Collection) -> list[Finding]:
    stray = entries.queries.filter(pa.array(query < 0)).unique()
    without = np.setdiff1d(np.arange(len(collection.query_ids)), query)
    silent = [collection.query_ids[number] for number in without.tolist()]
    effect = "they count 0 in every mean"
    known = pa.chunked_array([pa.array(collection.query_ids, pa.large_string())])
    return [
        of_ids("info", "queries of the run that this split does not judge", stray, "left out"),
        of_ids("warning", "judged queries for which the run has nothing", silent, effect),
        *lost_zeros(stray, known, "query ids of the run"),
    ]


def _document_findings(
    entries: _Entries, rows: NDArray[np.int64], collection: Collection, path: Path
) -> list[Finding]:
    unknown = entries.documents.filter(pa.array(rows < 0)).unique()
    ids = collection.corpus.id_column
    if len(unknown) and (rows < 0).all():
        otherwise = "is the run of another collection, or did the ids lose zeros?"
        told = none_known(unknown, "document", ids, f"the corpus of {collection.name}", otherwise)
        raise UserError(f"{path}: {told}")
    effect = "left out, the documents below them move up: there is no text to rerank"
    return [
        of_ids("warning", "documents of the run that the corpus does not have", unknown, effect),
        *lost_zeros(unknown, ids, "document ids of the run"),
    ]
