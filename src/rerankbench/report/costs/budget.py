"""Whether an arm's costs are within the budget, as far as they are known."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rerankbench.report.arms.arms import Arm
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import (
    ABOVE,
    NOT_MEASURED,
    P95_QUERIES,
    Cost,
    charged,
    served,
    single_p50,
)
from rerankbench.report.race.record import Record
from rerankbench.report.settings import Budget


def over_budget(cost: Cost, arm: Arm, budget: Budget, book: Book | None = None) -> str:
    """Why the arm may not be deployed, empty if it may.

    Where several first stages compete, bounds are for the whole query, and for both processes' memory. An arm
    is within a bound only where that is shown: what is not known well enough is not within it.
    """
    book = book or Book()
    if not arm.reranks and not book.whole:
        return ""
    return problems(cost, (arm,), budget, book)


def problems(cost: Cost, steps: Sequence[Arm], budget: Budget, book: Book) -> str:
    """The same of the plain arms that follow each other in an arrangement, one or more."""
    late = p95_problem(cost, steps, budget.latency_p95_ms, book)
    large = memory_problem(cost, steps[0], budget.memory_mb, book)
    dear = price_problem(cost, steps, budget.price_per_1k, book)
    return "; ".join(filter(None, (late, large, dear)))


def p95_problem(cost: Cost, steps: Sequence[Arm], bound: float | None, book: Book) -> str:
    """Why the 95th percentile of the latency is not within the bound."""
    if bound is None:
        return ""
    span = cost.query_p95_interval if book.whole else cost.latency_p95_interval
    cure = f"{book.cure} report.budget.latency_p95_ms={bound:g}" if book.cure else ""
    if span is None:
        single = sum(map(single_p50, steps))
        if not book.raced and single > bound:
            return f"p50 latency {single:,.4g} ms {ABOVE} {bound:,.4g}"
        return unmeasured("p95 latency", cost.why, cure)
    low, high = span
    what = f"p95 latency {said(low, high)} ms"
    if low > bound:
        return f"{what} {ABOVE} {bound:,.4g}"
    if high <= bound:
        return ""
    if math.isinf(high):
        more = cure if book.race and book.race.queries >= P95_QUERIES else ""
        few = f"{cost.queries} queries were timed, and it takes {P95_QUERIES}"
        return unmeasured("p95 latency", few, more, " well enough")
    more = cure if book.race and book.race.queries > cost.queries else ""
    return unmeasured("p95 latency", f"{said(low, high)} ms, the bound is {bound:,.4g}", more, " well enough")


def said(low: float, high: float) -> str:
    """An interval, or what is known of one."""
    if math.isinf(high):
        return f"of at least {low:,.4g}"
    return f"[{low:,.4g}, {high:,.4g}]" if math.isfinite(low) else f"of at most {high:,.4g}"


def memory_problem(cost: Cost, arm: Arm, bound: float | None, book: Book) -> str:
    if bound is None:
        return ""
    parts = [cost.search_memory_mb] if book.whole else []
    parts += [cost.memory_mb] if arm.reranks else []
    if arm.reranks and served(arm):
        return unmeasured("peak memory", "it is its server's", "")
    if any(part is None for part in parts):
        return unmeasured("peak memory", cost.why, book.cure)
    total = sum(part or 0.0 for part in parts)
    return f"peak memory {total:,.4g} MB {ABOVE} {bound:,.4g}" if total > bound else ""


def price_problem(cost: Cost, steps: Sequence[Arm], bound: float | None, book: Book) -> str:
    """Why the price is not within the bound: that of this machine's hours, and of services asked."""
    if bound is None:
        return ""
    if any(served(step) and charged(step) is None for step in steps):
        return unmeasured("price per 1,000 queries", "", "set reranker.price_per_request for its run")
    if book.price_per_hour is None and not all(map(served, steps)):
        return unmeasured("price per 1,000 queries", "", "set report.price_per_hour")
    if cost.price_per_1k is None:
        few = f"throughput rests on {cost.pairs:,} pairs" if book.race else cost.why
        return unmeasured("price per 1,000 queries", few, book.cure)
    above = f"price per 1,000 queries {cost.price_per_1k:,.4g} {ABOVE} {bound:,.4g}"
    return above if cost.price_per_1k > bound else ""


def unmeasured(what: str, reason: str, cure: str, well: str = "") -> str:
    told = ": ".join(part for part in (reason, cure) if part)
    return f"{what} {NOT_MEASURED}{well}" + (f" ({told})" if told else "")


def cure(arms: Sequence[Arm], race: Record | None) -> str:
    """The command that measures what was not; empty where the runs' folders are not at hand."""
    folders = [Path(arm.run.place) for arm in arms]
    if not folders or not all(folder.is_dir() for folder in folders):
        return ""
    above = os.path.commonpath([folder.absolute() for folder in folders])
    wanted = [c.wanted_seconds for c in race.contestants if c.wanted_seconds] if race else []
    longer = max(wanted, default=2 * race.limit_seconds if race else 0)
    if race and race.busy:  # a quiet machine is what it takes
        longer = 0
    more = f" report.race.seconds={longer:g}" if longer else ""
    return f"rerankbench-report --race {shlex.quote(str(above))}{more}"
