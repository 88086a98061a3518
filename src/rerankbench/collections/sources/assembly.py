"""From what a source has read to a collection: match ids, leave out what is not judged, count all of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding, examples
from rerankbench.collections.collection import Collection, Corpus
from rerankbench.collections.sources import counts
from rerankbench.collections.sources.exchanged import exchanged, far_exchanged
from rerankbench.collections.sources.judgements import Judgements
from rerankbench.collections.sources.lost_zeros import spelling_hint
from rerankbench.collections.sources.mapped import Stored
from rerankbench.collections.sources.swapped import BY_HAND, swapped


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a source read: tables with `doc_id`, `title`, `text` (queries too), judgements, and the faults.

    judgements: None where the source has none.

    corpus_place, queries_place, judgements_place: where each came from, for messages.
    problems: one line for each fault; what is at fault is left out of the tables.
    swap_cure: what to do if the judgements' columns turn out to be the wrong way round.
    exchange_cure: what to do if the corpus and the queries turn out to be in each other's place.
    """

    documents: Stored
    queries: pa.Table
    judgements: Judgements | None
    corpus_place: str
    queries_place: str
    judgements_place: str
    problems: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    swap_cure: str = BY_HAND
    exchange_cure: str = "give each in the other's place"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of `sources.source.Source` that decide what becomes of the parts; see there."""

    name: str
    split: str = "test"
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

    query: NDArray[np.int64]
    row: NDArray[np.int64]
    grade: NDArray[np.int32]
    doc_ids: pa.Array

    def keep(self, mask: NDArray[np.bool_]) -> _Matched:
        return _Matched(
            self.query[mask], self.row[mask], self.grade[mask], self.doc_ids.filter(pa.array(mask))
        )

    def missing(self) -> pa.Array:
        """The doc_id of every judgement without a row, in order."""
        return self.doc_ids.filter(pa.array(self.row < 0))


def assemble(parts: Parts, options: Options) -> Collection:
    """Build the collection. Raises UserError if nothing could be measured on it, though it has judgements."""
    _refuse_empty(parts)
    corpus = _corpus(parts, options)
    if parts.judgements is None:
        return _unjudged(parts, corpus, options)
    return _judged(parts, parts.judgements, corpus, options)


def _judged(parts: Parts, judgements: Judgements, corpus: Corpus, options: Options) -> Collection:
    """The judged queries."""
    matched = _match(parts, judgements, corpus)
    _refuse_unmeasurable(parts, corpus, matched, options)
    judged = np.unique(matched.query)
    kept = judged[: options.limit_queries]
    matched = matched.keep(np.isin(matched.query, kept))
    judged_query = np.searchsorted(kept, matched.query).astype(np.int32)
    queries = parts.queries.take(pa.array(kept))
    query_ids, texts = queries.column("doc_id").to_pylist(), queries.column("text").to_pylist()
    sample, rows, sampled = _sample(corpus, matched.row, options)
    findings = [
        *parts.findings,
        *judgements.findings,
        *counts.query_findings(parts.queries.column("doc_id"), judgements.query_ids, len(judged) - len(kept)),
        *counts.document_findings(matched.missing().unique(), corpus.id_column),
        *counts.grade_findings(judged_query, matched.grade, options.relevance_threshold),
        *counts.text_findings(query_ids, texts),
        *sampled,
    ]
    return Collection(
        name=options.name,
        split=options.split,
        corpus=sample,
        query_ids=query_ids,
        query_texts=texts,
        judged_query=judged_query,
        judged_row=rows,
        judged_grade=matched.grade,
        relevance_threshold=options.relevance_threshold,
        drop_same_id=options.drop_same_id,
        notes=tuple(finding.line() for finding in findings),
        reduced=len(kept) < len(judged) or len(sample) < len(corpus),
        missing_ids=tuple(matched.missing().to_pylist()),
        findings=tuple(findings),
    )


def _unjudged(parts: Parts, corpus: Corpus, options: Options) -> Collection:
    """All queries, as nobody has judged any."""
    queries = parts.queries.slice(0, options.limit_queries)
    query_ids, texts = queries.column("doc_id").to_pylist(), queries.column("text").to_pylist()
    sample, _, sampled = _sample(corpus, np.empty(0, np.int64), options)
    findings = [
        *parts.findings,
        *_exchange_findings(parts),
        *counts.text_findings(query_ids, texts),
        *sampled,
    ]
    return Collection(
        name=options.name,
        split=options.split,
        corpus=sample,
        query_ids=query_ids,
        query_texts=texts,
        judged_query=np.empty(0, np.int32),
        judged_row=np.empty(0, np.int64),
        judged_grade=np.empty(0, np.int32),
        relevance_threshold=options.relevance_threshold,
        drop_same_id=options.drop_same_id,
        notes=tuple(finding.line() for finding in findings),
        reduced=len(queries) < len(parts.queries) or len(sample) < len(corpus),
        findings=tuple(findings),
    )


def _corpus(parts: Parts, options: Options) -> Corpus:
    return Corpus(
        parts.documents.table,
        join_titles=options.join_titles,
        title_separator=options.title_separator,
        release=parts.documents.release,
    )


def _refuse_empty(parts: Parts) -> None:
    sizes = [
        (parts.corpus_place, len(parts.documents.table), "document"),
        (parts.queries_place, len(parts.queries), "query"),
    ]
    if parts.judgements is not None:
        sizes.append((parts.judgements_place, len(parts.judgements), "judgement"))
    empty = [(place, what) for place, size, what in sizes if not size]
    if empty:
        raise UserError([f"{place}: holds no {what}: check the file and the split" for place, what in empty])


def _match(parts: Parts, judgements: Judgements, corpus: Corpus) -> _Matched:
    """Find the query and the document of every judgement. Raises UserError if no query is known."""
    known_ids = parts.queries.column("doc_id")
    if swapped(judgements.query_ids, judgements.doc_ids, known_ids.combine_chunks(), corpus.id_column):
        raise UserError(_turned(parts))
    query = pc.index_in(judgements.query_ids, value_set=known_ids).fill_null(-1).to_numpy().astype(np.int64)
    if not (query >= 0).any():
        ours, theirs = _named(known_ids), _named(judgements.query_ids)
        hint = spelling_hint(judgements.query_ids.unique(), known_ids)
        raise UserError(
            f"{parts.judgements_place}: none of its query ids ({theirs}) is in "
            f"{parts.queries_place} ({ours}): "
            f"{hint or 'check the split, the columns and lost zeros'}"
        )
    row = corpus.rows(pa.chunked_array([judgements.doc_ids]))
    order = np.argsort(query, kind="stable")
    order = order[query[order] >= 0]
    doc_ids = judgements.doc_ids.take(pa.array(order))
    return _Matched(query[order], row[order], judgements.grades[order], doc_ids)


def _turned(parts: Parts) -> str:
    """What is the wrong way round where ids match only so: the judgements' columns, or corpus and queries."""
    columns = f"{parts.judgements_place}: its query and document columns are swapped; {parts.swap_cure}"
    files = f"{parts.corpus_place} holds the queries and {parts.queries_place} the documents"
    match exchanged(parts.documents.table, parts.queries):
        case True:
            ids = f"so the ids of {parts.judgements_place} say"
            return f"{files}, {ids}: corpus and queries are exchanged; {parts.exchange_cure}"
        case False:
            return columns
    return f"{columns}; if {files}, {parts.exchange_cure}"


