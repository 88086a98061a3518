"""Why: the queries that an arm helped and hurt most, with texts, ranks before and after, and grades."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics import typed_json, typed_parquet
from rerankbench.basics.typed_parquet import NUMBER, TEXT, WHOLE
from rerankbench.evaluation import ranking
from rerankbench.report.arms.arms import Arm, Contest
from rerankbench.report.arms.runs import SCORES, TEXTS, Run, refuse_nulls, telling
from rerankbench.report.claims.comparison import gains_of

SHOWN = 8  # gains, and as many losses
TOP = 5  # documents shown after reranking, and as many before
LONGEST = 400


@dataclass(frozen=True)
class Document:
    """One document of an example: ranks from 1, `relevance` None where nobody judged it."""

    doc_id: str
    before: int
    after: int
    relevance: int | None
    text: str


@dataclass(frozen=True)
class Example:
    """One query: its measure before and after, and its documents in reranked order."""

    query_id: str
    query: str
    before: float
    after: float
    documents: tuple[Document, ...]

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Candidates:
    """One query's candidates in first-stage order: ids, grades (None: unjudged) and the arm's scores."""

    doc_ids: list[str]
    grades: list[int | None]
    scores: NDArray[np.float32]


def examples(contest: Contest, row: int) -> tuple[list[Example], list[Example]]:
    """The largest gains and losses of an arm against its first stage, as far as their texts were kept.

    Raises UserError where the files that say so are damaged.
    """
    arm = contest.arms[row]
    folder = arm.run.folder
    if not arm.reranks or not os.path.lexists(folder / SCORES) or not os.path.lexists(folder / TEXTS):
        return [], []
    queries, documents = read_texts(arm.run)
    gain, after = gains_of(contest)[row], contest.compared[row]
    known = [i for i, query_id in enumerate(contest.query_ids) if query_id in queries]
    rising = [i for i in sorted(known, key=lambda i: -gain[i]) if gain[i] > 1e-9][:SHOWN]
    falling = [i for i in sorted(known, key=lambda i: gain[i]) if gain[i] < -1e-9][:SHOWN]
    wanted = [contest.query_ids[i] for i in (*rising, *falling)]
    found = read_candidates(wanted, arm)

    def example(i: int) -> Example:
        query_id = contest.query_ids[i]
        shown = listed(found[query_id], arm.depth, documents)
        return Example(
            query_id, clipped(queries[query_id]), float(after[i] - gain[i]), float(after[i]), shown
        )

    return [example(i) for i in rising], [example(i) for i in falling]


def read_texts(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Texts by query_id, and by doc_id."""
    kept: dict[str, dict[str, str]] = {"query": {}, "document": {}}
    with telling(run, TEXTS):
        table = typed_parquet.read(run.folder / TEXTS, lambda _: dict.fromkeys(("kind", "id", "text"), TEXT))
        refuse_nulls(table, table.column_names)
        columns = [table[name].to_pylist() for name in ("kind", "id", "text")]
        for kind, key, text in zip(*columns, strict=True):
            if kind not in kept:
                raise ValueError(f"its column kind should be query or document, not {typed_json.shown(kind)}")
            kept[kind][key] = text
    return kept["query"], kept["document"]


def read_candidates(query_ids: Sequence[str], arm: Arm) -> dict[str, Candidates]:
    """The candidates of some queries, with the scores of the arm's layer."""
    column = "score" if arm.layer is None else f"score_{arm.layer}"
    kinds = {"query_id": TEXT, "doc_id": TEXT, "rank": WHOLE, "relevance": WHOLE, column: NUMBER}
    wanted = pa.array(query_ids, pa.string())

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        ids = batch.column("query_id").cast(pa.string())
        return batch.filter(pc.is_in(ids, value_set=wanted))

    with telling(arm.run, SCORES):
        table = typed_parquet.read(arm.run.folder / SCORES, lambda _: kinds, keep)
        refuse_nulls(table, ["query_id", "doc_id", "rank"])
        return {query_id: candidates_of(query_id, table, column, arm.depth) for query_id in query_ids}


def candidates_of(query_id: str, table: pa.Table, column: str, depth: int) -> Candidates:
    """One query's rows of the table. Raises ValueError where they are no ranked list."""
    rows = table.filter(pc.equal(table["query_id"], query_id)).sort_by("rank")
    told = typed_json.shown(query_id)
    if not len(rows) or rows["rank"].to_pylist() != list(range(1, len(rows) + 1)):
        raise ValueError(f"the ranks of query {told} should be 1, 2, ... without a gap")
    if len(rows["doc_id"].unique()) < len(rows):
        raise ValueError(f"a document is there twice for query {told}")
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        scores = rows[column].to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(scores[:depth]).all():
        raise ValueError(f"its column {column} lacks scores of query {told} down to depth {depth}")
    return Candidates(rows["doc_id"].to_pylist(), rows["relevance"].to_pylist(), scores)


def listed(candidates: Candidates, depth: int, texts: Mapping[str, str]) -> tuple[Document, ...]:
    """The first documents after reranking, and those that were first before, in reranked order."""
    order = ranking.rerank(candidates.scores[None], depth)[0]
    rank_after = np.argsort(order) + 1
    kept = [int(place) for place in order if rank_after[place] <= TOP or place < TOP]
    return tuple(
        Document(
            doc_id=candidates.doc_ids[place],
            before=place + 1,
            after=int(rank_after[place]),
            relevance=candidates.grades[place],
            text=clipped(texts.get(candidates.doc_ids[place], "")),
        )
        for place in kept
    )


def clipped(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
