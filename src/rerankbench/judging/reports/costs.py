"""What arms cost, which is known without any judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankbench.report.arms.arms import Arm
from rerankbench.report.costs import cost as costing
from rerankbench.report.costs.book import Book
from rerankbench.report.race.record import Record
from rerankbench.report.wording import if_known

FORMS = {
    "latency_p50_ms": "{:,.1f}",
    "pairs_per_second": "{:,.0f}",
    "parameters_m": "{:,.0f}M",
    "price_per_1k": "{:,.4g}",
}
HEADINGS = ("arm", "reranking p50 ms", "pairs/s", "parameters", "price of 1,000 queries")


@dataclass(frozen=True)
class ArmCost:
    """One arm's costs; None: not measured, or not well enough."""

    name: str
    latency_p50_ms: float | None
    pairs_per_second: float | None
    parameters_m: float | None
    price_per_1k: float | None


def costs(arms: Sequence[Arm], race: Record | None, price_per_hour: float | None) -> tuple[ArmCost, ...]:
    """The costs of some arms, by the race if one was held, and by their runs."""
    book = Book(race, len({arm.stage for arm in arms}) > 1, price_per_hour)
    return tuple(one(arm, book) for arm in arms)


def one(arm: Arm, book: Book) -> ArmCost:
    found = costing.of(arm, book)
    return ArmCost(arm.name, **{name: getattr(found, name) for name in FORMS})


def rows(found: Sequence[ArmCost]) -> list[list[str]]:
    """One row an arm, for tables; empty cells where nothing was measured."""
    return [[a.name, *(if_known(getattr(a, name), form) for name, form in FORMS.items())] for a in found]
