"""Everything that is found of arrangements: what was tried, what is shown, chosen and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from rerankbench.report.arrangements import answers as answering
from rerankbench.report.arrangements.answers import MARGINS, Answer, Desk
from rerankbench.report.arrangements.choice import Chooser, chooser
from rerankbench.report.arrangements.claims import Shown, show
from rerankbench.report.arrangements.field import Field
from rerankbench.report.claims.comparison import Comparison
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.budget import problems
from rerankbench.report.settings import Report

SHARE = 0.2  # of the chance of a false claim that all answers together may take; the plain arms keep the rest


@dataclass(frozen=True, eq=False)
class Arranged:
    """What arrangements add to a report. Rows are those of `field`: the plain arms come first.

    `answers`: for every budget and margin; the first ones are without a budget. `headline`: the one at the
    report's margin and budget. `reference`: the best plain arm. `alpha`: the chance of a false claim that is
    left to these.
    """

    field: Field
    shown: Shown
    answers: tuple[Answer, ...]
    headline: Answer
    reference: int
    margins: tuple[float, ...]
    excluded: tuple[str, ...]
    alpha: float


def arrange(
    field: Field,
    comparison: Comparison,
    plain_excluded: Sequence[str],
    settings: Report,
    book: Book,
) -> Arranged:
    """Test, choose and answer. `plain_excluded`: why each plain arm may not be deployed, or empty."""
    excluded = [*plain_excluded, *over_budget(field, settings, book)]
    margins = tuple(sorted({*MARGINS, settings.delta}))
    allowed = list(comparison.allowed)
    alpha = SHARE * (1.0 - settings.level)
    shown = show(field, allowed, margins, alpha)
    certified = np.zeros(len(field), dtype=bool)
    certified[[i for i in allowed if comparison.certified(i)]] = True
    helping = shown.helps.copy()
    helping[[i for i in allowed if comparison.helps(i)]] = True
    desk = Desk(
        field=field,
        shown=shown,
        chooser=cache(partial(chooser_over, field)),
        certified=certified,
        helping=helping,
        usable=np.array([not why for why in excluded]),
        margin=settings.delta,
        reference=comparison.best,
    )
    found = answering.answers(desk, answering.needs(field, book), margins)
    headline = next(each for each in found if each.margin == settings.delta)
    return Arranged(
        field=field,
        shown=shown,
        answers=tuple(found),
        headline=headline,
        reference=comparison.best,
        margins=margins,
        excluded=tuple(excluded),
        alpha=alpha,
    )


def chooser_over(field: Field, baseline: int) -> Chooser:
    """Of gains over one first stage (a row)."""
    return chooser(field.values, field.order.values, field.values[baseline])


def over_budget(field: Field, settings: Report, book: Book) -> list[str]:
    """Why each arrangement may not be deployed, empty where it may."""
    rows = range(field.plain, len(field))
    return [problems(field.costs[row], field.steps(row), settings.budget, book) for row in rows]
