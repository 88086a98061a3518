"""How much of a verdict rests on judgements: by whom they were made, and which comparisons they settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rerankbench.report.arms.arms import Contest
from rerankbench.report.claims.verdict import NONE, UNKNOWN, Verdict
from rerankbench.report.wording import counted, first_of

HEADINGS = ("arm", "against", "", "expected difference", "at the least and most")
OPEN, BETTER = "open", "better"


@dataclass(frozen=True)
class Comparison:
    """Two arms by name: `state` is what is settled of the first, or open.

    expected: the mean difference, with chances for pairs that nobody judged; low, high: what it can become at
    most, whatever their grades are. within: whether it is settled that the first is not worse by more than
    delta.
    """

    arm: str
    other: str
    state: str
    expected: float
    low: float
    high: float
    within: bool


@dataclass(frozen=True)
class Settled:
    """What judgements of a part of the pairs settle.

    judged_by: in words; judged, pairs: how many pairs of the first ranks are judged, and how many there are.
    left, left_queries: about how many are left to judge until the best arm is settled. warnings: what speaks
    against the judgements themselves.
    """

    file: str
    judged_by: str
    judged: int
    pairs: int
    measure: str
    comparisons: tuple[Comparison, ...]
    left: int
    left_queries: int
    warnings: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return self.judged >= self.pairs

    def lines(self) -> list[str]:
        """By whom, how much of it, and what speaks against it."""
        share = f"{self.judged:,} of the {self.pairs:,} pairs on first ranks are judged"
        return [f"Judgements of {self.file}: {self.judged_by}; {share}.", *self.warnings]

    def assumption(self) -> str:
        """How pairs count that nobody judged; empty where there are none."""
        if self.whole:
            return ""
        return (
            "Figures are means over completions of the judgements: a pair that nobody judged counts with the "
            "grade that is to be expected where the arms rank it. “Settled” means that nearly all "
            "completions agree; simulated, a settled verdict is wrong at most once in twenty."
        )

    def of(self, arm: str) -> list[Comparison]:
        return [each for each in self.comparisons if each.arm == arm]


def verdict(contest: Contest, found: Verdict, settled: Settled) -> Verdict:
    """The verdict, or that it is open: it claims nothing that the judgements leave open."""
    reasons = (*settled.lines(), *found.reasons)
    if found.arm is None or not (why := still_open(contest, found, settled)):
        return replace(found, reasons=reasons)
    more, queries = counted(settled.left, "more pair"), counted(settled.left_queries, "query", "queries")
    todo = f": judge about {more} of {queries} (rerankbench-judge)" if settled.left else ""
    judged = counted(settled.judged, "judgement does", "judgements do")
    sentence = f"Open: {judged} not settle which arm is best{todo}."
    so_far = f"So far, but not settled {why}: {found.sentence}"
    return Verdict(UNKNOWN, sentence, (so_far, *reasons), None)


def still_open(contest: Contest, found: Verdict, settled: Settled) -> str:
    """Against whom the recommended arm is not settled, in words; empty where all is."""
    assert found.arm is not None
    chosen = contest.arms[found.arm]
    stages = {arm.name for arm in contest.arms if not arm.reranks}
    must_win = set() if found.kind == NONE else stages
    rivals = [
        each.other
        for each in settled.of(chosen.name)
        if (each.state != BETTER if each.other in must_win else not each.within)
    ]
    return f"against {first_of(rivals, 3)}" if rivals else ""


def table(settled: Settled, arms: Sequence[str]) -> list[list[str]]:
    """Each pair of some arms once: arm, other, settled or open, expected difference, bounds."""
    place = {name: i for i, name in enumerate(arms)}
    return [
        [each.arm, each.other, told(each), f"{each.expected:+.4f}", f"{each.low:+.4f} to {each.high:+.4f}"]
        for each in settled.comparisons
        if each.arm in place and each.other in place and place[each.arm] < place[each.other]
    ]


def told(comparison: Comparison) -> str:
    return OPEN if comparison.state == OPEN else f"settled: {comparison.state}"
