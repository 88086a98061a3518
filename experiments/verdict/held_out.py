"""How often a report is wrong on populations that its tests were not chosen on.

    python experiments/verdict/held_out.py --trials 150 > table.md
    python experiments/verdict/held_out.py --trials 150 --only "three equal first stages"

The populations were written down, with these sizes and seeds, before any report was made of them, and after
the way in which claims are tested was settled. Columns as in simulate.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

import simulated_populations as populations
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims import decision as choosing
from simulated_populations import SIZE, Array, Population, one_stage

QUERIES = (7, 25, 75, 200)
SEED = 20_261_127
Draw = np.random.Generator


def null(first: Array, changes: list[Array]) -> Population:
    """Arms whose mean change is exactly nothing."""
    return one_stage(first, [first + change - change.mean() for change in changes])


def reciprocal_ranks(rng: Draw) -> Population:
    """MRR@10 where each arm moves the first relevant document of 40% of the queries somewhere else."""
    values = np.array([0.0, *(1 / np.arange(1, 11))])
    weights = [0.2, 0.35, 0.15, 0.1, 0.05, 0.05, 0.03, 0.03, 0.02, 0.01, 0.01]
    first = rng.choice(values, SIZE, p=weights)
    moved = [np.where(rng.random(SIZE) < 0.4, rng.choice(values, SIZE, p=weights), first) for _ in range(5)]
    return null(first, [arm - first for arm in moved])


def steps_of_recall(rng: Draw) -> Population:
    """Recall with one to eight relevant documents, of which each arm wins or loses one in 10% of queries."""
    relevant = rng.integers(1, 9, SIZE)
    first = np.full(SIZE, 0.5)
    sign = [rng.choice([-1.0, 0.0, 1.0], SIZE, p=[0.05, 0.9, 0.05]) for _ in range(4)]
    return null(first, [one / relevant for one in sign])


def half_hopeless(rng: Draw) -> Population:
    """Half of the queries score 0 whatever one does."""
    hopeless = rng.random(SIZE) < 0.5
    first = np.where(hopeless, 0.0, rng.beta(2, 2, SIZE))
    return null(first, [np.where(hopeless, 0.0, rng.normal(0, 0.25, SIZE)) for _ in range(5)])


def heavy_tails(rng: Draw) -> Population:
    """Changes as Student's t with three degrees of freedom, cut at the ends of the scale."""
    first = rng.beta(2, 2, SIZE)
    return null(first, [np.clip(first + 0.1 * rng.standard_t(3, SIZE), 0, 1) - first for _ in range(5)])


def four_gain_one_loses(rng: Draw) -> Population:
    """80% of the queries gain .025, 20% lose .1, other ones in each arm."""
    first = np.full(SIZE, 0.6)
    return null(first, [np.where(rng.random(SIZE) < 0.8, 0.025, -0.1) for _ in range(3)])


def exponential_losses(rng: Draw) -> Population:
    """90% gain .0111, 10% lose an exponentially distributed amount, .1 on average and 1 at most."""
    first = np.ones(SIZE)
    losses = [np.minimum(rng.exponential(0.1, SIZE), 1.0) for _ in range(3)]
    return null(first, [np.where(rng.random(SIZE) < 0.9, 0.0111, -loss) for loss in losses])


def shallow_loses_delta(rng: Draw) -> Population:
    """The cheap arms lose all of 1% of the queries against the deepest: exactly delta below it."""
    first = rng.beta(2, 3, SIZE) * 0.7
    best = first + 0.2 * rng.random(SIZE)
    lost = [rng.permutation(np.arange(SIZE) < SIZE // 100) for _ in range(3)]
    return one_stage(first, [*(np.where(rare, best - 1.0, best) for rare in lost), best])


def rare_changes_of_200(rng: Draw) -> Population:
    """200 arms that each change 5% of the queries by .3, up or down; nothing helps."""
    size = 10_000
    first = np.full(size, 0.5)
    signs = rng.choice([-0.3, 0.0, 0.3], (200, size), p=[0.025, 0.95, 0.025])
    return null(first, list(signs))


def three_equal_stages(rng: Draw) -> Population:
    """Three first stages and their rerankers, all equally good."""
    hard = rng.beta(1.5, 1.5, SIZE)
    noise = rng.normal(0, 0.2, (9, SIZE))
    values = hard + noise - noise.mean(axis=1, keepdims=True)
    return Population(values, (0, 10, 20) * 3, ("a",) * 3 + ("b",) * 3 + ("c",) * 3)


HELD_OUT: dict[str, Callable[[Draw], Population]] = {
    "reciprocal ranks": reciprocal_ranks,
    "steps of recall": steps_of_recall,
    "half of the queries hopeless": half_hopeless,
    "heavy tails": heavy_tails,
    "four gain, one loses": four_gain_one_loses,
    "exponential losses": exponential_losses,
    "shallow arms lose delta": shallow_loses_delta,
    "rare changes, 200 arms": rare_changes_of_200,
    "three equal first stages": three_equal_stages,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--queries", type=int, nargs="*", default=QUERIES)
    parser.add_argument(
        "--only", action="append", choices=HELD_OUT, help="of the populations; again for more"
    )
    words = parser.parse_args()
    comparing.PERMUTATIONS, comparing.RESAMPLES, choosing.DRAWS = 1_000, 500, 1_000
    print("| population | queries | false verdict | any false claim | decision within its bound |")
    print("|---|---:|---:|---:|---:|")
    for number, (name, make) in enumerate(HELD_OUT.items()):
        if words.only and name not in words.only:
            continue
        population = make(np.random.default_rng([SEED, number]))
        for queries in words.queries:
            print(f"| {name} | {queries} | {rates(population, queries, words.trials)} |", flush=True)


def rates(population: Population, queries: int, trials: int) -> str:
    """How often the verdict, any claim and the decision's bound are wrong, wrong and right."""
    truth, found = population.truth, []
    for trial in range(trials):
        rng = np.random.default_rng([SEED, queries, trial])
        judged = populations.judge(population, population.sample(queries, rng))
        regret = truth.max() - truth[judged.decision.arm]
        wrong = (populations.false_verdict(judged, truth), populations.false_claim(judged, truth))
        found.append([*wrong, regret <= judged.decision.bound + 1e-9])
    return " | ".join(f"{rate:.3f}" for rate in np.mean(found, axis=0))


if __name__ == "__main__":
    main()
