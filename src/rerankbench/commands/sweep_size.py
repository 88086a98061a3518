"""How many jobs a sweep has, added up before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

MOST_JOBS = 10_000  # of one command


def problem(settings: Iterable[Override]) -> str:
    """Why these settings are no sweep that anybody could wait for; empty if they are one, or none."""
    counts = {str(one.get_key_element()): values(one) for one in settings}  # the last of a key counts
    jobs = math.prod(counts.values())
    if jobs <= MOST_JOBS:
        return ""
    swept = " × ".join(f"{count:,} of {key}" for key, count in counts.items() if count > 1)
    many = f"{jobs:,}" if jobs < math.inf else "infinitely many"
    return f"the sweep has {many} jobs ({swept}), at most {MOST_JOBS:,} are possible: give fewer values"


def values(override: Override) -> int | float:
    """How many values a setting stands for; infinite for a range that never ends."""
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return 1
    given = override.value()
    if isinstance(given, ChoiceSweep):
        return len(given.list)
    if isinstance(given, RangeSweep):
        return in_range(given)
    return sum(1 for _ in override.sweep_iterator())  # options of a group, by a pattern


def in_range(given: RangeSweep) -> int | float:
    """The number of values of a range; only a short one is gone through, which sums of decimals need."""
    try:
        start, stop, step = (Decimal(str(one)) for one in (given.start, given.stop, given.step))
        if step == 0 or not (start.is_finite() and stop.is_finite() and step.is_finite()):
            return math.inf
        steps = math.ceil((stop - start) / step)
        return steps if steps > 2 * MOST_JOBS else sum(1 for _ in given.range())
    except (InvalidOperation, OverflowError):
        return math.inf
