"""How often is a settled verdict wrong? Judging is acted out on populations whose every grade is known.

    python experiments/judging/calibration.py [--trials 200] [--only NAME]

A verdict is wrong if one of the leader's settled comparisons is: "better", and it is not better by all
grades, or "as good", and they differ by more than delta. At most one in twenty may be.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.beliefs import beliefs
from rerankbench.judging.choice import next_places
from rerankbench.judging.pool import Pool
from rerankbench.judging.standing import ALIKE, BETTER, standing

CUTOFF, HIGHEST, DELTA, BATCH, DRAWS = 10, 3, 0.01, 5, 400
DISCOUNT = 1 / np.log2(np.arange(2, CUTOFF + 2))


@dataclass(frozen=True)
class Population:
    """queries with `candidates`; each arm's scores are grade x skill + noise, in part shared.

    relevant: the mean share of relevant candidates, which differs by query; hidden: a second kind of relevant
    document that only the last arm finds; copies: arms that rank almost as their predecessor does.
    """

    skills: tuple[float, ...]
    queries: int = 40
    candidates: int = 50
    relevant: float = 0.15
    shared: float = 0.5
    hidden: bool = False
    copies: float = 0.0


POPULATIONS = {
    "plain": Population((0.0, 0.6, 0.8, 1.0)),
    "near": Population((0.3, 0.9, 0.92, 0.95)),
    "same": Population((0.8, 0.8, 0.8)),
    "copies": Population((0.2, 0.8, 0.8), copies=0.1),
    "few queries": Population((0.0, 0.7, 0.9), queries=12),
    "rare": Population((0.2, 0.7, 0.9), relevant=0.03),
    "dense": Population((0.2, 0.7, 0.9), relevant=0.5),
    "hidden": Population((0.3, 0.8, 0.8), hidden=True),
}


def drawn(p: Population, rng: np.random.Generator) -> tuple[Pool, np.ndarray]:
    """A pool that nobody has judged, and the true grades [queries, documents]."""
    share = rng.beta(2, 2 / p.relevant - 2, p.queries)[:, None]
    grades = np.where(
        rng.random((p.queries, p.candidates)) < share,
        rng.integers(1, HIGHEST + 1, (p.queries, p.candidates)),
        0,
    )
    common = rng.standard_normal(grades.shape)
    blind = rng.random(grades.shape) < 0.4 if p.hidden else np.zeros(grades.shape, bool)
    weights, scores = np.zeros((len(p.skills), *grades.shape)), None
    for arm, skill in enumerate(p.skills):
        own = rng.standard_normal(grades.shape)
        seen = np.where(blind & (arm < len(p.skills) - 1), 0, grades)
        if p.copies and scores is not None and arm > 1:
            scores = scores + p.copies * own
        else:
            scores = skill * seen + np.sqrt(p.shared) * common + np.sqrt(1 - p.shared) * own
        order = np.argsort(-scores, axis=1)[:, :CUTOFF]
        np.put_along_axis(weights[arm], order, DISCOUNT[None], axis=1)
    wanted = weights.max(axis=0) > 0
    pairs = tuple(tuple(str(d) for d in range(p.candidates)) for _ in range(p.queries))
    ids = tuple(str(q) for q in range(p.queries))
    unjudged = np.full(grades.shape, UNJUDGED, np.int32)
    lines = tuple(range(len(p.skills)))
    return Pool(CUTOFF, ids, pairs, weights, unjudged, wanted, lines), np.where(wanted, grades, 0)


def means(pool: Pool, grades: np.ndarray) -> np.ndarray:
    """The arms' mean nDCG [arms] by all grades, computed by itself."""
    ideal = -np.sort(-grades, axis=1)[:, :CUTOFF] @ DISCOUNT
    gained = (pool.weights * grades).sum(axis=2)
    return np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0).mean(axis=1)


def judged(pool: Pool, grades: np.ndarray) -> tuple[int, bool, bool]:
    """How many pairs were judged until all was settled, whether that is wrong, whether the best leads."""
    while True:
        found = beliefs(pool, HIGHEST)
        at = standing(pool, found, DELTA, HIGHEST, DRAWS)
        places = next_places(at, found, BATCH)
        if not places:
            break
        known = pool.grades.copy()
        for place in places:
            known[place] = grades[place]
        pool = replace(pool, grades=known)
    true, leader = means(pool, grades), at.leader
    others = [arm for arm in range(len(true)) if arm != leader]
    states = {arm: at.state(leader, arm) for arm in others}
    wrong = any(
        (state == BETTER and true[leader] - true[arm] <= 0)
        or (state == ALIKE and abs(true[leader] - true[arm]) > DELTA)
        for arm, state in states.items()
    )
    return pool.judged, wrong, bool(true[leader] >= true.max() - DELTA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--only", choices=POPULATIONS)
    words = parser.parse_args()
    print("population      wrong   best  judged (median, 90%)  of pool")
    for name, population in POPULATIONS.items():
        if words.only in (None, name):
            print(line(name, population, words.trials), flush=True)


def line(name: str, population: Population, trials: int) -> str:
    results, pools = [], []
    for trial in range(trials):
        pool, grades = drawn(population, np.random.default_rng(trial))
        results.append(judged(pool, grades))
        pools.append(int(pool.wanted.sum()))
    counts = np.array([count for count, _, _ in results])
    wrong, best = (np.mean([result[i] for result in results]) for i in (1, 2))
    middle, most = np.quantile(counts, [0.5, 0.9])
    return f"{name:14} {wrong:6.3f} {best:6.3f}  {middle:6.0f} {most:6.0f}       {np.mean(pools):6.0f}"


if __name__ == "__main__":
    main()
