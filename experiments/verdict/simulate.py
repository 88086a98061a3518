"""How often a report is wrong on populations whose truth is known: every verdict, claim and decision.

    python experiments/verdict/simulate.py --trials 400 > table.md

Each row is so many reports, each on another sample of the population's queries. Fewer random patterns are
drawn than a report draws (1,000 for 20,000), which changes no rate by more than the simulation's own error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

import frame

import simulated_populations as populations
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims import decision as choosing
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, UNKNOWN

QUERIES = (2, 5, 10, 30, 50, 100, 300, 1000)
HEADINGS = (
    "queries",
    "false verdict",
    "any false claim",
    "deploy",
    "the best",
    "do not",
    "cannot tell",
    "regret",
    "stated",
    "bound",
    "holds",
    "chance",
    "true",
    "top gain",
    "corrected",
    "truth",
    "interval holds",
)


def main() -> None:
    comparing.PERMUTATIONS, comparing.RESAMPLES, choosing.DRAWS = 1_000, 500, 1_000
    frame.tables(__doc__, populations.POPULATIONS, HEADINGS, row, trials=400, queries=QUERIES)


def row(population: populations.Population, queries: int, trials: int) -> list[str]:
    """One line of a population's table."""
    truth = population.truth
    own = np.array([population.stages.index(stage) for stage in population.stages])
    rows = []
    for trial in range(trials):
        values = population.sample(queries, np.random.default_rng([queries, trial]))
        judged = populations.judge(population, values)
        decided, top = judged.decision, judged.comparison.selected
        assert top is not None
        regret = truth.max() - truth[decided.arm]
        firsts = [i for i, depth in enumerate(population.depths) if depth == 0]
        chance = decided.chance_helps
        rows.append(
            [
                populations.false_verdict(judged, truth),
                populations.false_claim(judged, truth),
                *(judged.verdict.kind == kind for kind in (DEPLOY, BEST, NONE, UNKNOWN)),
                regret,
                decided.expected_loss,
                decided.bound,
                regret <= decided.bound + 1e-9,
                np.nan if chance is None else chance,
                np.nan if chance is None else truth[decided.arm] > truth[firsts].max(),
                top.mean,
                top.mean - top.optimism,
                truth[top.arm] - truth[own[top.arm]],
                top.low - 1e-9 <= truth[top.arm] - truth[own[top.arm]] <= top.high + 1e-9,
            ]
        )
    return frame.means(queries, rows)


if __name__ == "__main__":
    main()
