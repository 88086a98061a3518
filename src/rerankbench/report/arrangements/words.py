"""What is found of arrangements, in sentences: the headline, what was tried and judged, and the staircase."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rerankbench.evaluation.measures import display_name
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements.answers import MEMORY, P50, P95, PRICE, Answer
from rerankbench.report.arrangements.arrangement import CASCADE, EXIT, FUSION
from rerankbench.report.arrangements.choice import Estimate
from rerankbench.report.arrangements.findings import Arranged
from rerankbench.report.comparison import RANGE
from rerankbench.report.cost import Ratio
from rerankbench.report.sample_size import rule_of_three
from rerankbench.report.verdict import BEST, DEPLOY, NONE, Verdict, spoken
from rerankbench.report.wording import counted, signed

UNITS = {P50: "ms (median)", P95: "ms (p95)", MEMORY: "MB", PRICE: "per 1,000 queries"}
PLURALS = {CASCADE: "cascade", FUSION: "fusion", EXIT: "early exit"}


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
        return spoken(arm) if arm.reranks else f"{arm.stage_name} without reranking"

    def reference(self) -> str:
        arm = self.found.field.contest.arms[self.found.reference]
        return arranging.said(arm) if arm.reranks else f"{arm.stage_name} without reranking"

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
        if answer.arm == self.found.reference:
            return f"{head}: it is better than not reranking, and no other plain arm came out higher"
        return f"{head}: it is better than not reranking, but not shown to be as good as {self.reference()}"

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
            told = "" if now is None else f": {self.arm(now)}{self.expected(answer.estimate)}"
            return f"the data cannot tell; if you must choose now{told}"
        text = self.advice(answer)
        return text[0].lower() + text[1:]

    def sentence(self, answer: Answer) -> str:
        """An answer as a whole sentence, with its budget."""
        text = self.within(answer)
        if not answer.budget:
            return f"{text[0].upper()}{text[1:]}."
        return f"Within {answer.bound:,.4g} {UNITS[answer.budget]}: {text}."

    def expected(self, estimate: Estimate | None) -> str:
        if estimate is None:
            return ""
        return f" ({signed((estimate.gain, estimate.low, estimate.high))} {self.measure}, cross-fitted)"

    def staircase(self) -> list[tuple[str, str]]:
        """At the report's margin: up to each bound, and what to do, where that changes."""
        lines: list[tuple[str, str]] = []
        before: tuple[object, ...] = ()
        for answer in self.found.answers:
            if answer.margin != self.delta or not answer.budget:
                continue
            now = (answer.budget, answer.kind, answer.arm, answer.choice)
            if now != before:
                lines.append((f"{answer.bound:,.4g} {UNITS[answer.budget]}", self.within(answer)))
            before = now
        return lines

    def own_gain(self, row: int) -> list[str]:
        """What the arrangement itself gained, on the queries that it was chosen by."""
        values, base = self.found.field.values, self.found.baseline
        gain = float((values[row] - values[base]).mean())
        stage = self.found.field.contest.arms[base].stage_name
        return [f"On these queries it gains {gain:+.4f} {self.measure} over {stage} without reranking."]

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
        if answer.estimate is not None and answer.choice is not None:
            lines.append(self.judged(answer.estimate, answer.choice))
        return lines

    def none_shown(self) -> str:
        """That no arrangement is recommended, and why where no number of them could be."""
        queries = self.found.field.values.shape[1]
        line = f"None of them is shown to be as good as {self.reference()} within {self.margin(self.delta)}"
        least = rule_of_three(self.delta, RANGE, self.found.alpha)
        if least is not None and queries < least:
            return f"{line}: that takes at least {least:,} queries, and there are {queries:,}."
        return f"{line} at a lower cost than the recommendation."

    def judged(self, estimate: Estimate, choice: int) -> str:
        """What the rule of choosing is worth, and what it chooses."""
        gain = signed((estimate.gain, estimate.low, estimate.high))
        stage = self.found.field.contest.arms[self.found.baseline].stage_name
        return (
            f"The rule is to choose the cheapest arm within {self.margin(self.delta)} of the highest mean; "
            f"with all queries, it chooses {self.arm(choice)}. On held-out queries its choices reach "
            f"{estimate.mean:.4f} ({gain} against {stage} without reranking); on the queries used for "
            f"choosing, {estimate.naive:.4f}{overstated(estimate.optimism)}."
        )


def overstated(optimism: float) -> str:
    """By how much a mean is too high on the queries that the arm was chosen by."""
    return f", an overstatement of {optimism:.4f}" if optimism > 0 else ", which is no overstatement"
