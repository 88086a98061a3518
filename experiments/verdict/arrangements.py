"""How often a report is wrong where many arrangements compete, and how honest its estimates are.

    python experiments/verdict/arrangements.py --trials 200

Each row is so many reports, each on another sample of the population's queries. Fewer random patterns are
drawn than a report draws.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

import frame

import simulated_arrangements as simulated
from rerankbench.report.arrangements import claims
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims.verdict import DEPLOY

QUERIES = (10, 43, 300, 1000)
HEADINGS = (
    "queries",
    "false verdict",
    "false report",
    "arrangement deployed",
    "naive gain",
    "cross-fitted",
    "truth",
    "interval holds",
)


def main() -> None:
    comparing.PERMUTATIONS, comparing.RESAMPLES, claims.PATTERNS = 1_000, 200, 1_000
    frame.tables(__doc__, simulated.POPULATIONS, HEADINGS, row, trials=200, queries=QUERIES)


def row(population: simulated.Population, queries: int, trials: int) -> list[str]:
    """One line of a population's table; gains are over the first stage."""
    truth, rows = population.truth, []
    for trial in range(trials):
        values = population.sample(queries, np.random.default_rng([queries, trial]))
        judged = simulated.judge(population, values)
        answer = judged.arranged.headline
        assert answer.choice is not None
        assert answer.estimate is not None
        estimate, gain = answer.estimate, truth[answer.choice] - truth[0]
        rows.append(
            [
                simulated.false_verdict(judged, truth),
                simulated.false_report(judged, truth),
                answer.kind == DEPLOY and (answer.arm or 0) >= simulated.PLAIN,
                values[answer.choice].mean() - values[0].mean(),
                estimate.gain,
                gain,
                estimate.low <= gain <= estimate.high,
            ]
        )
    return frame.means(queries, rows)


if __name__ == "__main__":
    main()
