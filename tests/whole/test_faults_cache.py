"""Damage, clocks, two sweeps at once and little memory change no number."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import faults
from commands import store
from rerankbench.commands.cache import command as cache_command
from small_collection import PAIRS, command, differing, numbers, pairs
from warm import Command

pytestmark = pytest.mark.faults


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_off, one_bit, emptied])
@pytest.mark.parametrize("files", ["scores/*/*.shard", "candidates/*.npy", "vectors/*/*.npy"])
def test_damaged_files_are_made_again(
    files: str, damage: Callable[[Path], None], calm: Path, models: Path, tmp_path: Path
) -> None:
    """The file is set aside and its part computed again; vectors are not even read where candidates are."""
    shutil.copytree(calm / "cache", tmp_path / "cache")
    damaged = list((tmp_path / "cache").glob(files))
    for path in damaged:
        damage(path)
    if files.startswith("vectors"):
        shutil.rmtree(tmp_path / "cache" / "candidates")
    process = Command(command(models, tmp_path, "tracking=none"), tmp_path / "cwd")
    assert process.wait() == 0, process.printed()
    assert "set aside a damaged store file" in process.printed()
    assert all(path.with_suffix(".damaged").exists() for path in damaged)
    assert pairs(tmp_path / "out")["scored"] == (PAIRS if files.startswith("scores") else 0)
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


@pytest.mark.parametrize("place", ["scores", "candidates", "vectors"])
def test_notes_that_are_damaged_change_nothing(place: str, calm: Path, models: Path, tmp_path: Path) -> None:
    """The JSON files are for people, and for what was measured of cost."""
    shutil.copytree(calm / "cache", tmp_path / "cache")
    for path in (tmp_path / "cache" / place).rglob("*.json"):
        cut_off(path)
    process = Command(command(models, tmp_path, "tracking=none"), tmp_path / "cwd")
    assert process.wait() == 0, process.printed()
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


# --- clocks ---


def test_a_clock_that_runs_backwards(calm: Path, models: Path, tmp_path: Path) -> None:
    """No duration is negative, here or in MLflow, and the sweep knows its results."""
    from mlflow.tracking import MlflowClient

    uri = store(tmp_path)
    arguments = command(models, tmp_path, "-m", "depth=6,12", f"tracking.uri={uri}")
    process = Command(arguments, tmp_path / "cwd", faults.clock_runs_backwards)
    assert process.wait() == 0, process.printed()
    assert "2 of 2 runs done" in process.printed()
    result = json.loads((tmp_path / "sweep" / "1" / "result.json").read_text())
    assert result["measures"] == numbers(calm / "out")["measures"]
    assert min(result["seconds"].values()) >= 0
    assert min((result["throughput"] or {"too few pairs": 0.0}).values()) >= 0
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("rerankbench").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.info.end_time >= run.info.start_time for run in runs if run.data.params)


def test_a_failure_is_told_whatever_the_clock_says(models: Path, tmp_path: Path) -> None:
    arguments = command(models, tmp_path, "-m", "depth=6,12", "tracking=none")
    fail = partial(faults.little_memory, faults.SCORER, 0)
    process = Command(arguments, tmp_path / "cwd", faults.clock_runs_backwards, fail)
    assert process.wait() == 1
    assert "0 of 2 runs done" in process.printed()


def test_times_in_the_future_neither_stop_nor_delete(calm: Path, models: Path, tmp_path: Path) -> None:
    """As after a clock was set back: files are younger than now."""
    shutil.copytree(calm / "cache", tmp_path / "cache")
    later = time.time() + 400 * 86_400
    for path in [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]:
        os.utime(path, (later, later))
    before = sorted((tmp_path / "cache").rglob("*"))
    place = f"cache_dir={tmp_path / 'cache'}"
    assert cache_command.main(["prune", "--older-than", "30d", "--yes", place]) == 0
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert cache_command.main(["list", place]) == 0
    process = Command(command(models, tmp_path, "tracking=none"), tmp_path / "cwd")
    assert process.wait() == 0, process.printed()
    assert pairs(tmp_path / "out")["scored"] == 0
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


# --- two at once ---


def test_two_sweeps_on_one_cache(calm: Path, models: Path, tmp_path: Path) -> None:
    """Started together on an empty cache: the same numbers, and each pair is scored by one of them."""
    (tmp_path / "cache").mkdir()
    scored, sweeps = tmp_path / "scored", [tmp_path / "one", tmp_path / "two"]
    for sweep in sweeps:
        sweep.mkdir()
        (sweep / "cache").symlink_to(tmp_path / "cache")
    processes = [
        Command(
            command(models, sweep, "-m", "depth=6,12", "tracking=none"), sweep / "cwd",
            faults.flush_at_once, partial(faults.note_scored, scored),
        )
        for sweep in sweeps
    ]  # fmt: skip
    for process in processes:
        assert process.wait() == 0, process.printed()
    one, two = (numbers(sweep / "sweep" / "1") for sweep in sweeps)
    assert differing(one, two) == []
    assert scored.stat().st_size == PAIRS
    assert one["measures"] == numbers(calm / "out")["measures"]
    assert cache_command.main(["verify", f"cache_dir={tmp_path / 'cache'}"]) == 0


# --- memory ---


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("model", [faults.EMBEDDER, faults.SCORER])
def test_little_memory_gives_the_same_measures(
    model: str, rows: int, calm: Path, models: Path, tmp_path: Path
) -> None:
    """Batches get smaller until they fit; scores differ, if at all, in their last bits."""
    little = partial(faults.little_memory, model, rows)
    process = Command(command(models, tmp_path, "tracking=none"), tmp_path / "cwd", little)
    assert process.wait() == 0, process.printed()
    assert "out of memory: going on with batch_tokens=" in process.printed()
    ours, theirs = numbers(tmp_path / "out"), numbers(calm / "out")
    assert not {"measures", "by_depth", "qrels.trec"} & set(differing(ours, theirs))
    tables = [pq.read_table(out / "out" / "scores.parquet").to_pandas() for out in (tmp_path, calm)]
    scores = [table.set_index(["query_id", "doc_id"]).sort_index()["score"] for table in tables]
    np.testing.assert_allclose(*scores, atol=1e-5)
