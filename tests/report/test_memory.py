"""What a report of many arms holds at most, so that large sweeps fit into a small machine."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import scored_runs
from rerankbench.evaluation.significance import resampled_means
from rerankbench.report.arms.arms import Arm, Contest, contest
from rerankbench.report.arms.runs import Run, find
from rerankbench.report.claims import comparison
from scored_runs import drawn, first_scores, scores_like, write_scored
from simulated_runs import write_run

NUMBER = 8  # bytes


def peak(work: Callable[[], object]) -> int:
    """Bytes that were held at most, beyond what was held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_only_the_measure_that_decides_is_held_for_every_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored_runs, "CUTOFFS", (1, 3, 5, 10, 20))  # 25 measures
    pool = drawn(200, 20, 1, full=True)
    for run in range(2):
        layers = {layer: scores_like(pool, layer, 1.0) for layer in range(1, 21)}
        write_scored(tmp_path / str(run), f"r{run}", pool, first_scores(pool, 2), layers)
    found = find([tmp_path])
    arms = len(contest(found, "ndcg_at_10").arms)
    assert arms == 121
    assert peak(lambda: contest(found, "ndcg_at_10")) < 6 * arms * 200 * NUMBER


def test_what_choosing_the_best_adds_takes_no_copy_of_all_resampled_means() -> None:
    rng, arms = np.random.default_rng(1), 200
    run = Run(Path(), "", {})
    those = tuple(Arm("s", "r" if depth else "", None, depth, run) for depth in range(arms))
    values = rng.random((arms, 20))
    found = Contest("ndcg_at_10", tuple(map(str, range(20))), those, values)
    means, own = resampled_means(values, seed=0, resamples=5_000), np.zeros(arms, dtype=np.intp)

    def work() -> None:
        comparison.selected_gain(found, range(arms), own, means, 0.01)

    work()  # what is imported on the way is none of it
    held = peak(work)
    assert held < means.nbytes / 4


def test_a_report_does_without_torch_which_takes_a_second_and_150_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_run(tmp_path / "0", "minilm", rng.random(20), {10: rng.random(20)})
    code = (
        "import sys\n"
        "from rerankbench.commands.report import main\n"
        "assert main([sys.argv[1]]) == 0\n"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
