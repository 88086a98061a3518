"""Runs that are worked on are shown as running, and no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import DictConfig, OmegaConf

from commands import store
from rerankbench.commands import sweep_run
from rerankbench.experiment.tracking import running
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.experiment.tracking.mlflow_tags import REPORT, RUN
from rerankbench.experiment.tracking.result import Result
from rerankbench.report import tracked


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A process that could be working on a run."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


def mark_of(child: subprocess.Popen[bytes]) -> str:
    host = running.mark().split(" ")[0]
    return f"{host} {child.pid} {psutil.Process(child.pid).create_time():.0f}"


def status_of(mlflow: MLflow, run_id: str | None) -> tuple[str, str]:
    """Its status, and why it ended."""
    run = mlflow.open()[0].get_run(run_id)
    assert run.info.status == "RUNNING" or running.PROCESS not in run.data.tags
    return run.info.status, run.data.tags.get(running.WHY, "")


def config_of(mlflow: MLflow) -> DictConfig:
    """A sweep's config, the part of it that tells where runs are tracked."""
    return OmegaConf.create({"tracking": {"kind": "mlflow", **vars(mlflow)}})


def reports(mlflow: MLflow) -> list[Any]:
    return tracked.earlier(*mlflow.open(), "day/time")


def test_a_run_whose_process_was_killed_is_closed_when_the_next_begins(
    tmp_path: Path, worker: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    mine = mlflow.begin("mine", "day/time")
    marked = mark_of(worker)
    with monkeypatch.context() as there:
        there.setattr(running, "mark", lambda: marked)
        theirs = [mlflow.begin(kind, "day/time", kind) for kind in (RUN, REPORT)]
    mlflow.begin("another", "")
    assert [status_of(mlflow, each)[0] for each in theirs] == ["RUNNING", "RUNNING"]
    worker.kill()
    worker.wait()
    mlflow.begin("one more", "")
    for each in theirs:
        status, why = status_of(mlflow, each)
        assert status == "KILLED"
        assert why.startswith("its process ended without reporting")
    assert status_of(mlflow, mine) == ("RUNNING", "")


def test_a_run_that_is_started_again_elsewhere_or_tracked_closes_the_earlier_one(tmp_path: Path) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    client, experiment_id = mlflow.open()

    def left(name: str, marked: str) -> str:
        tags = {"kind": "run", "sweep_id": "day/time", running.PROCESS: marked}
        return str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)

    same, other = left("minilm@10", "elsewhere 7 1000"), left("large@10", "elsewhere 7 1000")
    mlflow.begin("minilm@10", "day/time")
    assert status_of(mlflow, same)[0] == "KILLED"
    assert status_of(mlflow, other) == ("RUNNING", "")  # who knows what another machine does
    gone = left("base@10", running.mark().rpartition(" ")[0] + " 1000")  # this process's number, reused
    result = Result(arm="base@10")
    result.write(tmp_path / "run")
    mlflow.log(result, tmp_path / "run")
    assert status_of(mlflow, gone)[0] == "KILLED"


def test_a_process_is_gone_only_if_it_ended_on_this_machine(worker: subprocess.Popen[bytes]) -> None:
    marked = mark_of(worker)
    assert not running.is_gone(marked)
    worker.kill()
    worker.wait()
    assert running.is_gone(marked)
    assert not running.is_gone(f"x{marked}")
    assert not any(map(running.is_gone, ("", "host", f"{marked.split()[0]} x y", f"{marked.split()[0]} 1")))
    assert not running.is_gone(running.mark())


def test_a_sweep_is_shown_as_running_until_its_report_ends_it(tmp_path: Path) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    settings = config_of(mlflow)
    folder = tmp_path / "day" / "time"
    folder.mkdir(parents=True)
    for name in ("report.html", "report.md", "report.json"):
        (folder / name).write_text(name)
    with sweep_run.shown(settings, folder):
        (run,) = reports(mlflow)
        assert (run.info.status, run.data.tags["kind"]) == ("RUNNING", REPORT)
        assert (
            tracked.log_report(mlflow, {"verdict": "Deploy it."}, {}, folder, "day/time") == run.info.run_id
        )
    (run,) = reports(mlflow)
    assert (run.info.status, run.data.tags["verdict"]) == ("FINISHED", "Deploy it.")
    assert run.data.tags["mlflow.note.content"] == "report.md"
    with sweep_run.shown(settings, folder):  # the same folder once more: one report is left
        assert {run.info.status for run in reports(mlflow)} == {"RUNNING", "FINISHED"}
        tracked.log_report(mlflow, {}, {}, folder, "day/time")
    assert [run.info.status for run in reports(mlflow)] == ["FINISHED"]


@pytest.mark.parametrize(
    ("stop", "status", "why"),
    [
        (KeyboardInterrupt(), "KILLED", "stopped by Ctrl-C or SIGTERM"),
        (RuntimeError("no cluster"), "FAILED", "no cluster"),
        (None, "FAILED", "no report was made"),
    ],
)
def test_a_sweep_that_ends_badly_says_why(
    tmp_path: Path, stop: BaseException | None, status: str, why: str
) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    settings = config_of(mlflow)
    with (
        nullcontext() if stop is None else pytest.raises(type(stop)),
        sweep_run.shown(settings, tmp_path / "day" / "time"),
    ):
        if stop is not None:
            raise stop
    (run,) = reports(mlflow)
    assert status_of(mlflow, run.info.run_id) == (status, why)
