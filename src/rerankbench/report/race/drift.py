"""Whether the machine itself changed its pace: a fixed product, timed again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rerankbench.report.race.record import Round

TOLERANCE = 0.10  # how much longer than on the quiet machine a product may take
QUIET = 0.10  # the share of all products that are taken to be of the quiet machine


def pace(products: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Milliseconds of each device's product on the quiet machine, of products [times, devices].

    The tenth percentile: the very fastest may be a fluke.
    """
    return tuple(np.quantile(np.array(products, float), QUIET, axis=0).tolist()) if products else ()


def calm(products: Iterable[Sequence[float]], quiet: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    """Whether each of some products took about as long as on the quiet machine."""
    return all(
        ms <= least * (1 + tolerance)
        for product in products
        for ms, least in zip(product, quiet, strict=True)
    )


def mark(rounds: Sequence[Round], more: Sequence[Sequence[float]] = ()) -> None:
    """Say of each round whether the machine was calm in it, by all products of the race, and `more`."""
    quiet = pace([*more, *(product for each in rounds for product in (each.before, each.after))])
    for each in rounds:
        each.calm = calm((each.before, each.after), quiet)
        each.slower = slower((each.before, each.after), quiet)


def slower(products: Sequence[Sequence[float]], quiet: Sequence[float]) -> float:
    """How many times as long as on the quiet machine products took: the slowest device's mean, at least 1."""
    means = np.mean(np.array(products, float), axis=0)
    return max([1.0, *(means / np.array(quiet)).tolist()])
