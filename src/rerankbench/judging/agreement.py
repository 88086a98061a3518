"""How well judges agree: Cohen's kappa over the pairs that two of them judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.visible import visible
from rerankbench.judging.pool import Pair
from rerankbench.judging.qrels import MODEL
from rerankbench.judging.record import JUDGED, Record

Values = NDArray[np.generic]

FEWEST = 20  # pairs that both judged, below which agreement says nothing


@dataclass(frozen=True)
class Agreement:
    """Two judges over `pairs` that both judged.

    kappa: of relevant or not, None where both always said the same one thing; weighted: of the grades, with
    quadratic weights; same: the share of equal grades.
    """

    judge: str
    other: str
    pairs: int
    kappa: float | None
    weighted: float | None
    same: float

    def line(self) -> str:
        kappa = "not defined (one answer only)" if self.kappa is None else f"{self.kappa:.2f}"
        return (
            f"{named(self.judge)} and {named(self.other)}: {self.pairs:,} pairs judged by both, "
            f"Cohen's kappa {kappa} (relevant or not), {100 * self.same:.0f}% equal grades"
        )


def agreements(record: Record, threshold: int = 1) -> list[Agreement]:
    """Every two judges who judged some of the same pairs."""
    given = {judge: grades_of(record, judge) for judge in record.judges()}
    people_first = sorted(given, key=lambda judge: (judge.startswith(MODEL), judge))
    found = (agreement(a, given[a], b, given[b], threshold) for a, b in combinations(people_first, 2))
    return [each for each in found if each is not None]


def grades_of(record: Record, judge: str) -> dict[Pair, int]:
    found = record.of(judge).items()
    return {
        pair: answer.grade for pair, answer in found if answer.answer == JUDGED and answer.grade is not None
    }


def agreement(
    judge: str, ours: Mapping[Pair, int], other: str, theirs: Mapping[Pair, int], threshold: int
) -> Agreement | None:
    """Two judges; None where they share no pair."""
    both = sorted(set(ours) & set(theirs))
    if not both:
        return None
    a, b = (np.array([grades[pair] for pair in both]) for grades in (ours, theirs))
    relevant, graded = kappa(a >= threshold, b >= threshold), kappa(a, b, "quadratic")
    return Agreement(judge, other, len(both), relevant, graded, same=float((a == b).mean()))


def kappa(one: Values, other: Values, weights: str | None = None) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement 1960); None where there is one value."""
    if len(np.unique(np.concatenate([one, other]))) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(one, other, weights=weights))


def warnings(record: Record, least: float, collection: str = "") -> list[str]:
    """What a record says of how far its judgements can be trusted.

    least: the kappa between a model and people below which the model's judgements are warned of; collection:
    the fingerprint of the one that is judged.
    """
    found = agreements(record)
    models = [judge for judge in record.judges() if judge.startswith(MODEL)]
    lines = [each.line() + "." for each in found]
    for each in found:
        low = each.kappa is not None and each.kappa < least and each.pairs >= FEWEST
        if each.other.startswith(MODEL) and not each.judge.startswith(MODEL) and low:
            lines.append(
                f"Warning: {named(each.other)} hardly agrees with {named(each.judge)} "
                f"(kappa {each.kappa:.2f}, below report.kappa={least:g}): do not rely on figures that rest "
                "on its judgements."
            )
    checked = {each.other for each in found if each.pairs >= FEWEST and not each.judge.startswith(MODEL)}
    lines += [
        f"Warning: nobody judged {FEWEST} of the pairs that {named(model)} judged, so how well it judges is "
        "not known."
        for model in models
        if model not in checked
    ]
    return lines + elsewhere(record, collection)


def elsewhere(record: Record, collection: str) -> list[str]:
    """A warning of judgements of a collection with another fingerprint; nothing where there is none."""
    known = [each for each in record.latest.values() if each.answer == JUDGED and each.collection]
    others = sum(each.collection != collection for each in known) if collection else 0
    if not others:
        return []
    return [
        f"Warning: {others:,} of {len(known):,} answers were given when documents or queries were others; "
        "they count by their ids, so they are wrong where an id has another text now."
    ]


def named(judge: str) -> str:
    kind, _, name = judge.partition(":")
    return visible(f"the model {name}" if f"{kind}:" == MODEL else name)
