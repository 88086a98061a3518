"""Run folders of strangers: one line or a whole report, whatever was done to them, and nothing elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rerankbench import track, tracking
from rerankbench.report import command, plots
from strange_runs import SECRET, canary, damages, hidden, untouched, whole_run

often = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


class Store:
    """MLflow's client as far as tracking uses it: takes what MLflow takes, and keeps what was copied."""

    def __init__(self) -> None:
        self.copied: dict[str, bytes] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return type("Experiment", (), {"experiment_id": "1"})

    def create_run(self, experiment_id: str, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        from mlflow.utils.validation import _validate_tag

        assert start_time >= 0
        for key, value in tags.items():
            _validate_tag(key, value)
            assert not hidden(value)
        assert not hidden(run_name)
        return type("Run", (), {"info": type("Info", (), {"run_id": "0" * 32})})

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        from mlflow.utils.validation import _validate_batch_log_data, _validate_batch_log_limits

        _validate_batch_log_limits(list(metrics), list(params), [])
        _validate_batch_log_data(list(metrics), list(params), [])

    def log_inputs(self, run_id: str, inputs: list[Any]) -> None:
        from mlflow.utils.validation import _validate_dataset_inputs

        _validate_dataset_inputs(inputs)

    def log_artifact(self, run_id: str, path: str, folder: str | None) -> None:
        with Path(path).open("rb") as file:
            self.copied[f"{folder or '.'}/{Path(path).name}"] = file.read(1 << 20)

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        pass

    def get_run(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        raise MlflowException("there is no such run")

    def delete_run(self, run_id: str) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(tracking.MLflow, "connect", lambda self: made)
    return made


def plain_plot(*_: Any) -> bytes:
    return b'<?xml version="1.0"?><svg width="1pt" height="1pt"></svg>'


@given(damages)
@often
def test_any_run_folder_is_reported_or_told(damage: Any) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        patch.setattr(plots, "rendered", plain_plot)
        root = Path(place)
        away = canary(root / "away")
        whole_run(root / "sweep" / "0", "other")
        damage(whole_run(root / "sweep" / "1"), away)
        with untouched(away), untouched(root / "sweep"):
            printed = said(patch, command.main, [str(root / "sweep"), "--out", str(root / "out")], (0, 2))
        assert SECRET not in printed
        for file in (root / "out").glob("report.*"):
            written = file.read_text(encoding="utf-8")
            assert not hidden(written), file
            assert SECRET not in written
            assert "<script>alert(1)" not in written


def said(patch: pytest.MonkeyPatch, main: Any, words: list[str], codes: tuple[int, ...]) -> str:
    """What a command prints, in lines without anything hidden; it ends with one of `codes`."""
    import io
    import sys

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as streams:
        streams.setattr(sys, "stdout", out)
        streams.setattr(sys, "stderr", err)
        code = main(words)
    printed = out.getvalue() + err.getvalue()
    assert code in codes, printed
    assert not hidden(printed), printed
    assert "Traceback" not in printed
    if code == 2:
        lines = err.getvalue().splitlines()
        assert lines
        assert all(line.startswith("error: ") and len(line) < 700 for line in lines), lines
    return printed


@given(damages)
@often
def test_any_run_folder_is_logged_or_told(damage: Any) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        made = Store()
        patch.setattr(tracking.MLflow, "connect", lambda self: made)
        root = Path(place)
        away = canary(root / "away")
        damage(whole_run(root / "runs" / "1"), away)
        with untouched(away):
            said(patch, track.main, [str(root / "runs"), f"tracking.uri=sqlite:///{root}/ml.db"], (0, 2))
        assert SECRET.encode() not in b"".join(made.copied.values())
