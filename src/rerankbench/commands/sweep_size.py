"""How many jobs a sweep has, added up before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal

from hydra.core.override_parser.types import Override, RangeSweep

MOST_JOBS = 10_000  # of one command


def problem(settings: Iterable[Override]) -> str:
    """Why these settings are no sweep that anybody could wait for; empty if they are one, or none."""
    counts = {one.key_or_group: values(one) for one in settings}  # the last of a key counts
    jobs = math.prod(counts.values())
    if jobs <= MOST_JOBS:
        return ""
    swept = " × ".join(f"{count:,} of {key}" for key, count in counts.items() if count > 1)
    many = f"{jobs:,}" if jobs < math.inf else "infinitely many"
    return f"the sweep has {many} jobs ({swept}), at most {MOST_JOBS:,} are possible: give fewer values"


def values(override: Override) -> int | float:
    """How many values a setting stands for; infinite for a range that never ends."""
    given = override.value()
    if not isinstance(given, RangeSweep):
        return sum(1 for _ in override.sweep_iterator()) if override.is_discrete_sweep() else 1
    try:
        start, stop, step = (Decimal(str(one)) for one in (given.start, given.stop, given.step))
        steps = math.ceil((stop - start) / step)
    except (ArithmeticError, ValueError):
        return math.inf
    # A short range is gone through: its decimals add up to a little more or less.
    return steps if steps > 2 * MOST_JOBS else sum(1 for _ in given.range())
