"""The sentence that a sweep ends in, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerankbench.evaluation.measures import display_name
from rerankbench.report.arms.arms import FAILED, NOT_A_NUMBER, OVER_BUDGET, Arm, Contest, LeftOut
from rerankbench.report.claims import sample_size
from rerankbench.report.claims.comparison import RANGE, Comparison, gains_of
from rerankbench.report.costs.cost import ABOVE, NOT_MEASURED, Ordering, deeper_price_words, price_words
from rerankbench.report.wording import counted, first_of, p_value, signed

DEPLOY, BEST, NONE, UNKNOWN = "deploy", "deploy the best", "do not rerank", "cannot tell"
MOST_REASONS = 6  # shown under a verdict that has no arm
MOST_NAMES = 6  # of arms in one line
LONGEST = 120  # characters of an error
LARGE_GAIN = 0.1  # what a useful collection is able to show


@dataclass(frozen=True)
class Verdict:
    """What to do. `arm` is the row of the recommended arm, None where nothing can be said.

    `arrangement`: the row of the field of plain arms and arrangements, where an arrangement is recommended.
    """

    kind: str
    sentence: str
    reasons: tuple[str, ...]
    arm: int | None
    arrangement: int | None = None


def decide(
    contest: Contest, comparison: Comparison, order: Ordering, excluded: Sequence[str] = ()
) -> Verdict:
    """The cheapest arm that is certified; else the best if it helps; else nothing is crowned.

    excluded: why each arm may not be deployed, empty where it may.
    """
    kind, arm = recommended(contest, comparison, order)
    writer = VerdictWriter(contest, comparison, order, tuple(excluded))
    if not writer.tried():
        return writer.no_contestant()
    if arm is None:
        return writer.unknown()
    write = {DEPLOY: writer.deploy, BEST: writer.best, NONE: writer.do_not}[kind]
    return write(arm)


def recommended(contest: Contest, comparison: Comparison, order: Ordering) -> tuple[str, int | None]:
    """The kind of verdict, and the row of the arm that it recommends.

    Of the certified arms the cheapest whose cost is known, or the one with the highest mean where none is.
    """
    certified = [arm for arm in comparison.allowed if comparison.certified(arm)]
    if certified:
        known = [arm for arm in certified if math.isfinite(order.values[arm])]
        chosen = min(
            known or certified,
            key=lambda arm: (order.values[arm] if known else 0.0, -comparison.arms[arm].mean.mean),
        )
        return (DEPLOY if contest.arms[chosen].reranks else NONE), chosen
    if comparison.helps(comparison.best):
        return BEST, comparison.best
    return UNKNOWN, None


def left_out(contest: Contest, excluded: Sequence[str]) -> list[LeftOut]:
    """Everything that the verdict does not speak of: what has no values, and what is over the budget."""
    over = [
        LeftOut(arm.name, OVER_BUDGET, why, arm.run.place)
        for arm, why in zip(contest.arms, excluded, strict=False)
        if why
    ]
    return [*contest.left_out, *over]


@dataclass(frozen=True)
class VerdictWriter:
    """Puts what the comparison shows into words."""

    contest: Contest
    comparison: Comparison
    order: Ordering
    excluded: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        return len(self.contest.query_ids)

    @property
    def all_queries(self) -> str:
        return counted(self.queries, "query", "queries")

    @property
    def measure(self) -> str:
        return display_name(self.contest.measure)

    @property
    def margin(self) -> str:
        return f"{self.comparison.delta:g} {self.measure}"

    @property
    def scope(self) -> str:
        """What a claim about all arms is restricted to, with a space before it; empty if to nothing."""
        kinds = {each.kind for each in left_out(self.contest, self.excluded)}
        parts = ["within the budget"] if OVER_BUDGET in kinds else []
        parts += ["with complete results"] if kinds & {FAILED, NOT_A_NUMBER} else []
        return f" {' and '.join(parts)}" if parts else ""

    def no_contestant(self) -> Verdict:
        reasons = (*self.why_excluded(), *self.not_judged(FAILED, NOT_A_NUMBER))
        if not any(arm.reranks for arm in self.contest.arms):
            what = "no reranker has complete results" if reasons else "no reranker was measured"
            return Verdict(UNKNOWN, f"No verdict: {what}.", reasons, None)
        known = any(why and NOT_MEASURED not in why for why in self.excluded)
        what = "no reranker fits" if known else "no reranker is known to fit"
        return Verdict(NONE, f"Do not rerank within this budget: {what}.", reasons, None)

    def why_excluded(self) -> list[str]:
        """Each reason for which arms are out of the budget, with the arms, and what to do about it."""
        groups: dict[str, list[int]] = {}
        for row, why in enumerate(self.excluded):
            if why:
                groups.setdefault(why, []).append(row)
        lines = [f"{self.names(rows)}: {why}." for why, rows in list(groups.items())[:MOST_REASONS]]
        if len(groups) > MOST_REASONS:
            lines.append(f"{len(groups) - MOST_REASONS} more reasons are in the table of arms.")
        if any(ABOVE in why for why in groups):
            lines.append("Raise the bound in report.budget, or measure a smaller model or a smaller depth.")
        return lines

    def not_judged(self, *kinds: str) -> list[str]:
        """The arms that the verdict does not speak of, and why."""
        some = [each for each in left_out(self.contest, self.excluded) if each.kind in kinds]
        parts = [f"{each.arm} ({shortened(each.why)}{self.gain_of(each)})" for each in some[:MOST_REASONS]]
        if len(some) > MOST_REASONS:
            parts.append(f"{len(some) - MOST_REASONS} more")
        return [f"The verdict does not cover: {', '.join(parts)}."] if some else []

    def gain_of(self, arm: LeftOut) -> str:
        """What an arm over the budget gained: it was measured, it only may not be deployed."""
        if arm.kind != OVER_BUDGET:
            return ""
        row = next(i for i, each in enumerate(self.contest.arms) if each.name == arm.arm)
        gain = self.comparison.arms[row].gain.mean
        return f"; {gain:+.4f} {self.measure}" if self.contest.arms[row].reranks else ""

    def all_not_judged(self) -> list[str]:
        return self.not_judged(FAILED, NOT_A_NUMBER, OVER_BUDGET)

    def deploy(self, arm: int) -> Verdict:
        c = self.comparison
        if arm == c.best:
            deepest = self.deepest(arm)
            more = deeper_price_words(self.order, arm, deepest, self.contest.arms[deepest].depth)
            tail = f"no other arm{self.scope} is better by {self.margin} or more{more}"
        else:
            of = f" of those{self.scope}" if self.scope else ""
            tail = f"as good as the best{of} within {self.margin}, {price_words(self.order, arm, c.best)}"
        sentence = f"Deploy {spoken(self.contest.arms[arm])}: {tail}."
        lines = [*self.gain_line(arm), *self.overstated(arm), *self.best_line(arm), *self.deeper(arm)]
        return Verdict(DEPLOY, sentence, (*lines, *self.unknown_costs(), *self.all_not_judged()), arm)

    def best(self, arm: int) -> Verdict:
        """The arm on top helps, but no arm is certified to be as good as the best one."""
        c = self.comparison
        rivals = [i for i in c.allowed if i != arm and c.as_the_best(i)]
        cheaper = [i for i in rivals if self.order.cheaper(i, arm)]
        tail = f"it came out on top and is better than {self.contest.every_baseline}"
        sentence = f"Deploy {spoken(self.contest.arms[arm])}: {tail}"
        dearer = any(self.order.cheaper(i, arm) for i in c.allowed)
        sentence += "; no cheaper arm is shown to be as good." if dearer else "."
        lines = [*self.gain_line(arm), *self.overstated(arm), *self.deeper(arm)]
        if rivals:
            others = counted(len(rivals), "other arm")
            lines.append(f"{self.all_queries} cannot distinguish it from {others}: {self.names(rivals)}.")
        if cheaper:
            lines += self.needed_to_certify(cheaper, arm)
        lines += [*self.rule_of_three(), *self.unknown_costs(), *self.all_not_judged()]
        return Verdict(BEST, sentence, tuple(lines), arm)

    def do_not(self, arm: int) -> Verdict:
        tried = self.tried()
        line = (
            f"No arm{self.scope} is better than {self.contest.baseline(arm)} by {self.margin} or more "
            f"({self.all_queries})."
        )
        best = self.best_line(arm) if self.contest.several else []
        lines = (line, *best, *self.hurt_line(tried), *self.top_line(tried), *self.all_not_judged())
        return Verdict(NONE, f"Do not rerank: {self.not_worth_it(arm, tried)}.", lines, arm)

    def not_worth_it(self, arm: int, tried: Sequence[int]) -> str:
        """Why not to rerank; of several first stages only the best counts, not what helps another one."""
        if self.no_room:
            why = "these queries are too easy" if self.easy else "the candidates leave nothing to gain"
            return f"{why}; {self.no_room}"
        if self.contest.several:
            stage = self.contest.arms[arm].stage_name
            of = f"those{self.scope}" if self.scope else "all arms here"
            return f"use {stage} alone, which is as good as the best of {of} within {self.margin}"
        if any(self.comparison.helps(i) for i in tried):
            return f"the arms{self.scope} that help gain less than {self.margin}"
        if all(self.comparison.hurts(i) for i in tried):
            return f"every arm{self.scope} makes the ranking worse"
        return f"no arm{self.scope} gains {self.margin} or more"

    def unknown(self) -> Verdict:
        """No arm is shown to help, nor that none of them does."""
        tried = self.tried()
        top = max(tried, key=lambda i: self.comparison.arms[i].gain.mean)
        lines = [*self.top_line(tried), *self.overstated(top), *self.symmetric_line(top)]
        lines += [*self.needed_to_detect(top), *self.rule_of_three(), *self.hurt_line(tried)]
        sentence = f"The data cannot tell: {self.not_shown(tried)}."
        if self.no_room and self.easy:
            sentence = f"Too easy to tell: {self.no_room}."
        elif self.no_room:
            sentence = f"The candidates leave nothing to gain: {self.no_room}. Retrieve better ones first."
        elif self.too_few:
            sentence = f"Too small to tell: {self.not_shown(tried)}; {self.too_few}."
        return Verdict(UNKNOWN, sentence, (*lines, *self.all_not_judged()), None)

    @property
    def top_stage(self) -> int | None:
        """The first stage with the highest mean that may be deployed."""
        means = self.contest.compared.mean(axis=1)
        stages = [i for i in self.comparison.allowed if not self.contest.arms[i].reranks]
        return max(stages, key=lambda i: means[i], default=None)

    @property
    def easy(self) -> bool:
        """Whether a first stage alone is nearly perfect, so that better candidates would not help either."""
        top = self.top_stage
        return top is not None and RANGE - float(self.contest.compared[top].mean()) < LARGE_GAIN

    @property
    def no_room(self) -> str:
        """That no reranker could gain delta after any first stage, whatever it did; empty if one could."""
        deepest: dict[str, tuple[int, float]] = {}
        for (stage, depth), values in self.contest.oracle.items():
            if self.contest.measure in values:
                best = float(np.mean(values[self.contest.measure]))
                deepest[stage] = max(deepest.get(stage, (0, 0.0)), (depth, best))
        top = self.top_stage
        if top is None or not deepest:
            return ""
        reached = float(self.contest.compared[top].mean())
        possible = max(best for _, best in deepest.values())
        if possible - reached >= max(self.comparison.delta, 1e-9):
            return ""
        return (
            f"{self.contest.arms[top].stage_name} alone reaches {self.measure} {reached:.4f}, and a "
            f"perfect order of the candidates would reach {possible:.4f}"
        )

    @property
    def too_few(self) -> str:
        """That so few queries cannot show even a large gain, empty if they can."""
        least = self.comparison.own_alpha ** (-1.0 / self.queries) - 1.0  # of a gain without any spread
        if least <= LARGE_GAIN:
            return ""
        if least > RANGE:
            return "so few queries cannot show any gain"
        return f"so few queries can only show gains of {least:.2g} or more"

    def not_shown(self, tried: Sequence[int]) -> str:
        """What the data leave open; an arm may help although neither it nor the best can be recommended."""
        do = "does" if self.queries == 1 else "do"
        helping = [i for i in tried if self.comparison.helps(i)]
        if helping:
            return (
                f"{self.names(helping)} {'is' if len(helping) == 1 else 'are'} shown to beat "
                f"{self.contest.every_baseline}, but {self.all_queries} {do} not show which arm{self.scope} "
                f"is as good as the best within {self.margin}"
            )
        return (
            f"{self.all_queries} {do} not show whether any arm{self.scope} is better than "
            f"{self.contest.every_baseline}"
        )

    def tried(self) -> list[int]:
        """The arms that rerank and may be deployed."""
        return [i for i in self.comparison.allowed if self.contest.arms[i].reranks]

    def baseline_of(self, rows: Sequence[int]) -> str:
        """What several arms' gains are measured against."""
        names = {self.contest.baseline(i) for i in rows}
        return names.pop() if len(names) == 1 else "their own first stages without reranking"

    def hurt_line(self, tried: Sequence[int]) -> list[str]:
        hurting = [i for i in tried if self.comparison.hurts(i)]
        return [f"Worse than {self.baseline_of(hurting)}: {self.names(hurting)}."] if hurting else []

    def unknown_costs(self) -> list[str]:
        """Which arms took no part in the question which one is cheaper."""
        unknown = [i for i in self.comparison.allowed if not math.isfinite(self.order.values[i])]
        return [f"Cost unknown: {self.names(unknown)}."] if unknown else []

    def deepest(self, arm: int) -> int:
        """The deepest arm of the same curve."""
        arms = self.contest.arms
        return max(
            (i for i, other in enumerate(arms) if other.curve == arms[arm].curve), key=lambda i: arms[i].depth
        )

    def gain_line(self, arm: int) -> list[str]:
        found = self.comparison.arms[arm]
        if not self.contest.arms[arm].reranks:
            return []
        return [
            f"Against {self.contest.baseline(arm)}: {signed(found.gain)} {self.measure} "
            f"(p {p_value(found.gain_p)}); {self.changes(arm)}."
        ]

    def changes(self, arm: int) -> str:
        """How many queries the arm helped, hurt and left, and what the worst of them lost."""
        found = self.comparison.arms[arm]
        helped, hurt, same = found.wins
        text = f"{counted(helped, 'query', 'queries')} helped, {hurt:,} hurt, {same:,} unchanged"
        return text + (f"; largest loss {found.largest_loss:.4f}" if hurt else "")

    def overstated(self, arm: int) -> list[str]:
        """By how much a gain is too high that was chosen for being the highest."""
        selected, tried = self.comparison.selected, len(self.tried())
        if selected is None or selected.arm != arm or tried < 2 or selected.optimism < 0.00005:
            return []
        if selected.mean <= 0:
            return []  # there is no gain to overstate
        return [
            f"Because it is the highest of {tried:,} arms on the same queries, its gain is overstated by "
            f"about {selected.optimism:.4f}: expect {selected.mean - selected.optimism:+.4f} "
            f"[{selected.low:+.4f}, {selected.high:+.4f}], corrected for the selection."
        ]

    def symmetric_line(self, arm: int) -> list[str]:
        """Why a gain that sign flips call significant is not claimed."""
        found = self.comparison.arms[arm]
        if found.gain.mean <= 0 or found.sign_flip_p > self.comparison.alpha or self.comparison.helps(arm):
            return []
        rare = max(1, round(RANGE / found.gain.mean))  # queries of which one total loss undoes the gain
        return [
            f"A sign-flip test alone would call this gain significant (p {p_value(found.sign_flip_p)}), but "
            f"it ignores losses larger or rarer than those observed: one query in {rare:,} that loses "
            f"{RANGE:g} would undo the gain."
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
        what = "Largest gain" if self.contest.several else "Highest mean of the arms that rerank"
        what = what if found.gain.mean >= 0 else "Smallest loss"
        return [
            f"{what}, {self.contest.arms[top].name}: {signed(found.gain)} {self.measure} against "
            f"{self.contest.baseline(top)} (p {p_value(found.gain_p)}); {self.changes(top)}."
        ]

    def deeper(self, arm: int) -> list[str]:
        """What the deepest arm of the same curve gains over this one."""
        arms = self.contest.arms
        deepest = self.deepest(arm)
        if arms[deepest].depth <= arms[arm].depth:
            return []
        more = float((self.contest.compared[deepest] - self.contest.compared[arm]).mean())
        return [f"Reranking {arms[deepest].depth} candidates instead changes {self.measure} by {more:+.4f}."]

    def needed_to_detect(self, arm: int) -> list[str]:
        """How many queries a gain of the observed size would take, corrected for the number of claims."""
        if self.queries == 1:
            return ["One query says nothing about others; judge more queries."]
        gain, p = gains_of(self.contest)[arm], self.comparison.needed_p
        smallest = sample_size.detectable(gain, RANGE, p)
        target = max(float(gain.mean()), self.comparison.delta)  # of a loss, the least gain that would count
        count = sample_size.queries_needed(gain, target, RANGE, p)
        lines = (
            [f"{self.all_queries} like these can show a gain of about {smallest:.3f} or more"]
            if smallest
            else []
        )
        if count and count > self.queries:
            lines.append(f"showing one of {target:.3f} takes about {rounded(count):,} queries")
        if not lines:
            return []
        line, tried = "; ".join(lines), counted(len(self.tried()), "arm")
        return [f"{line[0].upper()}{line[1:]} (with 80% power, {tried} being compared)."]

    def needed_to_certify(self, cheaper: Sequence[int], best: int) -> list[str]:
        """How many queries it would take to show that the most alike of the cheaper arms is as good."""
        delta, values = self.comparison.delta, self.contest.compared
        if self.queries < 2 or delta == 0:
            return ["More queries are needed to show that a cheaper arm is as good."]
        alike = min((values[i] - values[best] for i in cheaper), key=sample_size.spread)
        count = sample_size.queries_needed(alike, delta, RANGE - delta, self.comparison.needed_within_p)
        if count is None:
            return []
        return [
            f"Showing that a cheaper arm is as good within {self.margin}, if it is, takes about "
            f"{rounded(max(count, self.queries + 1)):,} queries."
        ]

    def rule_of_three(self) -> list[str]:
        """How many queries "as good within delta" takes where hardly any query differs."""
        delta, alpha = self.comparison.delta, self.comparison.own_alpha
        least = sample_size.rule_of_three(delta, RANGE, alpha)
        if least is None or self.queries >= least:
            return []
        return [
            f"Even if no query differs, it takes at least {least:,} queries to show that two arms are "
            f"within {self.margin} of each other (about {-math.log(alpha) * RANGE:.2g} / {delta:g}; with "
            "fewer, rare losses go unseen too often)."
        ]

    def names(self, rows: Sequence[int]) -> str:
        return first_of([self.contest.arms[i].name for i in rows], MOST_NAMES)


def spoken(arm: Arm) -> str:
    """minilm at depth 20; minicpm at layer 28 and depth 20."""
    name = arm.curve.removesuffix(f" layer {arm.layer}") if arm.layer is not None else arm.curve
    place = f"layer {arm.layer} and depth {arm.depth}" if arm.layer is not None else f"depth {arm.depth}"
    return f"{name} at {place}"


def shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def rounded(count: int) -> int:
    """Two figures are all that such an estimate is good for."""
    size = 10 ** max(0, int(np.log10(count)) - 1) if count else 1
    return math.ceil(count / size) * size
