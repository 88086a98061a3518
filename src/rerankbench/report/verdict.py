"""The sentence that a sweep ends in, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerankbench.measures import display_name
from rerankbench.report.arms import Arm, Contest
from rerankbench.report.comparison import Comparison, gains_of
from rerankbench.report.cost import ABOVE, NOT_MEASURED, Ordering, deeper_price_words, price_words
from rerankbench.significance import minimum_detectable_difference

DEPLOY, BEST, NONE, UNKNOWN = "deploy", "deploy the best", "do not rerank", "cannot tell"
MOST_REASONS = 6  # shown under a verdict that has no arm
POWER, Z_POWER, Z_ONE_SIDED = 0.8, 0.8416, 1.6449


@dataclass(frozen=True)
class Verdict:
    """What to do. `arm` is the row of the recommended arm, None where nothing can be said."""

    kind: str
    sentence: str
    reasons: tuple[str, ...]
    arm: int | None


def decide(
    contest: Contest, comparison: Comparison, order: Ordering, excluded: Sequence[str] = ()
) -> Verdict:
    """The cheapest arm that is certified; else the best if it helps; else nothing is crowned.

    excluded: why each arm may not be deployed, empty where it may.
    """
    teller = Teller(contest, comparison, order, tuple(excluded))
    if not any(contest.arms[arm].reranks for arm in comparison.allowed):
        return teller.no_contestant()
    certified = [arm for arm in comparison.allowed if comparison.certified(arm)]
    if certified:
        costs = np.nan_to_num(order.values, nan=np.inf)  # unknown: never the cheapest
        cheapest = min(certified, key=lambda arm: (costs[arm], -comparison.arms[arm].mean.mean))
        return teller.deploy(cheapest) if contest.arms[cheapest].reranks else teller.do_not(cheapest)
    if comparison.helps(comparison.best):
        return teller.best()
    return teller.unknown()


@dataclass(frozen=True)
class Teller:
    """Puts what the comparison found into words."""

    contest: Contest
    comparison: Comparison
    order: Ordering
    excluded: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        return len(self.contest.query_ids)

    @property
    def measure(self) -> str:
        return display_name(self.contest.measure)

    @property
    def margin(self) -> str:
        return f"{self.comparison.delta:g} {self.measure}"

    def no_contestant(self) -> Verdict:
        if not any(arm.reranks for arm in self.contest.arms):
            return Verdict(UNKNOWN, "No verdict: no reranker was measured.", (), None)
        known = any(why and NOT_MEASURED not in why for why in self.excluded)
        what = "no reranker is within" if known else "of no reranker is it known whether it is within"
        return Verdict(UNKNOWN, f"No verdict: {what} the budget.", tuple(self.why_excluded()), None)

    def why_excluded(self) -> list[str]:
        """Each reason for which arms are out of the budget, with the arms, and what to do about it."""
        groups: dict[str, list[int]] = {}
        for row, why in enumerate(self.excluded):
            if why:
                groups.setdefault(why, []).append(row)
        lines = [f"{self.names(rows)}: {why}." for why, rows in list(groups.items())[:MOST_REASONS]]
        if len(groups) > MOST_REASONS:
            lines.append(f"The table of arms has {len(groups) - MOST_REASONS} more reasons.")
        if any(ABOVE in why for why in groups):
            lines.append("Raise the bound in report.budget, or measure a smaller model or a smaller depth.")
        return lines

    def deploy(self, arm: int) -> Verdict:
        c = self.comparison
        if arm == c.best:
            tail = f"no other arm is better by {self.margin} or more{self.deeper_price(arm)}"
        else:
            tail = f"as good as the best within {self.margin}, {self.price(arm)}"
        sentence = f"Deploy {spoken(self.contest.arms[arm])}: {tail}."
        return Verdict(DEPLOY, sentence, (*self.gain_line(arm), *self.best_line(arm), *self.deeper(arm)), arm)

    def best(self) -> Verdict:
        """Reranking helps for certain, but no arm is certified to be as good as the best one."""
        arm, c = self.comparison.best, self.comparison
        rivals = [i for i in c.allowed if i != arm and c.as_the_best(i)]
        cheaper = [i for i in rivals if self.order.cheaper(i, arm)]
        tail = f"it came out on top and is better than {self.contest.baseline(arm)}"
        sentence = f"Deploy {spoken(self.contest.arms[arm])}: {tail}"
        sentence += "; no cheaper arm is shown to be as good." if self.cheaper(arm) else "."
        lines = [*self.gain_line(arm), *self.deeper(arm)]
        if rivals:
            lines.append(
                f"{counted(len(rivals), 'arm')} could not be told apart from it with "
                f"{self.queries:,} queries: {self.names(rivals)}."
            )
        if cheaper:
            lines.append(self.needed_to_certify(cheaper, arm))
        return Verdict(BEST, sentence, tuple(lines), arm)

    def do_not(self, arm: int) -> Verdict:
        tried = self.tried()
        line = (
            f"No arm can be better than {self.contest.baseline(arm)} by {self.margin} or more "
            f"({counted(self.queries, 'query', 'queries')})."
        )
        best = self.best_line(arm) if self.contest.several else []
        lines = (line, *best, *self.hurt_line(tried), *self.top_line(tried))
        return Verdict(NONE, f"Do not rerank: {self.not_worth_it(arm, tried)}.", lines, arm)

    def not_worth_it(self, arm: int, tried: Sequence[int]) -> str:
        """Why not to rerank; of several first stages only the best counts, not what helps another one."""
        if self.contest.several:
            stage = self.contest.arms[arm].stage_name
            return f"use {stage} as it is, which is as good as the best here within {self.margin}"
        if any(self.comparison.helps(i) for i in tried):
            return f"what helps gains less than {self.margin}"
        if all(self.comparison.hurts(i) for i in tried):
            return "nothing here helps, and every arm makes the ranking worse"
        return "nothing here helps"

    def unknown(self) -> Verdict:
        """No arm is shown to help, and it is not shown either that none does."""
        tried = self.tried()
        top = max(tried, key=lambda i: self.comparison.arms[i].gain.mean)
        sentence = (
            f"The data cannot tell: on {counted(self.queries, 'query', 'queries')} {self.not_shown(tried)}."
        )
        lines = (*self.top_line(tried), self.needed_to_detect(top), *self.hurt_line(tried))
        return Verdict(UNKNOWN, sentence, lines, None)

    def not_shown(self, tried: Sequence[int]) -> str:
        """What the data leave open; an arm may help although neither it nor the best can be recommended."""
        helping = [i for i in tried if self.comparison.helps(i)]
        if helping:
            return (
                f"{self.names(helping)} {'is' if len(helping) == 1 else 'are'} shown to beat "
                f"{self.baseline_of(helping)}, but no arm is shown to be as good as the best within "
                f"{self.margin}"
            )
        return f"no arm is shown to beat {self.contest.baselines}, and it is not shown that none does"

    def tried(self) -> list[int]:
        """The arms that rerank and may be deployed."""
        return [i for i in self.comparison.allowed if self.contest.arms[i].reranks]

    def baseline_of(self, rows: Sequence[int]) -> str:
        """What several arms' gains are measured against."""
        names = {self.contest.baseline(i) for i in rows}
        return names.pop() if len(names) == 1 else "their own first stages without reranking"

    def hurt_line(self, tried: Sequence[int]) -> list[str]:
        hurting = [i for i in tried if self.comparison.hurts(i)]
        line = f"Worse than {self.baseline_of(hurting)} for certain: {self.names(hurting)}."
        return [line] if hurting else []

    def price(self, arm: int) -> str:
        """At what share of the best arm's cost."""
        return price_words(self.order, arm, self.comparison.best)

    def deeper_price(self, arm: int) -> str:
        """What the deepest arm of the same curve would cost more."""
        deepest = self.deepest(arm)
        return deeper_price_words(self.order, arm, deepest, self.contest.arms[deepest].depth)

    def deepest(self, arm: int) -> int:
        """The deepest arm of the same curve."""
        arms = self.contest.arms
        return max(
            (i for i, other in enumerate(arms) if other.curve == arms[arm].curve), key=lambda i: arms[i].depth
        )

    def cheaper(self, arm: int) -> bool:
        return any(self.order.cheaper(i, arm) for i in self.tried())

    def gain_line(self, arm: int) -> list[str]:
        found = self.comparison.arms[arm]
        if not self.contest.arms[arm].reranks:
            return []
        helped, hurt, same = found.wins
        return [
            f"Against {self.contest.baseline(arm)}: {signed(found.gain)} {self.measure} "
            f"(p {p_value(found.gain_p)}); "
            f"{helped:,} queries helped, {hurt:,} hurt, {same:,} unchanged."
        ]

    def best_line(self, arm: int) -> list[str]:
        best = self.comparison.best
        if arm == best:
            return []
        found = self.comparison.arms[arm].to_best
        return [
            f"Against {self.contest.arms[best].name}, which came out on top: {signed(found)} {self.measure}."
        ]

    def top_line(self, tried: Sequence[int]) -> list[str]:
        """The arm that gains most, and over what."""
        top = max(tried, key=lambda i: self.comparison.arms[i].gain.mean)
        found = self.comparison.arms[top]
        what = "largest gain" if self.contest.several else "highest"
        return [
            f"The {what}, {self.contest.arms[top].name}: {signed(found.gain)} {self.measure} against "
            f"{self.contest.baseline(top)} (p {p_value(found.gain_p)})."
        ]

    def deeper(self, arm: int) -> list[str]:
        """What the deepest arm of the same curve gains over this one."""
        arms = self.contest.arms
        deepest = self.deepest(arm)
        if arms[deepest].depth <= arms[arm].depth:
            return []
        more = float((self.contest.compared[deepest] - self.contest.compared[arm]).mean())
        return [f"Reranking down to {arms[deepest].depth} instead changes {self.measure} by {more:+.4f}."]

    def needed_to_detect(self, arm: int) -> str:
        """How many queries a gain of the observed size would take."""
        gain = gains_of(self.contest)[arm]
        smallest = minimum_detectable_difference(gain, power=POWER, level=self.comparison.level)
        if not math.isfinite(smallest):
            return "One query says nothing about the next one; judge more queries."
        target = max(abs(float(gain.mean())), self.comparison.delta)
        count = math.ceil(self.queries * (smallest / target) ** 2) if target > 0 else 0
        line = (
            f"{counted(self.queries, 'query', 'queries')} show a difference of about {smallest:.3f} or more"
        )
        return line + (
            f"; one of {target:.3f} takes about {rounded(count):,}." if count > self.queries else "."
        )

    def needed_to_certify(self, cheaper: Sequence[int], best: int) -> str:
        """How many queries it would take to show that the most alike of the cheaper arms is as good."""
        if self.queries < 2 or self.comparison.delta == 0:
            return "More queries are needed to show that a cheaper arm is as good."
        spread = min(
            float((self.contest.compared[i] - self.contest.compared[best]).std(ddof=1)) for i in cheaper
        )
        count = math.ceil(((Z_POWER + Z_ONE_SIDED) * spread / self.comparison.delta) ** 2)
        count = max(count, self.queries + 1)
        return (
            f"To show that a cheaper arm is as good within {self.margin} takes about {rounded(count):,} "
            "queries, if it is."
        )

    def names(self, rows: Sequence[int], most: int = 6) -> str:
        shown = ", ".join(self.contest.arms[i].name for i in rows[:most])
        return shown + (f" and {len(rows) - most} more" if len(rows) > most else "")


def spoken(arm: Arm) -> str:
    """minilm at depth 20; minicpm at layer 28 and depth 20."""
    name = arm.curve.removesuffix(f" layer {arm.layer}") if arm.layer is not None else arm.curve
    place = f"layer {arm.layer} and depth {arm.depth}" if arm.layer is not None else f"depth {arm.depth}"
    return f"{name} at {place}"


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def rounded(count: int) -> int:
    """Two figures are all that such an estimate is good for."""
    size = 10 ** max(0, int(np.log10(count)) - 1) if count else 1
    return math.ceil(count / size) * size


def signed(interval: Sequence[float]) -> str:
    mean, low, high = interval
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