def _exchange_findings(parts: Parts) -> list[Finding]:
    """About queries that look like documents; without judgements no id tells."""
    if not far_exchanged(parts.documents.table, parts.queries):
        return []
    effect = f"if corpus and queries are exchanged, {parts.exchange_cure}"
    what = f"queries that are longer than documents, of which there are {len(parts.documents.table):,}"
    return [Finding("warning", what, len(parts.queries), (), effect)]


def _refuse_unmeasurable(parts: Parts, corpus: Corpus, matched: _Matched, options: Options) -> None:
    if (matched.row < 0).all():
        ours, theirs = _named(corpus.id_column), _named(matched.doc_ids)
        hint = spelling_hint(matched.doc_ids.unique(), corpus.id_column)
        raise UserError(
            f"{parts.judgements_place}: none of its document ids ({theirs}) is in "
            f"{parts.corpus_place} ({ours}): "
            f"{hint or 'check the files, the columns and lost zeros'}"
        )
    highest = int(matched.grade.max())
    if highest < options.relevance_threshold:
        lower = f"set dataset.relevance_threshold={highest}, or " if highest > 0 else ""
        raise UserError(
            f"{parts.judgements_place}: no judgement is positive: the highest grade is {highest}, "
            f"dataset.relevance_threshold={options.relevance_threshold}; {lower}check the grades"
        )


def _named(ids: pa.Array | pa.ChunkedArray) -> str:
    return ", ".join(examples(ids.slice(0, 3).to_pylist()))


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
