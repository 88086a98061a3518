"""How many queries it would take to show something that these queries do not show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import bounded_mean

Array = NDArray[np.float64]

Z_POWER = 0.8416  # of the standard normal distribution, at a power of 0.8
MOST = 10_000_000  # queries; beyond it the answer is "more than anybody judges"


def queries_needed(differences: Array, mean: float, worst: float, p: float) -> int | None:
    """How many queries like these show that a true mean above 0 is so, 4 times in 5.

    `differences` [queries] give the spread, `mean` the true mean assumed, `worst` the largest loss possible,
    `p` the p-value that has to be reached (corrected for the number of claims). None: nobody judges so many,
    or nothing can be said, because no query differs from another.
    """
    if not spread(differences) or mean <= 0:
        return None
    if not shows(differences, mean, worst, p, MOST):
        return None
    low, high = 1, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(differences, mean, worst, p, middle) else (middle + 1, high)
    return high


def detectable(differences: Array, worst: float, p: float) -> float | None:
    """The smallest true mean that as many queries as these show, 4 times in 5; None as above."""
    if not spread(differences):
        return None
    low, high, queries = 0.0, worst, len(differences)
    if not shows(differences, high, worst, p, queries):
        return None
    for _ in range(15):  # to 1e-4
        middle = (low + high) / 2
        low, high = (low, middle) if shows(differences, middle, worst, p, queries) else (middle, high)
    return high


def spread(differences: Array) -> float:
    """The standard deviation; 0 where there is none, or only rounding."""
    if len(differences) < 2:
        return 0.0
    found = float(differences.std(ddof=1))
    return found if found > 1e-9 else 0.0


def shows(differences: Array, mean: float, worst: float, p: float, queries: int) -> bool:
    """Whether a sample that is as unlucky as 4 in 5 are not reaches the p-value."""
    unlucky = mean - Z_POWER * spread(differences) / math.sqrt(queries)
    row = differences - differences.mean() + unlucky
    return bool(bounded_mean.p_values(row, worst, copies=queries / len(row))[0] <= p)


def rule_of_three(delta: float, worst: float, alpha: float) -> int | None:
    """The fewest queries that show a mean loss of less than delta where no query differs; None for 0.

    About 3 x worst / delta at 95% (Hanley and Lippman-Hand, JAMA 1983).
    """
    if delta <= 0:
        return None
    return 1 if delta >= worst else math.ceil(math.log(alpha) / math.log1p(-delta / worst))
