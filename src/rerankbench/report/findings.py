"""Everything that a report says, worked out once; the page, the tables and the JSON only show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.measures import display_name
from rerankbench.evaluation.significance import FEWEST
from rerankbench.report.arms.arms import Contest, LeftOut, contest
from rerankbench.report.arms.runs import Run
from rerankbench.report.arrangements import document as arranging
from rerankbench.report.arrangements.field import Field, assembled
from rerankbench.report.arrangements.findings import SHARE, Arranged, arrange
from rerankbench.report.arrangements.pool import Lacking
from rerankbench.report.arrangements.trial import Trial
from rerankbench.report.arrangements.words import Teller
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims import decision as choosing
from rerankbench.report.claims import verdict as deciding
from rerankbench.report.claims.comparison import Comparison
from rerankbench.report.claims.decision import Decision
from rerankbench.report.claims.headroom import Headroom, bottleneck, headrooms
from rerankbench.report.claims.verdict import Verdict
from rerankbench.report.costs import budget as budgeting
from rerankbench.report.costs import cost as costing
from rerankbench.report.costs import race_notes
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import Cost, Ordering
from rerankbench.report.evidence.examples import Example, examples
from rerankbench.report.evidence.leaning import Leaning, Unread, leaning
from rerankbench.report.evidence.lists import answerable
from rerankbench.report.evidence.settled import Settled
from rerankbench.report.evidence.settled import verdict as as_settled
from rerankbench.report.made import Made
from rerankbench.report.race.record import Record
from rerankbench.report.settings import Report
from rerankbench.report.wording import counted, data_line


@dataclass(frozen=True)
class Findings:
    """What some runs show. Rows of `costs`, `excluded` and `comparison.arms` are those of `contest.arms`.

    `more`: means [arms] of measures that were asked for besides, by their names.
    """

    settings: Report
    contest: Contest
    comparison: Comparison
    costs: tuple[Cost, ...]
    order: Ordering
    excluded: tuple[str, ...]
    front: tuple[int, ...]
    verdict: Verdict
    decision: Decision | None
    left_out: tuple[LeftOut, ...]
    rooms: tuple[Headroom, ...]
    bottleneck: str
    shown: int
    gains: tuple[Example, ...]
    losses: tuple[Example, ...]
    book: Book = field(default_factory=Book)
    arranged: Arranged | None = None
    trial: Trial | None = None
    lacking: tuple[Lacking, ...] = ()
    leaning: Leaning | Unread | None = None
    more: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    made: Made | None = None
    settled: Settled | None = None

    @cached_property
    def field(self) -> Field:
        """Everything that competes: the plain arms, then the arrangements where there are any."""
        if self.arranged is not None:
            return self.arranged.field
        return Field(self.contest, (), self.contest.compared, self.costs, self.order)

    @cached_property
    def answered(self) -> Arranged:
        """What to deploy within budgets and margins, of the plain arms where there are no arrangements."""
        if self.arranged is not None:
            return self.arranged
        return arrange(self.field, self.comparison, self.excluded, self.settings, self.book)

    @property
    def recommended(self) -> int | None:
        """The row of `field` that the verdict recommends."""
        return self.verdict.arm if self.verdict.arrangement is None else self.verdict.arrangement

    @cached_property
    def arranged_arms(self) -> list[dict[str, Any]]:
        """Every arrangement with the keys of a plain arm in report.json, best first."""
        if self.arranged is None:
            return []
        return arranging.arms(self.arranged, self.comparison.level, self.settings.delta)

    @property
    def measure(self) -> str:
        """As it is printed: nDCG@10."""
        return display_name(self.contest.measure)

    @property
    def dataset(self) -> dict[str, object]:
        return self.contest.runs[0].dataset

    @property
    def reduced(self) -> bool:
        return any(bool(run.result.get("reduced")) for run in self.contest.runs)

    def ranked(self) -> list[int]:
        """Arms, best first."""
        means = self.contest.compared.mean(axis=1)
        costs = np.nan_to_num(self.order.values, nan=np.inf)
        return sorted(range(len(means)), key=lambda i: (-round(float(means[i]), 12), costs[i]))

    def subtitle(self) -> str:
        """What stands under the verdict: collection, documents, queries, judgements, arms and runs."""
        c, judgements = self.contest, self.dataset.get("judgements")
        reduced = " (reduced: a quick look, not a result)" if self.reduced else ""
        by = f" ({self.settled.judged_by})" if self.settled else ""
        failed = f", {len(c.failed)} failed" if c.failed else ""
        count = (
            counted(judgements, "judgement") if isinstance(judgements, int) else f"{judgements} judgements"
        )
        runs = counted(len(c.runs) + len(c.failed), "run")
        return (
            f"{data_line(self.dataset, len(c.query_ids), ' judged', reduced)}, {count}{by}. "
            f"{counted(len(c.arms), 'arm')} of {runs}{failed}, compared by {self.measure}."
        )

    def assumptions(self) -> list[str]:
        """What a reader has to know to trust the figures."""
        return assumptions(self)


def find_out(
    runs: Sequence[Run], settings: Report, race: Record | None = None, settled: Settled | None = None
) -> Findings:
    """Compare, price, claim what is `settled`. Raises UserError where the runs cannot be compared."""
    found = contest(runs, settings.measure)
    book = Book(race, found.several, settings.price_per_hour, budgeting.cure(found.arms, race))
    costs = [costing.of(arm, book) for arm in found.arms]
    judged = zip(costs, found.arms, strict=True)
    excluded = [budgeting.over_budget(cost, arm, settings.budget, book) for cost, arm in judged]
    allowed = within_budget(found, excluded)
    order = costing.ordering(found.arms, costs, book)
    competing = assembled(found, costs, order, book) if settings.arrangements else None
    share = 1.0 - SHARE if competing is not None and competing.arrangements else 1.0
    compared = comparing.compare(found, allowed, settings.delta, settings.level, share)
    arranged = arrange(competing, compared, excluded, settings, book) if competing and share < 1.0 else None
    verdict = told(deciding.decide(found, compared, order, excluded), found, arranged, settings, settled)
    rooms, shown = headrooms(found, range(len(found.arms))), example_arm(found, compared, verdict)
    gains, losses = examples(found, shown)
    return Findings(
        settings=settings,
        contest=found,
        comparison=compared,
        costs=tuple(costs),
        order=order,
        excluded=tuple(excluded),
        front=tuple(costing.front(found.compared.mean(axis=1), order.values)),
        verdict=verdict,
        decision=decision(found, compared, order, verdict, nothing_fits=all(excluded)),
        left_out=tuple(deciding.left_out(found, excluded)),
        rooms=tuple(rooms),
        bottleneck=bottleneck(rooms, settings.measure, answerable(found)),
        shown=shown,
        gains=tuple(gains),
        losses=tuple(losses),
        book=book,
        leaning=leaning(found, shown),
        arranged=arranged,
        lacking=competing.lacking if competing else (),
        settled=settled,
    )


def within_budget(found: Contest, excluded: Sequence[str]) -> list[int]:
    """The arms that may be deployed; first stages where none may, as something to be against."""
    allowed = [i for i, reason in enumerate(excluded) if not reason]
    return allowed or [i for i, arm in enumerate(found.arms) if not arm.reranks]


def told(
    verdict: Verdict, found: Contest, arranged: Arranged | None, settings: Report, settled: Settled | None
) -> Verdict:
    """The verdict with what arrangements add, and without what judgements leave open."""
    verdict = Teller(arranged, settings.delta).verdict(verdict) if arranged else verdict
    return as_settled(found, verdict, settled) if settled is not None else verdict


def decision(
    found: Contest, compared: Comparison, order: Ordering, verdict: Verdict, *, nothing_fits: bool
) -> Decision | None:
    """What to choose now, of the plain arms."""
    chosen = choosing.choose(found, compared, order, nothing_fits=nothing_fits)
    if chosen is None or verdict.arrangement is None:
        return chosen
    return replace(chosen, sentence=f"Of the plain arms alone: {chosen.sentence}")


def example_arm(found: Contest, compared: Comparison, verdict: Verdict) -> int:
    """Whose wins and losses are shown: the recommended arm, else the reranking one that came highest."""
    if verdict.arm is not None and found.arms[verdict.arm].reranks:
        return verdict.arm
    tried = [i for i, arm in enumerate(found.arms) if arm.reranks]
    return max(tried, key=lambda i: compared.arms[i].mean.mean, default=0)


def answer_lines(findings: Findings) -> list[str]:
    """What answers beside the verdict risk, where there are no arrangements that the verdict shares with."""
    if findings.arranged is not None:
        return []
    return [
        "What to do within other budgets and at other margins is tested beside the verdict, all of it "
        f"together: at most {100 * SHARE * findings.comparison.alpha:g}% of reports make a false claim there."
    ]


def interval_line(findings: Findings) -> str:
    """How intervals of means were made."""
    how = "percentile bootstrap intervals over queries"
    if len(findings.contest.query_ids) < FEWEST:
        how = f"bounds that allow for losses and gains which none of fewer than {FEWEST} queries shows"
    return f"Intervals are {100 * findings.comparison.level:g}% {how}, not corrected for their number."


def assumptions(findings: Findings) -> list[str]:
    c, order = findings.comparison, findings.order
    lines = [
        f"{len(findings.contest.query_ids):,} judged queries, paired: every arm answers all of them; a query "
        "without results counts 0.",
        interval_line(findings),
        "p-values are of claims about the mean (“better”, “worse”, “as good”). Each is "
        "the larger of two: by the losses that were seen (Gaffke's test), and by the chance that no query "
        "shows losses which undo the gain. All are corrected together (step-down minP over shared random "
        f"signs): if the queries are a random sample of those to come, at most {100 * c.alpha:g}% of such "
        "reports make a false claim.",
        f"“As good as the best” means: less than {c.delta:g} {findings.measure} below the truly best arm, "
        f"tested against every other arm, and better than {findings.contest.every_baseline}.",
        "What to choose now is a decision, not a finding: the cheapest arm of known cost whose expected loss "
        f"(Bayesian bootstrap over queries) is at most {c.delta:g}, otherwise the one whose expected loss is "
        "smallest.",
        race_notes.cost_line(order),
        *race_notes.race_lines(findings.contest.arms, findings.costs, findings.book),
    ]
    if findings.settled is not None and (completed := findings.settled.assumption()):
        lines.append(completed)
    lines += race_notes.price_lines(findings.contest.arms, findings.settings.price_per_hour)
    if c.share < 1.0:
        lines.append(
            f"Of these {100 * c.alpha:g}%, {100 * c.own_alpha:g}% are for the claims about plain arms and "
            "the rest is for cascades, fusions, early exits and other margins; the p-values allow for it."
        )
    lines += answer_lines(findings)
    machines = costing.machines(findings.contest.arms)
    if len(machines) > 1 and not findings.book.raced:
        lines.append(
            f"Arms ran on different machines, so their costs are not comparable: {', '.join(machines)}."
        )
    if findings.contest.incomplete:
        names = ", ".join(map(display_name, findings.contest.incomplete))
        lines.append(f"Not shown, because some arm has no value for some queries: {names}.")
    if findings.reduced:
        lines.append("The collection was reduced: a quick look, not a result.")
    return lines + [str(note) for run in findings.contest.runs[:1] for note in run.result.get("notes", [])]
