"""How much arms differ, where nobody has judged: the overlap of their lists, and where it is least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.significance import Interval
from rerankbench.judging.forecast import left
from rerankbench.judging.lists import KEPT, Lists
from rerankbench.judging.overlap import interval, rank_biased_overlap
from rerankbench.judging.record import HIGHEST
from rerankbench.judging.reports.costs import ArmCost, costs
from rerankbench.judging.reports.told import Table, shared
from rerankbench.judging.texts import Texts
from rerankbench.judging.verdict import CUTOFF, state
from rerankbench.report.arms.runs import Run
from rerankbench.report.evidence.examples import clipped
from rerankbench.report.race.record import Record
from rerankbench.report.settings import Report
from rerankbench.report.wording import data_line

SHOWN_QUERIES, SHOWN_DOCUMENTS = 8, 4
HEADINGS = ("arm", "other", "overlap", "interval")
READ_WITH = (
    "Overlap is rank-biased overlap (Webber, Moffat and Zobel 2010) with persistence 0.9: 1 where two arms "
    "give the same list, 0 where they share nothing; the first ten ranks have most of the weight.",
    "It says how much arms differ, not which is better.",
)


@dataclass(frozen=True)
class Overlap:
    """Two arms, and the mean overlap of their lists."""

    arm: str
    other: str
    overlap: Interval


@dataclass(frozen=True)
class Document:
    """A document that arms disagree on; ranks: by arm, from 1, None where it is in no list."""

    doc_id: str
    text: str
    ranks: dict[str, int | None]

    @property
    def name(self) -> str:
        return self.text or self.doc_id

    @property
    def places(self) -> str:
        """Its ranks in words."""
        told = (f"{arm}: {'not found' if r is None else f'rank {r}'}" for arm, r in self.ranks.items())
        return ", ".join(told)


@dataclass(frozen=True)
class Query:
    """A query on which arms disagree; overlap: the mean over every two arms."""

    query_id: str
    text: str
    overlap: float
    documents: tuple[Document, ...]

    @property
    def name(self) -> str:
        return self.text or self.query_id


@dataclass(frozen=True)
class Differences:
    """What runs without judgements show; left, left_queries: about what judging would take."""

    dataset: dict[str, Any]
    notes: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    arms: tuple[str, ...]
    queries: int
    level: float
    overlaps: tuple[Overlap, ...]
    disagreements: tuple[Query, ...]
    left: int
    left_queries: int
    pool: int
    costs: tuple[ArmCost, ...] = ()

    def sentence(self) -> str:
        """What to do."""
        if len(self.arms) < 2:
            return "No judgements, and one arm: there is nothing to compare."
        if not self.left:
            return "No judgements are needed: the arms give the same first ranks."
        return (
            f"No judgements, so no verdict: judge about {self.left:,} pairs of {self.left_queries:,} "
            f"queries to settle which arm is best (of {self.pool:,} pairs on first ranks)."
        )

    def reasons(self) -> list[str]:
        return []

    def subtitle(self) -> str:
        arms = f"{len(self.arms)} arms at their full depth"
        return f"{data_line(self.dataset, self.queries)}, no judgements. {arms}."

    def main(self) -> Table:
        """Every two arms, those that differ most first."""
        ordered = sorted(self.overlaps, key=lambda each: each.overlap.mean)
        rows = [[o.arm, o.other, f"{o.overlap.mean:.3f}", span(o.overlap)] for o in ordered]
        return Table("How much arms differ", "overlaps", HEADINGS, rows)

    def read_with(self) -> list[str]:
        intervals = f"Intervals are {100 * self.level:g}% percentile bootstrap intervals over queries."
        return [*READ_WITH, intervals, *self.notes]

    def details(self) -> list[Table]:
        return []

    def document(self) -> dict[str, Any]:
        """report.json."""
        verdict: dict[str, Any] = {
            "kind": "no judgements",
            "sentence": self.sentence(),
            "reasons": [],
            "arm": None,
        }
        overlaps = [{"arm": o.arm, "other": o.other, **o.overlap._asdict()} for o in self.overlaps]
        return {"schema": 1, "verdict": verdict, **asdict(self), "overlaps": overlaps}


def span(found: Interval) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"


def differences(
    runs: Sequence[Run], found: Lists, texts: Texts | None, settings: Report, race: Record | None = None
) -> Differences:
    """Compare the deepest arm of every line with every other, and look where they differ most."""
    chosen = found.fullest()
    names = [found.arms[i].name for i in chosen]
    orders = found.orders[chosen][:, :, :KEPT]
    pairs = list(combinations(range(len(chosen)), 2))
    values = [rank_biased_overlap(orders[a], orders[b]) for a, b in pairs]
    overlaps = [
        Overlap(names[a], names[b], interval(v, settings.level))
        for (a, b), v in zip(pairs, values, strict=True)
    ]
    at = state(found, {}, CUTOFF, settings.delta, HIGHEST)
    more, queries = left(at.standing, at.beliefs)
    means = np.mean(values, axis=0) if values else np.ones(len(found.query_ids))
    return Differences(
        **shared(runs),
        arms=tuple(names),
        queries=len(found.query_ids),
        level=settings.level,
        overlaps=tuple(overlaps),
        disagreements=tuple(disagreements(found, names, orders, means, texts)),
        left=more,
        left_queries=queries,
        pool=int(at.pool.wanted.sum()),
        costs=costs([found.arms[i] for i in chosen], race, settings.price_per_hour),
    )


def disagreements(
    found: Lists,
    names: Sequence[str],
    orders: NDArray[np.int32],
    overlap: NDArray[np.float64],
    texts: Texts | None,
) -> list[Query]:
    """The queries whose lists have the least in common."""
    least = [int(q) for q in np.argsort(overlap, kind="stable")[:SHOWN_QUERIES] if overlap[q] < 1 - 1e-9]
    return [
        Query(
            found.query_ids[q],
            clipped(texts.queries.get(found.query_ids[q], "")) if texts else "",
            float(overlap[q]),
            tuple(moved(found.documents[q], names, orders[:, q], texts)),
        )
        for q in least
    ]


def moved(
    documents: Sequence[str], names: Sequence[str], orders: NDArray[np.int32], texts: Texts | None
) -> list[Document]:
    """The documents of a query on whose ranks the arms [arms, ranks] differ most, by 1 / log2(rank + 1)."""
    ranks = np.full((len(names), len(documents)), np.inf)
    for arm, row in enumerate(orders):
        ranks[arm, row[row >= 0]] = np.arange(1, (row >= 0).sum() + 1)
    weight = 1 / np.log2(ranks + 1)
    spread = weight.max(axis=0) - weight.min(axis=0)
    chosen = np.argsort(-spread, kind="stable")[:SHOWN_DOCUMENTS].tolist()
    shown = texts.documents([documents[i] for i in chosen]) if texts else [""] * len(chosen)
    return [
        Document(
            documents[i],
            clipped(text),
            {name: int(r) if np.isfinite(r) else None for name, r in zip(names, ranks[:, i], strict=True)},
        )
        for i, text in zip(chosen, shown, strict=True)
    ]
