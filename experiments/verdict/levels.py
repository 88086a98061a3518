"""How often one claim about a mean passes that should not: the worst of a grid of distributions of mean 0.

    python experiments/verdict/levels.py

Queries lose `loss` with a small probability; gains in a share of the others make up for it, with or without
noise on top. Printed: the highest rate at which p <= 0.05, and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from rerankbench.evaluation import bounded_mean

TRIALS = 2_000


def distributions(queries: int) -> Iterator[tuple[float, float, float, float]]:
    """Loss, how many queries of a sample lose it on average, the share that gains, the noise."""
    for loss, losing, share, noise in product(
        (0.2, 0.5, 1.0), (0.5, 1, 2, 3, 4, 5, 7, 10), (0.1, 0.6, 1.0), (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
    ):
        rate = losing / queries
        if rate <= 0.5 and rate * loss / (share * (1 - rate)) <= 0.9:
            yield loss, losing, share, noise


def sample(queries: int, where: tuple[float, float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Differences [trials, queries] of mean 0."""
    loss, losing, share, noise = where
    rate, size = losing / queries, (TRIALS, queries)
    gain = rate * loss / (share * (1 - rate))
    other = np.where(rng.random(size) < share, gain, 0.0)
    if noise:
        other = other + rng.normal(0, noise, size)
    return np.where(rng.random(size) < rate, -loss, other)


def main() -> None:
    print("| queries | highest rate | loss | losing queries | share that gains | noise |")
    print("|---:|---:|---:|---:|---:|---:|")
    for queries in (5, 10, 20, 30, 50, 100, 300):
        rng = np.random.default_rng(queries)
        rates = {
            where: float(np.mean(bounded_mean.p_values(sample(queries, where, rng), 1.0) <= 0.05))
            for where in distributions(queries)
        }
        worst = max(rates, key=lambda where: rates[where])
        print(f"| {queries} | {rates[worst]:.3f} | {' | '.join(f'{each:g}' for each in worst)} |", flush=True)


if __name__ == "__main__":
    main()
