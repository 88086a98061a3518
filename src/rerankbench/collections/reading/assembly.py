"""From what a source has read to a collection: match ids, leave out what is not judged, count all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding
from rerankbench.collections.collection import Collection, Corpus
from rerankbench.collections.reading import counts
from rerankbench.collections.reading.conversion import Stored
from rerankbench.collections.reading.file_log import FileLog
from rerankbench.collections.reading.judgements import Judgements
from rerankbench.collections.reading.lost_zeros import none_known
from rerankbench.collections.reading.swapped import BY_HAND, exchanged, far_exchanged, swapped, the_same


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a source read: tables with `doc_id`, `title`, `text` (queries too), and judgements.

    judgements: None where the source has none.

    logs: of the corpus, the queries and the judgements: where each came from, and its faults; what is at
    fault is left out of the tables.
    swap_cure: what to do if the judgements' columns turn out to be the wrong way round.
    exchange_cure: what to do if the corpus and the queries turn out to be in each other's place.
    """

    documents: Stored
    queries: pa.Table
    judgements: Judgements | None
    logs: Sequence[FileLog]
    findings: tuple[Finding, ...] = ()
    swap_cure: str = BY_HAND
    exchange_cure: str = "give each in the other's place"

    @property
    def places(self) -> list[str]:
        """Where the corpus, the queries and, if there are any, the judgements came from, for messages."""
        return [str(log.path) for log in self.logs]

    @property
    def problems(self) -> list[str]:
        """One line for each fault."""
        return [problem for log in dict.fromkeys(self.logs) for problem in log.problems()]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a collection that decide what becomes of its parts.

    name: what reports call it (null: the folder's or dataset's own name).
    relevance_threshold: the lowest grade that counts as relevant for recall, MRR and success.
    drop_same_id: remove a candidate whose id is the query's (ArguAna).
    join_titles: put a document's title in front of its text. title_separator: what stands between them.
    limit_queries: keep only the first judged queries, for a quick look.
    sample_docs: keep a random sample of so many documents, always with the judged ones, for a quick look.
    sample_seed: the seed of that sample.
    """

    name: str | None = None
    relevance_threshold: int = 1
    drop_same_id: bool = False
    join_titles: bool = True
    title_separator: str = " "
    limit_queries: int | None = None
    sample_docs: int | None = None
    sample_seed: int = 0


@dataclass(frozen=True)
class _Matched:
    """Judgements of known queries, sorted by the query's number in its file; row -1: not in the corpus."""

    query: NDArray[np.int32]
    row: NDArray[np.int64]
    grade: NDArray[np.int32]
    doc_ids: pa.Array

    def among(self, kept: NDArray[np.int64]) -> _Matched:
        """Those of some queries, which are numbered from 0 again."""
        mask = np.isin(self.query, kept)
        query = np.searchsorted(kept, self.query[mask]).astype(np.int32)
        return _Matched(query, self.row[mask], self.grade[mask], self.doc_ids.filter(pa.array(mask)))

    def missing(self) -> pa.Array:
        """The doc_id of every judgement without a row, in order."""
        return self.doc_ids.filter(pa.array(self.row < 0))


def assemble(parts: Parts, options: Options, name: str, split: str = "test") -> Collection:
    """Build the collection: of the judged queries, or of all of them where nobody has judged any.

    Raises UserError if nothing could be measured on it, or found in it.
    """
    _refuse_empty(parts)
    corpus = Corpus(
        parts.documents.table,
        join_titles=options.join_titles,
        title_separator=options.title_separator,
        release=parts.documents.release,
    )
    every, wanted = _judged(parts, corpus, options)
    kept = wanted[: options.limit_queries]
    matched = every.among(kept)
    queries = parts.queries.take(pa.array(kept))
    query_ids, texts = queries.column("doc_id").to_pylist(), queries.column("text").to_pylist()
    sample, rows, sampled = _sample(corpus, matched.row, options)
    findings = [
        *parts.findings,
        *_judged_findings(parts, corpus, matched, len(wanted) - len(kept), options),
        *counts.text_findings(query_ids, texts),
        *sampled,
    ]
    return Collection(
        name=name,
        split=split,
        corpus=sample,
        query_ids=query_ids,
        query_texts=texts,
        judged_query=matched.query,
        judged_row=rows,
        judged_grade=matched.grade,
        relevance_threshold=options.relevance_threshold,
        drop_same_id=options.drop_same_id,
        notes=tuple(finding.line() for finding in findings),
        reduced=len(kept) < len(wanted) or len(sample) < len(corpus),
        missing_ids=tuple(matched.missing().to_pylist()),
        findings=tuple(findings),
    )


def _judged(parts: Parts, corpus: Corpus, options: Options) -> tuple[_Matched, NDArray[np.int64]]:
    """The judgements that count, and the numbers of the queries that are asked."""
    if parts.judgements is None:
        _refuse_the_same(parts, options)
        none = pa.array([], pa.string())
        nothing = _Matched(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), none)
        return nothing, np.arange(len(parts.queries))
    matched = _match(parts, parts.judgements, corpus)
    _refuse_unmeasurable(parts, corpus, matched, options)
    return matched, np.unique(matched.query)


