"""Disks that are full, read-only or emptied: one line, no false result, and the run goes on later."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import faults
from commands import store
from rerankbench.commands import track
from small_collection import PAIRS, command, differing, numbers, pairs
from warm import Command

pytestmark = pytest.mark.faults

KILOBYTE = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of one's own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs (root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def size(folder: Path) -> int:
    """Bytes in pages of 4 KB, as a tmpfs takes them."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in folder.rglob("*") if file.is_file())


def leave(disk: Path, room: int) -> Path:
    """A file that fills the disk but for `room` bytes."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(max(0, free - room)))
    return ballast


def check_refused(process: Command, out: Path, what: str, cure: str) -> None:
    """Exit code 2, one line with place, cause and cure, and nothing that looks like a result."""
    assert process.wait() == 2, process.printed()
    printed = process.printed()
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if "error: " in line]
    assert what in line
    assert cure in line
    assert "the same command continues" in line
    if (out / "result.json").exists():
        assert json.loads((out / "result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize(("place", "setting"), [("cache", "cache_dir"), ("out", "hydra.run.dir")])
def test_a_full_disk(
    place: str, setting: str, share: float, disk: Path, calm: Path, models: Path, tmp_path: Path
) -> None:
    """Room for a share of what the run writes there."""
    arguments = command(models, tmp_path, "tracking=none", f"{setting}={disk / place}")
    out = (disk if place == "out" else tmp_path) / "out"
    ballast = leave(disk, int(share * size(calm / place)))
    process = Command(arguments, tmp_path / "cwd", faults.hurry)
    check_refused(process, out, "the disk is full", f"choose another place with {setting}=FOLDER")
    ballast.unlink()
    again = Command(arguments, tmp_path / "cwd")
    assert again.wait() == 0, again.printed()
    assert differing(numbers(out), numbers(calm / "out")) == []


def test_a_full_disk_under_an_earlier_result(disk: Path, calm: Path, models: Path, tmp_path: Path) -> None:
    """What an earlier run left in the output folder does not pass for the result of one that failed."""
    shutil.copytree(calm / "out", disk / "out")
    arguments = command(models, tmp_path, "tracking=none", "depth=6", f"hydra.run.dir={disk / 'out'}")
    here = tmp_path / "here"
    wait = partial(faults.wait_before, "rerankbench.experiment.tracking.outputs:parquet", 2, here)
    process = Command(arguments, tmp_path / "cwd", wait)
    process.wait_for(here)
    leave(disk, 0)
    here.unlink()
    check_refused(process, disk / "out", "the disk is full", "hydra.run.dir=FOLDER")
    assert not (disk / "out" / "result.json").exists()


def test_mlflow_on_a_full_disk(disk: Path, calm: Path, models: Path, tmp_path: Path) -> None:
    """The run is done, says that MLflow has it not, and is logged when there is room."""
    uri = store(disk)
    ballast = leave(disk, 8 * KILOBYTE)
    process = Command(command(models, tmp_path, f"tracking.uri={uri}"), tmp_path / "cwd")
    assert process.wait() == 0
    assert "not in MLflow" in process.printed()
    assert f"rerankbench-track {tmp_path / 'out'}" in process.printed()
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []
    ballast.unlink()
    for _ in range(2):
        assert track.main([str(tmp_path / "out")]) == 0
    assert [run.info.status for run in runs_in(uri)] == ["FINISHED"]


def runs_in(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    return list(client.search_runs([client.get_experiment_by_name("rerankbench").experiment_id]))


def test_an_index_on_a_full_disk(disk: Path) -> None:
    """FAISS says in a text only why it could not write."""
    import faiss

    from rerankbench.engine.store.disk import explained
    from rerankbench.first_stages.index import write_index

    index = faiss.IndexFlatIP(64)
    index.add(np.ones((1000, 64), np.float32))
    leave(disk, 16 * KILOBYTE)
    with pytest.raises(OSError, match="No space left") as caught:
        write_index(index, disk / "some.faiss", {"factory": "Flat"})
    line = str(explained(caught.value, {"cache_dir": disk}))
    assert line.startswith(
        f"{disk / 'some.faiss'}: the disk is full; make room there, or choose another place"
    )
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def read_only(disk: Path, on: bool) -> None:
    subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(disk)], check=True)


def test_a_read_only_cache_that_has_everything(disk: Path, calm: Path, models: Path, tmp_path: Path) -> None:
    shutil.copytree(calm / "cache", disk / "cache")
    read_only(disk, True)
    arguments = command(models, tmp_path, "tracking=none", f"cache_dir={disk / 'cache'}")
    process = Command(arguments, tmp_path / "cwd")
    assert process.wait() == 0, process.printed()
    assert pairs(tmp_path / "out") == {"total": PAIRS, "scored": 0, "reused": PAIRS}
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


@pytest.mark.parametrize("lacks", ["cache", "vectors", "candidates", "scores"])
def test_a_read_only_cache_that_lacks_something(
    lacks: str, disk: Path, calm: Path, models: Path, tmp_path: Path
) -> None:
    """Candidates are enough without vectors; everything else is one line."""
    shutil.copytree(calm / "cache", disk / "cache")
    shutil.rmtree(disk / "cache" / lacks if lacks != "cache" else disk / "cache")
    read_only(disk, True)
    arguments = command(models, tmp_path, "tracking=none", f"cache_dir={disk / 'cache'}")
    process = Command(arguments, tmp_path / "cwd")
    if lacks == "vectors":
        assert process.wait() == 0, process.printed()
        return
    check_refused(process, tmp_path / "out", "the disk is read-only", "cache_dir=FOLDER")
    read_only(disk, False)
    assert Command(arguments, tmp_path / "cwd").wait() == 0
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


@pytest.mark.parametrize("moment", range(1, 120, 7))
def test_a_cache_that_is_removed_in_the_middle(moment: int, calm: Path, models: Path, tmp_path: Path) -> None:
    """`rm -rf` before some batch or file: the right numbers or one line, and the right ones the next time."""
    arguments = command(models, tmp_path, "tracking=none")
    gone = partial(faults.at, moment, partial(faults.removed, tmp_path / "cache"))
    process = Command(arguments, tmp_path / "cwd", faults.hurry, gone)
    if code := process.wait():
        assert code == 2, process.printed()
        assert "Traceback" not in process.printed()
        assert len([line for line in process.printed().splitlines() if "error: " in line]) == 1
        assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "failed"
        assert Command(arguments, tmp_path / "cwd").wait() == 0
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []
