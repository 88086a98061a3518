"""What a replay found, against what was measured: order, scores, the measure, latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.visible import visible
from rerankbench.evaluation.measures import display_name
from rerankbench.serving.client import Answer
from rerankbench.serving.replay import Measured, Question

# How far scores may be from measured ones by the order in which a model's numbers are added.
NOISE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1, "int8": 1e-1}
SHOWN = 20  # drifting queries that are named
ENOUGH = 20  # answers by which a 95th percentile is a figure


@dataclass(frozen=True, eq=False)
class Drift:
    """A query whose order is another one. `noise`: only documents of practically equal scores moved."""

    query_id: str
    rank: int
    found: str
    measured: str
    gap: float | None
    noise: bool

    def line(self) -> str:
        gap = "" if self.gap is None else f", their measured scores are {self.gap:.2g} apart"
        found = self.found or "another document"
        return f"{self.query_id}: rank {self.rank} is {found}, was {self.measured}{gap}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Of one way to ask: `what` names it; `difference` of scores is None where they cannot be compared."""

    what: str
    queries: int
    drifts: tuple[Drift, ...]
    difference: float | None
    squeezed: bool
    measure: str
    measured: float
    served: float
    p50: float
    p95: float | None
    clients: int
    raced: Mapping[str, float | None]

    @property
    def same(self) -> int:
        return self.queries - len(self.drifts)

    @property
    def drifted(self) -> bool:
        """Whether it is not what was measured."""
        return any(not drift.noise for drift in self.drifts)

    def lines(self) -> Iterator[str]:
        yield f"{self.what}: same order for {self.same:,} of {self.queries:,} queries"
        if self.difference is not None:
            how = " (after the logistic function)" if self.squeezed else ""
            yield f"  scores differ by at most {self.difference:.3g}{how}"
        yield f"  {self.measure} {self.served:.4f}, measured {self.measured:.4f}"
        yield f"  {self.latency()}"
        for drift in self.drifts[:SHOWN]:
            yield f"  {'practically equal' if drift.noise else 'DRIFT'}: {visible(drift.line())}"
        if len(self.drifts) > SHOWN:
            yield f"  and {len(self.drifts) - SHOWN:,} more queries"

    def latency(self) -> str:
        found = f"p50 {self.p50:,.0f} ms"
        found += f", p95 {self.p95:,.0f} ms" if self.p95 is not None else " (too few queries for a p95)"
        text = f"{found} at {self.clients} client{'s'[: self.clients > 1]}"
        told = [f"{name} {ms:,.0f}" for name, ms in self.raced.items() if ms is not None]
        return f"{text} (the race said {', '.join(told)} ms for one)" if told else text


def compare(
    what: str, found: Measured, asked: Sequence[Question], answers: Sequence[Answer], clients: int, part: str
) -> Comparison:
    """Answers against the measured order of the same queries; `part`: latency of reranking, or of a query."""
    drifts = tuple(d for q, a in zip(asked, answers, strict=True) if (d := drift(found, q, a)) is not None)
    difference, squeezed = scores_apart(found, asked, answers)
    rows = [question.row for question in asked]
    order = np.array(found.order)
    for question, answer in zip(asked, answers, strict=True):
        head = [position for position in answer.order if 0 <= position < order.shape[1]]
        rest = [position for position in range(order.shape[1]) if position not in set(head)]
        order[question.row] = [*head, *rest]
    name = found.contest.measure
    measured, served = (found.pool.ruler(each, name) for each in (found.order, order))
    times = np.array([answer.ms for answer in answers])
    cost = found.deployment.figures.get("cost") or {}
    return Comparison(
        what,
        len(asked),
        drifts,
        difference,
        squeezed,
        display_name(name),
        float(measured[rows].mean()),
        float(served[rows].mean()),
        float(np.percentile(times, 50)),
        float(np.percentile(times, 95)) if len(times) >= ENOUGH else None,
        clients,
        {name: cost.get(f"{part}_{name}_ms") for name in ("p50", "p95")},
    )


def drift(found: Measured, question: Question, answer: Answer) -> Drift | None:
    """The first rank that is another document's; None where the order is the measured one."""
    wanted = [p for p in found.order[question.row].tolist() if p < len(question.ids)]
    if answer.order == wanted:
        return None
    pairs = zip([*answer.order, *[-1] * len(wanted)], wanted, strict=False)
    rank, (got, was) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    scores = found.scores
    noise, gap = False, None
    if scores is not None and sorted(answer.order) == sorted(wanted):
        own = scores[question.row].astype(np.float64)
        bound = NOISE.get(found.deployment.steps[0].precision, 0.0)
        gap = abs(float(own[got] - own[was]))
        noise = inversions(own, answer.order, found.depth) <= bound
    named = question.ids[got] if 0 <= got < len(question.ids) else ""
    return Drift(question.query_id, rank, named, question.ids[was], gap, noise)


def inversions(scores: NDArray[np.float64], order: Sequence[int], depth: int) -> float:
    """By how much at most a document stands above one that has more."""
    ranked = scores[[position for position in order if position < depth]]
    above = np.minimum.accumulate(ranked)
    return float(np.nanmax(ranked - above, initial=0.0))


def scores_apart(
    found: Measured, asked: Sequence[Question], answers: Sequence[Answer]
) -> tuple[float | None, bool]:
    """The largest difference of scores, and whether they are the measured ones between 0 and 1."""
    scores = found.scores
    if scores is None or any(answer.scores is None for answer in answers):
        return None, False
    own = np.concatenate([scores[q.row, : len(q.ids)] for q in asked]).astype(np.float64)
    got = np.concatenate([a.scores for a in answers if a.scores is not None]).astype(np.float64)
    raw = float(np.abs(own - got).max())
    squeezed = float(np.abs(1 / (1 + np.exp(-own)) - got).max())
    return (squeezed, True) if squeezed < raw else (raw, False)
