"""What people wait for when nothing is to be computed: --help, a stored run, a stored sweep, a report.

    python experiments/benchmarks/startup.py
    python experiments/benchmarks/startup.py --only help,run --times 5

Each command is started `--times` times in a process of its own. The shortest wall-clock time counts, beside
the shortest CPU time, which other work on the machine disturbs less, and the largest peak of memory. The
report is over 12 simulated rerankers at 24 depths and their first stage: 289 arms, 7,000 queries. The sweep
is without its race, which measures anew each time for as long as `report.race.seconds` says. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from processes import once

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from simulated_runs import write_run

RERANKERS, DEPTHS, QUERIES = 12, 24, 7000
SWEEP = ["--multirun", "reranker=none,minilm", "report.race.seconds=0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", default="help,run,sweep,report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = {name: measured(name, Path(place), arguments.times) for name in arguments.only.split(",")}
    print(json.dumps(found))


def measured(name: str, place: Path, times: int) -> dict[str, float]:
    command = prepared(name, place)
    costs = [once(command, place) for _ in range(times)]
    shown = {
        "seconds": round(min(cost.wall for cost in costs), 2),
        "cpu_seconds": round(min(cost.cpu for cost in costs), 2),
        "peak_mb": max(cost.memory for cost in costs) // 10**6,
    }
    print(f"{name:8} {shown['seconds']:6.2f} s, {shown['cpu_seconds']:6.2f} s of CPU, {shown['peak_mb']} MB")
    return shown


def prepared(name: str, place: Path) -> list[str]:
    """The command, with all that it needs stored."""
    if name == "help":
        return module("rerankbench", "--help")
    if name == "report":
        simulate(place / "simulated")
        return module("rerankbench.commands.report", "simulated")
    command = module("rerankbench", *(SWEEP if name == "sweep" else []))
    once(command, place)
    return command


def module(name: str, *words: str) -> list[str]:
    return [sys.executable, "-m", name, *words]


def simulate(folder: Path) -> None:
    """Run folders of rerankers that hardly differ."""
    draws = np.random.default_rng(0)
    first = draws.beta(2, 3, QUERIES)
    for reranker in range(RERANKERS):
        depths = {10 * (step + 1): better(first, 0.01 * reranker, draws) for step in range(DEPTHS)}
        write_run(folder / str(reranker), f"reranker-{reranker}", first, depths)


def better(first: np.ndarray, gain: float, draws: np.random.Generator) -> np.ndarray:
    return np.clip(first + gain + draws.normal(0, 0.1, len(first)), 0, 1)


if __name__ == "__main__":
    main()
