"""What the settings of a sweep stand for, listed no further than anybody could wait for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice

from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException

MOST_JOBS = 10_000  # of one command


def values(setting: Override) -> list[str]:
    """What a setting stands for, in Hydra's grammar: of a sweep its first values, one more than `MOST_JOBS`.

    Empty for what lists no values: intervals, and ranges that lead nowhere.
    """
    if not setting.is_sweep_override():
        return [setting.get_value_element_as_str()]
    given = setting.value()
    try:
        listed = map(str, given.range()) if isinstance(given, RangeSweep) else setting.sweep_string_iterator()
        return list(islice(listed, MOST_JOBS + 1))
    except (ArithmeticError, ValueError, HydraException):
        return []


def problem(counts: Mapping[str, int]) -> str:
    """Why there are too many values of these keys; empty if there are not."""
    jobs, more = math.prod(counts.values()), "+" * (max(counts.values(), default=0) > MOST_JOBS)
    swept = " × ".join(f"{count:,} of {key}" for key, count in counts.items() if count > 1)
    many = f"the sweep has {jobs:,}{more} jobs ({swept}), at most {MOST_JOBS:,} are possible"
    return f"{many}: give fewer values" if jobs > MOST_JOBS else ""
