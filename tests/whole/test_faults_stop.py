"""SIGTERM and Ctrl-C at work: a clean stop in under ten seconds that says how to continue, and continuing."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import faults
from commands import store
from small_collection import PAIRS, command, differing, numbers, pairs
from warm import Command

pytestmark = pytest.mark.faults

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
ENOUGH = 10.0  # seconds on a quiet machine; this test's processes are two on two cores


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def stop(process: Command, number: int) -> None:
    """Send the signal; check the end's time, code and words."""
    started = time.monotonic()
    process.signal(number)
    assert process.wait() == CODES[signal.Signals(number)], process.printed()
    assert time.monotonic() - started < ENOUGH
    printed = process.printed()
    assert "Traceback" not in printed
    assert len([line for line in printed.splitlines() if "the same command continues" in line]) == 1


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(("stage", "model"), [("embedding", faults.EMBEDDER), ("scoring", faults.SCORER)])
def test_between_batches(
    stage: str, model: str, number: int, calm: Path, models: Path, tmp_path: Path
) -> None:
    """What was computed before is kept, also what no flush had written yet."""
    arguments, scored = command(models, tmp_path, "tracking=none"), tmp_path / "scored"
    noted = partial(faults.note_scored, scored)
    here = tmp_path / "here"
    slowly = partial(faults.slow, model, 0.1)
    process = Command(arguments, tmp_path / "cwd", noted, slowly, partial(faults.wait_before, model, 6, here))
    process.wait_for(here)
    here.unlink()
    time.sleep(0.25)  # in one of the slow batches that follow
    stop(process, number)
    assert not (tmp_path / "out" / "result.json").exists()
    before = scored.stat().st_size
    assert (before > 0) == (stage == "scoring")
    assert Command(arguments, tmp_path / "cwd", noted).wait() == 0
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []
    assert scored.stat().st_size <= PAIRS + 4  # at most the batch that was being computed is computed again
    if stage == "scoring":
        assert pairs(tmp_path / "out")["reused"] >= before - 4 > 0


@pytest.mark.parametrize("number", CODES)
def test_while_mlflow_is_written(number: int, calm: Path, models: Path, tmp_path: Path) -> None:
    """Results are kept; of the run that was being logged nothing stays that looks like one."""
    from mlflow.tracking import MlflowClient

    uri, here = store(tmp_path), tmp_path / "here"
    arguments = command(models, tmp_path, f"tracking.uri={uri}")
    process = Command(
        arguments,
        tmp_path / "cwd",
        partial(faults.wait_before, "rerankbench.experiment.tracking.mlflow_store:log_dataset", 1, here),
    )
    process.wait_for(here)
    stop(process, number)
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []
    here.unlink()
    again = Command(arguments, tmp_path / "cwd")
    assert again.wait() == 0, again.printed()
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("rerankbench").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"]


def test_while_a_server_does_not_answer(deaf: str, calm: Path, models: Path, tmp_path: Path) -> None:
    arguments = command(models, tmp_path, f"tracking.uri={deaf}")
    process = Command(arguments, tmp_path / "cwd")
    process.wait_for(tmp_path / "out" / "result.json")
    time.sleep(0.5)
    stop(process, signal.SIGTERM)
    assert differing(numbers(tmp_path / "out"), numbers(calm / "out")) == []


def test_a_batch_that_does_not_end_is_not_waited_for(models: Path, tmp_path: Path) -> None:
    """What no exception reaches, such as one long call of a library, is left after eight seconds."""
    arguments = command(models, tmp_path, "tracking=none")
    here = tmp_path / "here"
    process = Command(arguments, tmp_path / "cwd", partial(deafened, here))
    process.wait_for(here)
    stop(process, signal.SIGTERM)


def deafened(here: Path) -> None:
    """The model's second batch takes for ever, and lets no exception out."""
    calls = 0

    def forward(original: object, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            here.touch()
            while True:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    os.write(2, b"")
        return original(*args)  # type: ignore[operator]

    faults.wrap(faults.SCORER, forward)
