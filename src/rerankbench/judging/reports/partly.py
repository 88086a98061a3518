"""What judgements of a small part of the pairs show: which arm leads, what is settled, what is open.

No single query is known well then, so that no test over queries is made. Means over all queries are known as
far as completions of the judgements agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.measures import display_name
from rerankbench.evaluation.significance import Interval
from rerankbench.judging.reports.costs import ArmCost, costs
from rerankbench.judging.reports.told import Table, shared
from rerankbench.judging.standing import ALIKE, BETTER, OPEN, Standing
from rerankbench.judging.verdict import State
from rerankbench.report.arms.arms import Arm
from rerankbench.report.arms.runs import Run
from rerankbench.report.claims.decision import percent
from rerankbench.report.deployment import RECOMMENDED, Deployment, deployed
from rerankbench.report.evidence import settled as settling
from rerankbench.report.evidence.settled import Settled
from rerankbench.report.race.record import Record
from rerankbench.report.settings import Report
from rerankbench.report.wording import counted, data_line

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PartlyJudged:
    """One arm: its expected mean on these queries; the leader's lead over it for other queries of the kind.

    state: the leader's settled state against it, empty for the leader. chance: that the leader is better on
    other such queries.
    """

    name: str
    mean: Interval
    state: str
    lead: Interval
    chance: float


@dataclass(frozen=True)
class Partly:
    """Arms, best first: the first is the leader."""

    dataset: dict[str, Any]
    notes: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    queries: int
    level: float
    delta: float
    settled: Settled
    arms: tuple[PartlyJudged, ...]
    stages: tuple[str, ...]
    costs: tuple[ArmCost, ...] = ()

    @property
    def open(self) -> list[str]:
        return [arm.name for arm in self.arms[1:] if arm.state == OPEN]

    @property
    def as_good(self) -> list[str]:
        return [arm.name for arm in self.arms[1:] if arm.state == ALIKE]

    def sentence(self) -> str:
        """The verdict so far."""
        judged = counted(self.settled.judged, "judgement")
        leader, measure = self.arms[0].name, display_name(self.settled.measure)
        if self.open:
            more = counted(self.settled.left, "more pair")
            queries = counted(self.settled.left_queries, "query", "queries")
            todo = f": judge about {more} of {queries} (rerankbench-judge)" if self.settled.left else ""
            return f"Open: {judged} do not settle which arm is best; {leader} leads{todo}."
        good = f", and as good: {', '.join(self.as_good)} (within {self.delta:g} {measure})"
        others = good if self.as_good else ""
        return f"Settled by {judged}: on these queries {leader} has the highest {measure}{others}."

    def reasons(self) -> list[str]:
        """Why, and what it rests on."""
        firsts = [arm for arm in self.arms[1:] if arm.name in self.stages]
        gains = [
            f"Against {arm.name}: {spread(arm.lead, '+')} {display_name(self.settled.measure)} on other "
            f"queries of the kind; chance that {self.arms[0].name} is better there: {percent(arm.chance)}."
            for arm in firsts
        ]
        return [*self.settled.lines(), *gains]

    def read_with(self) -> list[str]:
        return [
            self.settled.assumption(),
            "No single query is judged well enough for tests over queries, so there are no p-values; with "
            "four of five pairs judged (rerankbench-judge --pool) there are.",
            f"Intervals hold {100 * self.level:g}% of the completions; those of leads allow for other "
            "queries, too.",
            *self.notes,
        ]

    def subtitle(self) -> str:
        judged = f"{self.settled.judged:,} judgements ({self.settled.judged_by})"
        return f"{data_line(self.dataset, self.queries)}, {judged}. {len(self.arms)} arms."

    def main(self) -> Table:
        """The arms, best first."""
        expected = f"expected {display_name(self.settled.measure)}"
        rows = [
            [arm.name, spread(arm.mean), spread(arm.lead, "+") if arm.state else "", state_of(arm)]
            for arm in self.arms
        ]
        return Table("Arms", "arms", ("arm", expected, "the leader's lead on other queries", ""), rows)

    def details(self) -> list[Table]:
        rows = settling.table(self.settled, [arm.name for arm in self.arms])
        return [Table("Settled and open", "settled", settling.HEADINGS, rows)]

    def document(self) -> dict[str, Any]:
        """report.json."""
        leader, kind = (None, "open") if self.open else (self.arms[0].name, "settled")
        verdict = {"kind": kind, "sentence": self.sentence(), "reasons": self.reasons(), "arm": leader}
        return {"schema": 1, "verdict": verdict, "assumptions": self.read_with(), **asdict(self)}


def partly(
    runs: Sequence[Run], at: State, settled: Settled, settings: Report, race: Record | None = None
) -> Partly:
    """The arms by what is judged of their lists."""
    standing, arms = at.standing, at.lists.arms
    order = np.argsort(-standing.expected().round(12), kind="stable").tolist()
    return Partly(
        **shared(runs),
        queries=len(at.lists.query_ids),
        level=settings.level,
        delta=standing.delta,
        settled=settled,
        arms=tuple(
            one(standing, i, arms[i].name, settled, arms[order[0]].name, settings.level) for i in order
        ),
        stages=tuple(arm.name for arm in arms if not arm.reranks),
        costs=costs([arms[i] for i in order], race, settings.price_per_hour),
    )


def deployable(found: Partly, arms: Sequence[Arm]) -> Deployment | None:
    """The leader, once it is settled that it is the best; None until then. Raises UserError."""
    if found.open:
        return None
    leader = found.arms[0]
    return deployed(
        leader.name,
        [next(arm for arm in arms if arm.name == leader.name)],
        chosen=RECOMMENDED,
        verdict=found.sentence(),
        figures={"measure": found.settled.measure, "expected": leader.mean._asdict()},
        judgements={
            **found.dataset,
            "judged_pairs": found.settled.judged,
            "judged_by": found.settled.judged_by,
        },
    )


def one(standing: Standing, arm: int, name: str, settled: Settled, leader: str, level: float) -> PartlyJudged:
    state = next((each.state for each in settled.of(leader) if each.other == name), "")
    lead = standing.others[:, standing.leader] - standing.others[:, arm]
    return PartlyJudged(
        name, around(standing.means[:, arm], level), state, around(lead, level), float((lead > 0).mean())
    )


def around(values: Array, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def spread(found: Interval, sign: str = "") -> str:
    return f"{found.mean:{sign}.4f} [{found.low:{sign}.4f}, {found.high:{sign}.4f}]"


def state_of(arm: PartlyJudged) -> str:
    """What the table says of an arm against the leader."""
    if not arm.state:
        return "leads"
    words = {BETTER: "settled: not as good as the leader", ALIKE: "settled: as good as the leader"}
    return words.get(arm.state, arm.state)
