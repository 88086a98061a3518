"""Is the mean of a bounded difference above 0, whatever its distribution?

Tests of a mean that look at the observed spread alone (Student's t, sign flips) believe what they have not
seen: where one query in a hundred loses everything, most samples of 50 hold no such loss, and the spread of
the rest says that there is none. Here both have to be unlikely: that a mean of 0 or less shows such values as
were seen, and that losses of the worst kind stay unseen.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_STEPS = 60  # a bisection of 60 steps reaches the last bit; Newton's method needs about eight
_BLOCK = 1 << 20  # differences tested at a time: 8 MB


def p_values(differences: ArrayLike, worst: float | Array, *, copies: float = 1.0) -> Array:
    """P-values [rows] of "the mean is 0 or less" for differences [rows, queries], none below -`worst`.

    The larger of two. Seen: the differences and the largest loss among them once more get random weights
    (uniform over all that sum to 1), and p is the probability that the weighted mean is 0 or less (Gaffke,
    Mathematical Methods of Statistics 14, 2005, with the seen loss in place of the possible one; Learned-
    Miller and Thomas, arXiv 1905.06208). Unseen: the probability that no query shows losses of `worst` that
    are frequent enough to undo the mean, (1 + mean / worst) ** -queries; it is the rule of three.

    There is no proof that p <= alpha happens at most with probability alpha if the mean is 0. On a grid of
    two- and three-point distributions, its hardest cases, 0.05 was passed in up to 5.2% of samples
    (experiments/verdict). The probability is computed by Lugannani and Rice's saddlepoint formula
    (Advances in Applied Probability 12, 1980): nothing is drawn, so there is no seed and no smallest
    p-value; it is right to about 2% of p. `copies`: as if every query had come so many times, to plan how
    many queries are needed.

    Raises ValueError where a difference is not finite or there is no query.
    """
    rows = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    if rows.ndim != 2 or rows.shape[1] == 0 or not np.isfinite(rows).all():
        raise ValueError(f"expected finite differences [rows, queries], shape {rows.shape}")
    step = max(1, _BLOCK // rows.shape[1])
    parts = [_seen(rows[at : at + step], copies) for at in range(0, len(rows), step)]
    seen = np.concatenate(parts) if parts else np.zeros(0)
    return np.maximum(seen, unseen_p_values(rows.mean(axis=1), worst, copies * rows.shape[1]))


def unseen_p_values(means: Array, worst: float | Array, queries: float) -> Array:
    """The chance that no query shows losses of `worst` which undo the observed means [rows]."""
    possible = np.asarray(worst) > 0  # otherwise nothing can be lost
    share = np.maximum(means, 0.0) / np.where(possible, worst, 1.0)
    return np.where(possible, (1.0 + share) ** -queries, 0.0)


def lower_bound(differences: Array, worst: float, p: float) -> float:
    """What the mean of differences [queries] is above, in a test at level `p`; -`worst` at the least."""
    return float(lower_bounds(differences[None], worst, p)[0])


def lower_bounds(rows: Array, worst: float, p: float) -> Array:
    """The same [rows] of differences [rows, queries]."""
    low, high = np.full(len(rows), -worst), rows.mean(axis=1)
    for _ in range(25):  # to 1e-7
        middle = (low + high) / 2
        above = p_values(rows - middle[:, None], worst + middle) <= p
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


def _seen(rows: Array, copies: float) -> Array:
    """The p-values of some rows by what was seen."""
    p = np.ones(len(rows))
    p[rows.min(axis=1) > 0] = 0.0  # nothing was lost: what is unseen decides alone
    some = (rows.max(axis=1) > 0) & (rows.min(axis=1) <= 0)
    if some.any():
        lowest = np.minimum(rows[some].min(axis=1), -1e-12)
        p[some] = _lugannani_rice(rows[some], lowest, copies)
    return p


def _lugannani_rice(rows: Array, lowest: Array, copies: float) -> Array:
    """P(sum of weight x difference <= 0), the weights being exponential: their sum does not matter."""
    at = _saddlepoint(rows, lowest, copies)
    inside, last = 1.0 - at[:, None] * rows, 1.0 - at * lowest
    cumulant = -copies * np.log(inside).sum(axis=1) - np.log(last)
    ratio, ratio_last = rows / inside, lowest / last
    second = copies * (ratio**2).sum(axis=1) + ratio_last**2
    third = 2.0 * (copies * (ratio**3).sum(axis=1) + ratio_last**3)
    w = np.sign(at) * np.sqrt(np.maximum(-2.0 * cumulant, 0.0))
    u = at * np.sqrt(second)
    normal, density = _normal_cdf(w), np.exp(-(w**2) / 2) / math.sqrt(2 * math.pi)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = normal + density * (1.0 / w - 1.0 / u)
    centre = normal + density * third / second**1.5 / 6.0  # where w and u are small, their formula cancels
    return np.asarray(np.clip(np.where(np.abs(w) < 1e-3, centre, p), 0.0, 1.0))


def _saddlepoint(rows: Array, lowest: Array, copies: float) -> Array:
    """Where the derivative of the cumulant generating function is 0 [rows]; it rises all the way."""
    low = 1.0 / lowest
    high = 1.0 / rows.max(axis=1)
    at = np.zeros(len(rows))
    for _ in range(_STEPS):
        ratio = rows / (1.0 - at[:, None] * rows)
        ratio_last = lowest / (1.0 - at * lowest)
        slope = copies * ratio.sum(axis=1) + ratio_last
        low, high = np.where(slope < 0, at, low), np.where(slope < 0, high, at)
        newton = at - slope / (copies * (ratio**2).sum(axis=1) + ratio_last**2)
        new = np.where((newton > low) & (newton < high), newton, (low + high) / 2.0)
        done = np.abs(new - at) <= 1e-12 * np.abs(new)
        at = new
        if done.all():
            break
    return at


def _normal_cdf(z: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))
