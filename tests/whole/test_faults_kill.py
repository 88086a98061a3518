"""kill -9 at a hundred moments: the rerun gives the undisturbed numbers and scores nothing twice."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import faults
from commands import store
from rerankbench.engine.store.rows import read_shard
from small_collection import PAIRS, command, differing, numbers
from warm import Command, Fault

pytestmark = pytest.mark.faults

BATCH = 4  # pairs: with every batch written at once, what a kill may cost
ALWAYS = {"candidates", "embedding", "scoring", "files", "tracking"}


class Case:
    """One folder in which a command is killed and given again, with its own cache and MLflow."""

    def __init__(self, models: Path, folder: Path, *more: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.arguments = command(models, folder, f"tracking.uri={store(folder)}", *more)

    def start(self, *more: Fault) -> Command:
        (self.folder / "stage").unlink(missing_ok=True)
        notes = [partial(faults.note_stages, self.folder / "stage"),
                 partial(faults.note_scored, self.folder / "scored")]  # fmt: skip
        return Command(self.arguments, self.folder / "cwd", faults.hurry, *notes, *more)

    def stage(self) -> str:
        """What the last attempt was in; one that is killed at once has not noted anything yet."""
        file = self.folder / "stage"
        return (file.read_text().strip() if file.exists() else "") or "start"

    def scored(self) -> int:
        """Pairs that the model scored, in all attempts together."""
        file = self.folder / "scored"
        return file.stat().st_size if file.exists() else 0

    def kept(self) -> int:
        """Distinct token sequences in the store, each of one pair; texts have rows of their own."""
        shards = [read_shard(path) for path in self.folder.glob("cache/scores/*/*.shard")]
        keys = [shard.keys for shard in shards if shard and (shard.columns < 0).all()]
        return len(np.unique(np.concatenate(keys))) if keys else 0

    def check_finished(self) -> None:
        """The rerun works; of the runs in MLflow those that ended are whole."""
        from mlflow.tracking import MlflowClient

        process = self.start()
        assert process.wait() == 0, process.printed()
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        found = client.search_runs([client.get_experiment_by_name("rerankbench").experiment_id])
        ended = [run for run in found if run.info.status == "FINISHED"]
        runs = [run for run in ended if not run.info.run_name.startswith("report ")]
        by_products = ("throughput/", "memory/")  # a process that ran several jobs tells no memory of one
        kept = ({name for name in run.data.metrics if not name.startswith(by_products)} for run in runs)
        assert len({frozenset(names) for names in kept}) == 1


def calm(models: Path, folder: Path, *more: str) -> tuple[Case, float, int]:
    """An undisturbed run, how many seconds it takes, and how many moments it has."""
    case = Case(models, folder, *more)
    assert Command(["--help"], folder / "cwd").wait() == 0  # the first one imports everything
    started = time.monotonic()
    process = case.start(partial(faults.at, 0, faults.nothing, folder / "moments"))
    assert process.wait() == 0, process.printed()
    assert case.scored() == case.kept() == PAIRS
    return case, time.monotonic() - started, (folder / "moments").stat().st_size


def disturb(case: Case, chance: random.Random, seconds: float, moments: int) -> str | None:
    """Kill one attempt at some moment; the stage it was in, None where it ended before."""
    if chance.random() < 0.5:
        process = case.start(partial(faults.at, chance.randint(1, moments), faults.killed))
    else:
        process = case.start()
        time.sleep(chance.random() * seconds)
        process.signal(9)
    code = process.wait()
    assert code in (0, -9), process.printed()
    return case.stage() if code else None


@pytest.mark.parametrize(
    ("more", "out", "kills", "reached"),
    [((), "out", 100, ALWAYS), (("-m", "depth=6,12"), "sweep/1", 20, {"report"})],
)
def test_kills_change_no_number_and_cost_no_pair_twice(
    more: tuple[str, ...], out: str, kills: int, reached: set[str], models: Path, tmp_path: Path
) -> None:
    """Each case is killed up to four times, at seeded moments, and then left to finish."""
    undisturbed, seconds, moments = calm(models, tmp_path / "calm", *more)
    expected, stages = numbers(undisturbed.folder / out), Counter[str]()
    for seed in range(2 * kills):
        case, chance = Case(models, tmp_path / str(seed), *more), random.Random(seed)
        for _ in range(4):
            scored, kept = case.scored(), case.kept()
            stage = disturb(case, chance, seconds, moments)
            stages.update([stage] if stage else [])
            lost = (case.scored() - scored) - (case.kept() - kept)
            assert 0 <= lost <= BATCH, f"seed {seed}: {lost} pairs lost, killed while in {stage}"
        case.check_finished()
        assert differing(numbers(case.folder / out), expected) == [], f"seed {seed}"
        assert case.kept() == PAIRS, f"seed {seed}"
        shutil.rmtree(case.folder)
        if stages.total() >= kills:
            break
    sys.stdout.write(f"kills by stage: {dict(stages)}\n")
    assert stages.total() >= kills
    assert stages.keys() >= reached
