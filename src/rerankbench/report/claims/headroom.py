"""Is the reranker or the retriever the bottleneck? What the candidates allow, and what was captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerankbench.evaluation.measures import display_name
from rerankbench.report.arms.arms import Contest
from rerankbench.report.arms.runs import Run

NOTHING = 0.00005  # is printed as 0.0000


@dataclass(frozen=True)
class Headroom:
    """One first stage down to one depth, in units of the measure.

    `recall`: share of the relevant documents among the candidates down to the depth, None where not measured;
    `first`, `reached`, `possible`: no reranking, the best arm at that depth, the best possible order.
    """

    stage: str
    depth: int
    recall: float | None
    first: float
    reached: float
    possible: float
    arm: str

    @property
    def top(self) -> float:
        """The best arm's mean, where not reranking is an arm too."""
        return max(self.first, self.reached)

    @property
    def captured(self) -> float | None:
        """The share of the possible gain over the first stage that was reached; negative where it hurts."""
        room = self.possible - self.first
        return (self.reached - self.first) / room if room > 1e-9 else None


def headrooms(contest: Contest, allowed: Sequence[int]) -> list[Headroom]:
    """One for every first stage and depth that something was reranked at."""
    means = contest.compared.mean(axis=1)
    found = []
    for (stage, depth), oracle in sorted(contest.oracle.items(), key=lambda item: item[0][1]):
        here = [i for i in allowed if contest.arms[i].stage == stage and contest.arms[i].depth == depth]
        if not here or contest.measure not in oracle:
            continue
        top = max(here, key=lambda i: means[i])
        arm = contest.arms[top]
        found.append(
            Headroom(
                stage=arm.stage_name,
                depth=depth,
                recall=recall_at(arm.run, depth),
                first=float(means[contest.first_stage(top)]),
                reached=float(means[top]),
                possible=float(np.mean(oracle[contest.measure])),
                arm=arm.name,
            )
        )
    return found


def recall_at(run: Run, depth: int) -> float | None:
    """The first stage's recall at a depth, where it was measured."""
    curve = (run.result.get("by_cutoff") or {}).get("first_stage/recall_at_k", {})
    return curve.get(str(depth))


def bottleneck(rooms: Sequence[Headroom], measure: str, answerable: float = 1.0) -> str:
    """Where the rest is lost, in one sentence; empty for measures that cannot always reach 1.

    `answerable`: the share of the queries that have something relevant to find; the others count 0.
    """
    if not rooms or not measure.startswith(("ndcg", "mrr", "success")):
        return ""
    best = max(rooms, key=lambda room: room.top)
    deepest = max((room for room in rooms if room.stage == best.stage), key=lambda room: room.depth)
    if answerable < NOTHING:
        return "No query has a relevant document among its judgements, so there is nothing to find."
    by_reranker, by_retriever = deepest.possible - best.top, answerable - deepest.possible
    lost = 1 - answerable
    without = f"queries without any relevant document cost {lost:.4f}" if lost > NOTHING else ""
    name, stage = display_name(measure), f" {best.stage}" if len({r.stage for r in rooms}) > 1 else ""
    if max(by_reranker, by_retriever) < NOTHING:
        after = stage and f" after{stage}"
        rest = without and f"; {without}"
        return f"There is nothing left to gain{after}: the best arm reaches {name} {best.top:.4f}{rest}."
    who = f"reranker{stage and ' after'}{stage}" if by_reranker > by_retriever else f"first stage{stage}"
    return (
        f"The {who} is the bottleneck: a perfect order of the {deepest.depth} candidates would reach {name} "
        f"{deepest.possible:.4f}, the best arm reaches {best.top:.4f}; documents that the first "
        f"stage did not find cost {by_retriever:.4f}{without and f', {without}'}."
    )
