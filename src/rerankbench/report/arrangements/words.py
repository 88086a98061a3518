"""What is found of arrangements, in sentences: the headline, what was tried and judged, and the staircase."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from rerankbench.evaluation.measures import display_name
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements.answers import MEMORY, P50, P95, PRICE, Answer
from rerankbench.report.arrangements.arrangement import CASCADE, EXIT, FUSION
from rerankbench.report.arrangements.choice import Estimate
from rerankbench.report.arrangements.findings import Arranged
from rerankbench.report.claims.comparison import RANGE
from rerankbench.report.claims.sample_size import rule_of_three
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, Verdict, spoken
from rerankbench.report.costs.cost import Ratio
from rerankbench.report.wording import counted, signed

UNITS = {P50: "ms (median)", P95: "ms (p95)", MEMORY: "MB", PRICE: "per 1,000 queries"}
PLURALS = {CASCADE: "cascade", FUSION: "fusion", EXIT: "early exit"}


class Step(NamedTuple):
    """One step of the staircase: what to do from a bound on (None: from 0 on), up to a last one."""

    unit: str
    first: float | None
    last: float
    advice: str

    @property
    def budget(self) -> str:
        """Up to 50 ms (median), from 70 ms (median)."""
        if self.first is None:
            return f"up to {bounded(self.last, self.unit)}"
        return f"from {bounded(self.first, self.unit)}"


def bounded(bound: float, unit: str) -> str:
    return f"{bound:,.4g} {unit}"


@dataclass(frozen=True)
class Teller:
    """Puts what was found into words."""

    found: Arranged
    delta: float

    @property
    def measure(self) -> str:
        return display_name(self.found.field.contest.measure)

    def margin(self, margin: float) -> str:
        return f"{margin:g} {self.measure}"

    def arm(self, row: int) -> str:
        """An arm as a sentence names it."""
        field = self.found.field
        each = field.arrangement(row)
        if each is not None:
            return arranging.spoken(each, field.contest.arms)
        arm = field.contest.arms[row]
        return spoken(arm) if arm.reranks else arm.name

    def reference(self) -> str:
        contest, row = self.found.field.contest, self.found.reference
        arm = contest.arms[row]
        if not arm.reranks:
            return contest.baseline(row)
        return arm.name if contest.several else arranging.said(arm)

    def beaten(self, answer: Answer) -> str:
        """What an arm has to beat to be recommended within a budget."""
        contest = self.found.field.contest
        fits = " within the budget" if answer.budget and contest.several else ""
        return contest.every_baseline.replace(" without", f"{fits} without")

    def verdict(self, plain: Verdict) -> Verdict:
        """The report's verdict: an arrangement, where one is shown to be best, else the plain arms'."""
        answer = self.found.headline
        if answer.arm is None or answer.arm < self.found.field.plain:
            return replace(plain, reasons=(*plain.reasons, *self.tried_lines()))
        if answer.kind == BEST and plain.arm is not None:
            return replace(plain, reasons=(*plain.reasons, *self.tried_lines()))
        alone = f"Of the plain arms alone: {plain.sentence}"
        lines = (*self.own_gain(answer.arm), *self.tried_lines(), alone)
        return Verdict(answer.kind, f"{self.advice(answer)}.", lines, None, answer.arm)

    def advice(self, answer: Answer) -> str:
        """Deploy X: as good as Y within 0.01 nDCG@10, at 0.31 [0.28, 0.34] of its latency."""
        assert answer.arm is not None
        head = f"Deploy {self.arm(answer.arm)}"
        if answer.kind == DEPLOY:
            if answer.arm == self.found.reference:
                return f"{head}: no plain arm is better by {self.margin(answer.margin)} or more"
            return f"{head}: {self.as_good(answer)}{self.price(answer.ratio)}"
        better = f"{head}: it is better than {self.beaten(answer)}"
        if answer.arm == self.found.reference:
            return f"{better}, and no other plain arm came out higher"
        return f"{better}, but not shown to be as good as {self.reference()}"

    def as_good(self, answer: Answer) -> str:
        assert answer.arm is not None
        if self.found.shown.at(0.0)[answer.arm]:
            return f"better than {self.reference()}"
        return f"as good as {self.reference()} within {self.margin(answer.margin)}"

    def price(self, ratio: Ratio | None) -> str:
        """What it costs of the reference; a cost that is not known is not spoken of."""
        if ratio is None or not ratio.known:
            return ""
        return f", at {ratio.said('{:.2f}'.format)} of its {ratio.what}"

    def within(self, answer: Answer) -> str:
        """One step of the staircase."""
        if answer.kind == NONE and not answer.fits:
            return "do not rerank within this budget: no reranker is known to fit"
        if answer.kind == NONE:
            return f"do not rerank: no plain arm is better by {self.margin(answer.margin)} or more"
        if answer.arm is None:
            now = answer.choice
            told = "" if now is None else f": {self.arm(now)}{self.expected(answer)}"
            return f"the data cannot tell; if you must choose now{told}"
        text = self.advice(answer)
        return text[0].lower() + text[1:]

    def sentence(self, answer: Answer) -> str:
        """An answer as a whole sentence, with its budget."""
        text = self.within(answer)
        if not answer.budget:
            return f"{text[0].upper()}{text[1:]}."
        assert answer.bound is not None
        return f"Within {bounded(answer.bound, UNITS[answer.budget])}: {text}."

    def expected(self, answer: Answer) -> str:
        """What the choice gains by held-out queries; nothing of one that does not rerank."""
        found = answer.estimate
        if found is None or answer.choice == answer.baseline:
            return ""
        gain = f"{signed((found.gain, found.low, found.high))} {self.measure}"
        return f" ({gain} against {self.baseline(answer)}, cross-fitted)"

    def baseline(self, answer: Answer) -> str:
        return self.found.field.contest.baseline(answer.baseline)

    def staircase(self) -> list[Step]:
        """At the report's margin: what to do within each budget, one step where that changes.

        None where no reranker is within any of them and the report's own budget.
        """
        asked = [each for each in self.found.answers if each.budget and each.margin == self.delta]
        steps: list[Step] = []
        before: tuple[object, ...] = ()
        for answer in asked if any(each.fits for each in asked) else ():
            unit, bound = UNITS[answer.budget], float(answer.bound or 0.0)
            now = (unit, answer.kind, answer.arm, answer.choice)
            if now == before:
                steps[-1] = steps[-1]._replace(last=bound)
            else:
                first = bound if steps and steps[-1].unit == unit else None
                steps.append(Step(unit, first, bound, self.within(answer)))
            before = now
        return steps

    def own_gain(self, row: int) -> list[str]:
        """What the arrangement itself gained, on the queries that it was chosen by."""
        values, answer = self.found.field.values, self.found.headline
        gain = float((values[row] - values[answer.baseline]).mean())
        return [f"On these queries it gains {gain:+.4f} {self.measure} over {self.baseline(answer)}."]

    def tried_lines(self) -> list[str]:
        """What was tried, how it was chosen, and by how much the choice flatters itself."""
        field, answer = self.found.field, self.found.headline
        if not field.arrangements:
            return []
        kinds = ", ".join(counted(count, PLURALS[kind]) for kind, count in field.count().items() if count)
        more = f" of {field.possible:,} possible" if field.possible > len(field.arrangements) else ""
        were = "was" if len(field.arrangements) == 1 else "were"
        lines = [
            f"{len(field.arrangements):,}{more} arrangements of the scored rerankers ({kinds}) {were} tried "
            "besides the plain arms; the claims allow for all of them."
        ]
        if answer.arm is None or answer.arm < field.plain:
            lines.append(self.none_shown())
        if answer.estimate is not None and answer.choice is not None and answer.choice != answer.baseline:
            lines.append(self.judged(answer.estimate, answer.choice))
        return lines

    def none_shown(self) -> str:
        """That no arrangement is recommended, and how many queries it takes for one that is no better."""
        queries = self.found.field.values.shape[1]
        line = f"None of them is shown to be as good as {self.reference()} within {self.margin(self.delta)}"
        least = rule_of_three(self.delta, RANGE, self.found.alpha)
        if least is not None and queries < least:
            takes = f"that takes at least {least:,} queries (here {queries:,})"
            return f"{line}: for one that is not better, {takes}."
        return f"{line} at a lower cost than the recommendation."

    def judged(self, estimate: Estimate, choice: int) -> str:
        """What the rule of choosing is worth, and what it chooses."""
        gain = signed((estimate.gain, estimate.low, estimate.high))
        against = self.baseline(self.found.headline)
        return (
            f"The rule is to choose the cheapest arm within {self.margin(self.delta)} of the highest mean; "
            f"with all queries, it chooses {self.arm(choice)}. On held-out queries its choices reach "
            f"{estimate.mean:.4f} ({gain} against {against}); on the queries used for "
            f"choosing, {estimate.naive:.4f}{overstated(estimate.optimism)}."
        )


def overstated(optimism: float) -> str:
    """By how much a mean is too high on the queries that the arm was chosen by."""
    return f", an overstatement of {optimism:.4f}" if optimism >= 0.00005 else ", which is no overstatement"
