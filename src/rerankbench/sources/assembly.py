"""From what a source has read to a collection: match ids, leave out what is not judged, count all of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.collection import Collection, Corpus
from rerankbench.errors import UserError
from rerankbench.finding import Finding, examples
from rerankbench.sources.judgements import Judgements
from rerankbench.sources.lost_zeros import lost_zeros


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a source read: tables with `doc_id`, `title`, `text` (queries too), judgements, and the faults.

    corpus_place, queries_place, judgements_place: where each came from, for messages.
    problems: one line for each fault; what is at fault is left out of the tables.
    """

    documents: pa.Table
    queries: pa.Table
    judgements: Judgements
    corpus_place: str
    queries_place: str
    judgements_place: str
    problems: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of `sources.source.Source` that decide what becomes of the parts; see there."""

    name: str
    split: str
    relevance_threshold: int
    drop_same_id: bool
    join_titles: bool
    title_separator: str
    limit_queries: int | None
    sample_docs: int | None
    sample_seed: int


@dataclass(frozen=True)
class _Selection:
    """The judged queries that are kept (numbers in the file), and the kept judgements, sorted by query.

    judged_query counts within `queries`; `judgements` are numbers in the file.
    """

    queries: NDArray[np.int64]
    judgements: NDArray[np.int64]
    judged_query: NDArray[np.int32]
    findings: tuple[Finding, ...]


def assemble(parts: Parts, options: Options) -> Collection:
    """Build the collection. Raises UserError if nothing could be measured on it."""
    _refuse_empty(parts)
    selection = _select(parts, options)
    corpus = Corpus(parts.documents, join_titles=options.join_titles, title_separator=options.title_separator)
    doc_ids = parts.judgements.doc_ids.take(pa.array(selection.judgements))
    grades = parts.judgements.grades[selection.judgements]
    rows = corpus.rows(pa.chunked_array([doc_ids]))
    _refuse_unmeasurable(parts, corpus, doc_ids, rows, grades, options)
    findings = [*parts.findings, *parts.judgements.findings, *selection.findings]
    findings += _judgement_findings(selection, doc_ids, rows, grades, options)
    missing = doc_ids.filter(pa.array(rows < 0)).unique()
    findings += lost_zeros(missing, parts.documents.column("doc_id"), "document ids of judgements")
    corpus, rows, sampled = _sample(corpus, rows, options)
    queries = parts.queries.take(pa.array(selection.queries))
    texts = queries.column("text").to_pylist()
    query_ids = queries.column("doc_id").to_pylist()
    findings += sampled + _empty_queries(query_ids, texts)
    return Collection(
        name=options.name,
        split=options.split,
        corpus=corpus,
        query_ids=query_ids,
        query_texts=texts,
        judged_query=selection.judged_query,
        judged_row=rows,
        judged_grade=grades,
        relevance_threshold=options.relevance_threshold,
        drop_same_id=options.drop_same_id,
        notes=tuple(finding.line() for finding in findings),
        reduced=options.limit_queries is not None or options.sample_docs is not None,
        missing_ids=tuple(doc_ids.filter(pa.array(rows < 0)).to_pylist()),
        findings=tuple(findings),
    )


def _refuse_empty(parts: Parts) -> None:
    counts = [
        (parts.corpus_place, len(parts.documents), "document"),
        (parts.queries_place, len(parts.queries), "query"),
        (parts.judgements_place, len(parts.judgements), "judgement"),
    ]
    problems = [
        f"{place}: holds no {what}: check the file and the split" for place, n, what in counts if not n
    ]
    if problems:
        raise UserError(problems)


def _select(parts: Parts, options: Options) -> _Selection:
    """Keep the queries that have judgements, at most limit_queries of them, and their judgements."""
    judgements = parts.judgements
    numbers = (
        pc.index_in(judgements.query_ids, value_set=parts.queries.column("doc_id")).fill_null(-1).to_numpy()
    )
    known = numbers >= 0
    if not known.any():
        ours = examples(parts.queries.column("doc_id").slice(0, 3).to_pylist())
        theirs = examples(judgements.query_ids.slice(0, 3).to_pylist())
        raise UserError(
            f"{parts.judgements_place}: none of its query ids ({', '.join(theirs)}) is in "
            f"{parts.queries_place} ({', '.join(ours)}): check the split, the columns and lost zeros"
        )
    judged = np.unique(numbers[known])
    kept = judged if options.limit_queries is None else judged[: options.limit_queries]
    renumbered = np.full(len(parts.queries), -1, np.int32)
    renumbered[kept] = np.arange(len(kept))
    judged_query = np.where(known, renumbered[numbers], -1)
    order = np.argsort(judged_query, kind="stable")
    order = order[judged_query[order] >= 0]
    findings = _query_findings(parts, numbers, judged, len(kept))
    return _Selection(kept.astype(np.int64), order, judged_query[order].astype(np.int32), findings)


def _query_findings(
    parts: Parts, numbers: NDArray[np.int32], judged: NDArray[np.int32], kept: int
) -> tuple[Finding, ...]:
    unjudged = np.setdiff1d(np.arange(len(parts.queries)), judged)
    stray = parts.judgements.query_ids.filter(pa.array(numbers < 0)).unique()
    found = [
        Finding(
            "info",
            "queries without judgements in this split",
            len(unjudged),
            examples(parts.queries.column("doc_id").take(pa.array(unjudged[:4])).to_pylist()),
            "left out, every mean is over the judged queries",
        ),
        Finding(
            "warning",
            "judged queries that the queries file does not have",
            len(stray),
            examples(stray.slice(0, 4).to_pylist()),
            "they cannot be asked and are left out of every mean",
        ),
        Finding(
            "warning",
            "judged queries left out by limit_queries",
            len(judged) - kept,
            (),
            "a quick look: figures are not those of the whole collection",
        ),
    ]
    known = parts.queries.column("doc_id")
    return (
        *(finding for finding in found if finding.count),
        *lost_zeros(stray, known, "query ids of judgements"),
    )


def _refuse_unmeasurable(
    parts: Parts,
    corpus: Corpus,
    doc_ids: pa.Array,
    rows: NDArray[np.int64],
    grades: NDArray[np.int32],
    options: Options,
) -> None:
    if (rows < 0).all():
        ours = examples(corpus.ids(np.arange(min(3, len(corpus)))))
        theirs = examples(doc_ids.slice(0, 3).to_pylist())
        raise UserError(
            f"{parts.judgements_place}: none of its document ids ({', '.join(theirs)}) is in "
            f"{parts.corpus_place} ({', '.join(ours)}): check the files, the columns and lost zeros"
        )
    if int(grades.max()) < options.relevance_threshold:
        raise UserError(
            f"{parts.judgements_place}: no judgement is positive: the highest grade is {grades.max()}, "
            f"dataset.relevance_threshold={options.relevance_threshold}; lower it or check the grades"
        )


def _judgement_findings(
    selection: _Selection,
    doc_ids: pa.Array,
    rows: NDArray[np.int64],
    grades: NDArray[np.int32],
    options: Options,
) -> list[Finding]:
    missing = doc_ids.filter(pa.array(rows < 0)).unique()
    positive = np.bincount(
        selection.judged_query,
        weights=grades >= options.relevance_threshold,
        minlength=len(selection.queries),
    )
    found = [
        Finding(
            "warning",
            "judged documents that the corpus does not have",
            len(missing),
            examples(missing.slice(0, 4).to_pylist()),
            "they cannot be found but stay in the ideal, which keeps recall and nDCG below 1",
        ),
        Finding(
            "info", "judgements below 0", int((grades < 0).sum()), (), "they gain nothing, as a grade of 0"
        ),
        Finding(
            "warning",
            f"judged queries without a document of grade {options.relevance_threshold} or more",
            int((positive == 0).sum()),
            (),
            "recall, MRR and success are 0 for them whatever the ranking",
        ),
    ]
    return [finding for finding in found if finding.count]


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
    finding = Finding(
        "warning",
        "documents left out by sample_docs",
        len(corpus) - len(kept),
        (),
        f"{len(kept):,} kept, all {len(judged):,} judged ones too; a smaller corpus makes figures higher",
    )
    moved = np.where(rows >= 0, np.searchsorted(kept, rows), -1)
    return corpus.select(kept), moved.astype(np.int64), [finding]


def _empty_queries(query_ids: list[str], texts: list[str]) -> list[Finding]:
    empty = [query_id for query_id, text in zip(query_ids, texts, strict=True) if not text.strip()]
    if not empty:
        return []
    return [
        Finding("warning", "judged queries without text", len(empty), examples(empty), "they ask for nothing")
    ]
