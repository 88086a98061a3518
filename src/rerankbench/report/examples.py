"""Why: the queries that an arm helped and hurt most, with texts, ranks before and after, and grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench import ranking
from rerankbench.report.arms import Arm, Contest
from rerankbench.report.comparison import gains_of
from rerankbench.report.runs import SCORES, TEXTS

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
    """The largest gains and losses of an arm against its first stage, as far as their texts were kept."""
    arm = contest.arms[row]
    folder = arm.run.folder
    if not arm.reranks or not (folder / SCORES).is_file() or not (folder / TEXTS).is_file():
        return [], []
    queries, documents = read_texts(folder)
    gain, after = gains_of(contest)[row], contest.compared[row]
    known = [i for i, query_id in enumerate(contest.query_ids) if query_id in queries]
    rising = [i for i in sorted(known, key=lambda i: -gain[i]) if gain[i] > 1e-9][:SHOWN]
    falling = [i for i in sorted(known, key=lambda i: gain[i]) if gain[i] < -1e-9][:SHOWN]
    wanted = [contest.query_ids[i] for i in (*rising, *falling)]
    found = read_candidates(folder, wanted, arm)

    def example(i: int) -> Example:
        query_id = contest.query_ids[i]
        shown = listed(found[query_id], arm.depth, documents)
        return Example(query_id, queries[query_id], float(after[i] - gain[i]), float(after[i]), shown)

    return [example(i) for i in rising], [example(i) for i in falling]


def read_texts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Texts by query_id, and by doc_id."""
    table = pq.read_table(folder / TEXTS).to_pydict()
    kept: dict[str, dict[str, str]] = {"query": {}, "document": {}}
    for kind, key, text in zip(table["kind"], table["id"], table["text"], strict=True):
        kept[kind][key] = text
    return kept["query"], kept["document"]


def read_candidates(folder: Path, query_ids: Sequence[str], arm: Arm) -> dict[str, Candidates]:
    """The candidates of some queries, with the scores of the arm's layer."""
    column = "score" if arm.layer is None else f"score_{arm.layer}"
    names = ["query_id", "doc_id", "rank", "relevance", column]
    table = pq.read_table(folder / SCORES, columns=names)
    found = {}
    for query_id in query_ids:
        rows = table.filter(pc.equal(table["query_id"], query_id)).sort_by("rank")
        scores = rows[column].to_numpy(zero_copy_only=False).astype(np.float32)
        found[query_id] = Candidates(rows["doc_id"].to_pylist(), rows["relevance"].to_pylist(), scores)
    return found


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