def _judged_findings(
    parts: Parts, corpus: Corpus, matched: _Matched, left_out: int, options: Options
) -> list[Finding]:
    """About the judgements of the queries that are asked, or about what can be told without any."""
    if parts.judgements is None:
        return _unjudged_findings(parts)
    return [
        *parts.judgements.findings,
        *counts.query_findings(parts.queries.column("doc_id"), parts.judgements.query_ids, left_out),
        *counts.document_findings(matched.missing().unique(), corpus.id_column),
        *counts.grade_findings(matched.query, matched.grade, options.relevance_threshold),
        *counts.exchange_findings(matched.doc_ids, matched.grade),
    ]


def _refuse_empty(parts: Parts) -> None:
    held = [(len(parts.documents.table), "document"), (len(parts.queries), "query")]
    held += [] if parts.judgements is None else [(len(parts.judgements), "judgement")]
    empty = [(place, what) for place, (size, what) in zip(parts.places, held, strict=False) if not size]
    if empty:
        raise UserError([f"{place}: holds no {what}: check the file and the split" for place, what in empty])


def _refuse_the_same(parts: Parts, options: Options) -> None:
    """Refuse queries that are the documents, unless each asks for others than itself."""
    if the_same(parts.documents.table, parts.queries) and not options.drop_same_id:
        corpus, queries, *_ = parts.places
        what = "the queries are the documents, by their ids and texts, so each one finds itself"
        cure = "give the queries, or set dataset.drop_same_id=true to look for documents like each one"
        raise UserError(f"{queries}: {what}{f', as in {corpus}' * (corpus != queries)}; {cure}")


def _match(parts: Parts, judgements: Judgements, corpus: Corpus) -> _Matched:
    """Find the query and the document of every judgement. Raises UserError if no query is known."""
    known_ids = parts.queries.column("doc_id")
    if swapped(judgements.query_ids, judgements.doc_ids, known_ids.combine_chunks(), corpus.id_column):
        raise UserError(_turned(parts))
    query = pc.index_in(judgements.query_ids, value_set=known_ids).fill_null(-1).to_numpy().astype(np.int32)
    if not (query >= 0).any():
        _, queries, place = parts.places
        check = "check the split, the columns and lost zeros"
        raise UserError(f"{place}: {none_known(judgements.query_ids, 'query', known_ids, queries, check)}")
    row = corpus.rows(pa.chunked_array([judgements.doc_ids]))
    order = np.argsort(query, kind="stable")
    order = order[query[order] >= 0]
    doc_ids = judgements.doc_ids.take(pa.array(order))
    return _Matched(query[order], row[order], judgements.grades[order], doc_ids)


def _turned(parts: Parts) -> str:
    """What is the wrong way round where ids match only so: the judgements' columns, or corpus and queries."""
    corpus, queries, judgements = parts.places
    columns = f"{judgements}: its query and document columns are swapped; {parts.swap_cure}"
    files = f"{corpus} holds the queries and {queries} the documents"
    match exchanged(parts.documents.table, parts.queries):
        case True:
            ids = f"so the ids of {judgements} say"
            return f"{files}, {ids}: corpus and queries are exchanged; {parts.exchange_cure}"
        case False:
            return columns
    return f"{columns}; if {files}, {parts.exchange_cure}"


def _unjudged_findings(parts: Parts) -> list[Finding]:
    """About queries that are documents, or look like them; without judgements no id tells."""
    documents, queries = parts.documents.table, parts.queries
    if the_same(documents, queries):
        effect = "each one searches for documents like itself; drop_same_id keeps it out of its own list"
        return [Finding("warning", "queries that are the documents themselves", len(queries), (), effect)]
    if not far_exchanged(documents, queries):
        return []
    effect = f"if corpus and queries are exchanged, {parts.exchange_cure}"
    what = f"queries that are longer than documents, of which there are {len(documents):,}"
    return [Finding("warning", what, len(queries), (), effect)]


def _refuse_unmeasurable(parts: Parts, corpus: Corpus, matched: _Matched, options: Options) -> None:
    where, _, place = parts.places
    if (matched.row < 0).all():
        check = "check the files, the columns and lost zeros"
        told = none_known(matched.doc_ids, "document", corpus.id_column, where, check)
        raise UserError(f"{place}: {told}")
    highest = int(matched.grade.max())
    if highest < options.relevance_threshold:
        lower = f"set dataset.relevance_threshold={highest}, or " if highest > 0 else ""
        raise UserError(
            f"{place}: no judgement is positive: the highest grade is {highest}, "
            f"dataset.relevance_threshold={options.relevance_threshold}; {lower}check the grades"
        )


def _sample(
    corpus: Corpus, rows: NDArray[np.int64], options: Options
) -> tuple[Corpus, NDArray[np.int64], list[Finding]]:
    """Reduce the corpus to sample_docs documents: the judged ones, then others drawn by the seed."""
    if options.sample_docs is None or options.sample_docs >= len(corpus):
        return corpus, rows, []
    judged = np.unique(rows[rows >= 0])
    others = np.delete(np.arange(len(corpus)), judged)
    drawn = np.random.default_rng(options.sample_seed).permutation(others)
    kept = np.sort(np.concatenate([judged, drawn[: max(0, options.sample_docs - len(judged))]]))
    moved = np.where(rows >= 0, np.searchsorted(kept, rows), -1).astype(np.int64)
    return corpus.select(kept), moved, counts.sample_findings(len(kept), len(judged), len(corpus))
