"""MLflow: what is logged, under which names, on sqlite and on a server, and when that is away."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import run, store, tiny
from rerankbench.basics import masking, progress
from rerankbench.basics.errors import UserError
from rerankbench.commands import track
from rerankbench.experiment.tracking import mlflow_store as tracking
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.experiment.tracking.result import Result

SECRET = "http://joe:s3cret@127.0.0.1:9"


def example(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "arm": "layered@100",
        "sweep_id": "day/time",
        "depth": 100,
        "dataset": {"name": "sample", "docs": 3, "queries": 2, "judgements": 4, "fingerprint": "f" * 64},
        "params": {"reranker": "layered", "depth": 100, "reranker.parameters_m": 278.0},
        "measures": {
            "first_stage": {"ndcg_at_10": 0.25}, "reranked": {"ndcg_at_10": 0.5},
            "oracle": {"ndcg_at_10": 0.75},
        },
        "by_cutoff": {"ndcg_at_k": {"1": 0.1, "10": 0.5}},
        "by_depth": {"10": {"ndcg_at_10": 0.3}, "100": {"ndcg_at_10": 0.5}},
        "by_layer": {str(layer): {"ndcg_at_10": layer / 100} for layer in (8, 16, 28)},
        "latency_ms": {"100": {"p50": 4.0, "p95": 6.0}},
        "throughput": {"pairs_per_second": 12.0},
        "memory_mb": {"peak_rss": 800.0, "peak_cuda": None},
    }  # fmt: skip
    return Result(**(values | changes))


def folder_of(result: Result, folder: Path, uri: str | None = None) -> Path:
    """The output folder of a run, as the command leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    settings = {"tracking": {"kind": "mlflow", "uri": uri, "experiment": "mine"} if uri else {"kind": "none"}}
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(settings))
    result.write(folder)
    return folder


def runs_in(uri: str, experiment: str = "rerankbench") -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


@pytest.fixture(autouse=True)
def _no_side_effects() -> Iterator[None]:
    before = mlflow_environment()
    yield
    assert mlflow_environment() == before, "logging changed the process's environment"


def mlflow_environment() -> dict[str, str]:
    """What tells MLflow where to log; that it shall be quiet is no side effect."""
    quiet = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    return {
        name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") and name not in quiet
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback."""
    root = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1", "--backend-store-uri", store(root),
               "--artifacts-destination", str(root / "artifacts")]  # fmt: skip
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=root, start_new_session=True)
        try:
            wait_for(port, process, root / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 9)  # it is ours alone, and may take its time otherwise
            process.wait(20)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError("the server did not start: " + log.read_text())


def check_logged(uri: str, result: Result) -> None:
    """Names, steps, dataset and files as they are promised."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    logged = client.get_run(str(result.mlflow_run_id))
    metrics = logged.data.metrics
    assert logged.info.run_name == "layered@100"
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["sweep_id"] == "day/time"
    assert "mlflow.parentRunId" not in logged.data.tags
    expected = {
        "ndcg_at_10": 0.5, "first_stage/ndcg_at_10": 0.25, "oracle/ndcg_at_10": 0.75, "latency/p95_ms": 6.0,
        "throughput/pairs_per_second": 12.0, "memory/peak_rss_mb": 800.0,
    }  # fmt: skip
    assert {name: metrics[name] for name in expected} == expected
    for name, points in {
        "ndcg_at_k": {1: 0.1, 10: 0.5},
        "depth/ndcg_at_10": {10: 0.3, 100: 0.5},
        "layer/ndcg_at_10": {8: 0.08, 16: 0.16, 28: 0.28},
    }.items():
        history = client.get_metric_history(str(result.mlflow_run_id), name)
        assert {point.step: point.value for point in history} == points
        assert len(history) == len(points)
    (dataset,) = logged.inputs.dataset_inputs
    assert dataset.dataset.name == "sample"
    assert {file.path for file in client.list_artifacts(str(result.mlflow_run_id))} >= {"result.json"}
    assert logged.data.params["reranker.parameters_m"] == "278.0"


def test_a_run_on_sqlite(tmp_path: Path) -> None:
    result, mlflow = example(), MLflow(uri=store(tmp_path))
    folder = folder_of(result, tmp_path / "run")
    assert mlflow.log(result, folder) == result.mlflow_run_id
    assert Result.read(folder).mlflow_run_id == result.mlflow_run_id
    check_logged(mlflow.uri, result)
    assert (tmp_path / "mlartifacts").is_dir()


def test_a_run_on_a_server(server: str, tmp_path: Path) -> None:
    result = example()
    MLflow(uri=server).log(result, folder_of(result, tmp_path / "run"))
    check_logged(server, result)


def test_more_metrics_than_one_request_takes(server: str, tmp_path: Path) -> None:
    layers = {str(layer): {f"ndcg_at_{k}": layer * k / 1e4 for k in range(1, 41)} for layer in range(1, 31)}
    result = example(by_layer=layers)
    MLflow(uri=server).log(result, folder_of(result, tmp_path / "run"))
    (logged,) = [found for found in runs_in(server) if found.info.run_id == result.mlflow_run_id]
    assert logged.data.metrics["layer/ndcg_at_40"] == pytest.approx(30 * 40 / 1e4)


def test_a_failed_run_has_failed_there_too(tmp_path: Path) -> None:
    uri = store(tmp_path)
    result = Result(arm="base@100", status="failed", error="no such folder", params={"reranker": "base"})
    MLflow(uri=uri).log(result, folder_of(result, tmp_path / "run"))
    (logged,) = runs_in(uri)
    assert logged.info.status == "FAILED"
    assert logged.data.tags["error"] == "no such folder"


def test_the_default_store_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert MLflow().absolute_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_four_processes_on_a_cold_store_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import multiprocessing, pathlib, mlflow.tracking\n"  # imported once, then four processes from here
        "from test_tracking import example, folder_of\n"
        "from rerankbench.experiment.tracking.mlflow_store import MLflow\n"
        "def log(name):\n"
        "    result = example(arm=name)\n"
        "    MLflow(uri='sqlite:///cold.db').log(result, folder_of(result, pathlib.Path(name)))\n"
        "fork = multiprocessing.get_context('fork')\n"
        "several = [fork.Process(target=log, args=[f'arm{n}']) for n in range(4)]\n"
        "[process.start() for process in several]; [process.join() for process in several]\n"
        "assert [process.exitcode for process in several] == [0, 0, 0, 0]\n"
    )
    places = [Path(__file__).parent, Path(__file__).parents[1] / "helpers"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, places), *sys.path])}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, timeout=200, check=True)
    found = runs_in(f"sqlite:///{tmp_path / 'cold.db'}")
    assert {logged.info.run_name for logged in found} == {"arm0", "arm1", "arm2", "arm3"}
    assert {len(logged.data.metrics) for logged in found} == {len(found[0].data.metrics)}


def test_without_a_server_results_stay_and_are_logged_later(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reranker=none", "first_stage=bm25", f"tracking.uri={SECRET}", *tiny(models, tmp_path)]
    started = time.monotonic()
    assert run(*command) == 0
    assert time.monotonic() - started < 30
    out = tmp_path / "out"
    printed = capsys.readouterr()
    assert (
        "http://***@127.0.0.1:9 does not answer); the results are kept, log them later with: " in printed.err
    )
    assert f"rerankbench-track {out}" in printed.err
    assert json.loads((out / "result.json").read_text())["mlflow_run_id"] is None
    for file in [file for file in out.rglob("*") if file.is_file()]:
        assert b"s3cret" not in file.read_bytes(), file

    assert track.main([str(out)]) == 2  # the password is nowhere, so the address has to be given
    assert "give tracking.uri= again" in capsys.readouterr().err
    uri = store(tmp_path)
    assert track.main([str(out), f"tracking.uri={uri}"]) == 0
    assert track.main([str(tmp_path), f"tracking.uri={uri}"]) == 0
    printed = capsys.readouterr()
    assert "bm25 without reranking logged, run" in printed.out
    assert "bm25 without reranking was logged already, run" in printed.out
    (logged,) = runs_in(uri)
    assert logged.info.status == "FINISHED"


def test_a_run_that_was_cut_off_is_logged_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, result = store(tmp_path), example()
    folder = folder_of(result, tmp_path / "run", uri)

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(tracking, "log_dataset", fail)
        with pytest.raises(RuntimeError, match="the disk is full"):
            MLflow(uri=uri, experiment="mine").log(result, folder)
    assert runs_in(uri, "mine") == []
    assert Result.read(folder).mlflow_run_id is None

    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)  # as a kill leaves it: a run that has an id here and no end there
    half = client.create_run(client.get_experiment_by_name("mine").experiment_id)
    result.set_run_id(half.info.run_id, folder)
    assert track.main([str(folder)]) == 0
    (logged,) = runs_in(uri, "mine")
    assert logged.info.run_id == Result.read(folder).mlflow_run_id != half.info.run_id


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], None),
        (["/not/there"], "/not/there: there is no such folder"),
        (["{here}"], "holds no result.json"),
        (["tracking.uri=x"], "give the output folder"),
        (["{here}/bad"], "cannot be read"),
        (["{here}/old"], "not a result of schema 1 (its schema is 0)"),
        (
            ["{here}/good", "tracking.url=x"],
            "tracking.url=x: there is no such key; did you mean tracking.uri?",
        ),
        (["{here}/good", "tracking.uri=x"], "tracking.uri=x: give sqlite"),
        (["{here}/good", "--all"], "--all: there is no such argument"),
    ],
)
def test_mistakes_in_the_track_command(
    words: list[str], said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"bad": "{", "old": '{"schema": 0}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    folder_of(example(), tmp_path / "good")
    (tmp_path / "empty").mkdir()
    here = "empty" if words == ["{here}"] else ""
    assert track.main([word.replace("{here}", str(tmp_path / here)) for word in words]) == 2
    printed = capsys.readouterr()
    assert (said or "usage: rerankbench-track") in printed.err + printed.out


@pytest.mark.parametrize(("name", "plain"), [("a%20b/ml.db", "a b/ml.db"), ("ml.db?timeout=3", "ml.db")])
def test_a_database_that_mlflow_would_call_otherwise_is_refused_with_its_plain_name(
    tmp_path: Path, name: str, plain: str
) -> None:
    (line,) = MLflow(f"sqlite:///{tmp_path}/{name}").problems()
    (word,) = shlex.split(line.partition("name it as it is: ")[2])
    assert word in (
        f"tracking.uri=sqlite:///{tmp_path}/{plain}",
        f"tracking.uri='sqlite:///{tmp_path}/{plain}'",
    )
    tracking = MLflow(word.partition("=")[2].strip("'"))
    assert (tracking.problems(), tracking.database) == ([], tmp_path / plain)


def test_a_deleted_experiment_is_named_before_a_run_with_two_cures_that_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from mlflow.experiments import commands

    uri, out = store(tmp_path), tmp_path / "out"
    client = MLflow(uri).connect()
    client.delete_experiment(client.create_experiment("mine"))
    example(arm="none").write(out)
    words = [str(out), f"tracking.uri={uri}"]
    assert track.main([*words, "tracking.experiment=mine"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {out}: tracking.uri={uri}: the experiment 'mine' was deleted there")
    (line,) = MLflow(uri, "mine").problems()
    assert said == f"error: {out}: {line}\n"
    assert track.main([*words, re.findall(r"tracking\.experiment=\S+", line)[0].rstrip(",")]) == 0
    restore = shlex.split(line.partition("or restore it: ")[2])
    variable, value = restore[0].split("=", 1)
    monkeypatch.setenv(variable, value)
    assert CliRunner().invoke(commands, restore[3:]).exit_code == 0
    assert MLflow(uri, "mine").problems() == []
    assert track.main([*words, "tracking.experiment=mine"]) == 0


def test_help_of_the_track_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert track.main(["--help"]) == 0
    assert "usage: rerankbench-track FOLDER" in capsys.readouterr().out


def test_no_tracking_logs_nothing(tmp_path: Path) -> None:
    assert tracking.NoTracking().log(example(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://joe:pw@host:80/x", "http://***@host:80/x"),
        ("see https://token@host, and ftp://a:b@c.", "see https://***@host, and ftp://***@c."),
        ("postgresql://me:p%40ss@db/mlflow", "postgresql://***@db/mlflow"),
        ("http://host/?api_key=abc&page=2", "http://host/?api_key=***&page=2"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("http://[bad:pw@host", "http://***@host"),
        ("me@example.com and a:b", "me@example.com and a:b"),
    ],
)
def test_secrets_in_addresses_are_masked(text: str, shown: str) -> None:
    assert masking.masked(text) == shown


def test_a_missing_result_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"result\.json: there is no such file"):
        Result.read(tmp_path)


def test_a_run_is_shown_as_running_with_its_progress_until_it_is_whole(tmp_path: Path) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    begun = mlflow.begin("minilm@10", "sweep")
    assert begun is not None
    client, _ = mlflow.open()
    assert client.get_run(begun).info.status == "RUNNING"
    mlflow.follow(begun, "scoring", 0.25, 0)
    run = client.get_run(begun)
    assert (run.data.metrics["progress"], run.data.tags["stage"]) == (0.25, "scoring")
    result = Result(arm="minilm@10", name="minilm@10 on sample", sweep_id="sweep")
    assert mlflow.log(result, written(tmp_path / "run", result), begun) == begun
    run = client.get_run(begun)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "minilm@10 on sample")
    assert run.data.metrics["progress"] == 1.0


def written(folder: Path, result: Result) -> Path:
    result.write(folder)
    return folder


def test_a_run_that_was_stopped_is_not_shown_as_running(tmp_path: Path) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    begun = mlflow.begin("minilm@10", "")
    assert begun is not None
    mlflow.drop(begun)
    assert mlflow.open()[0].get_run(begun).info.status == "KILLED"


def test_a_store_that_is_not_there_begins_nothing_and_takes_no_time() -> None:
    started = time.monotonic()
    assert MLflow(uri="http://127.0.0.1:9").begin("minilm@10", "") is None
    assert time.monotonic() - started < 10


def test_progress_is_told_now_and_then_and_no_more_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TOLD_SECONDS", -1.0)
    told: list[tuple[str, int, int]] = []

    def listener(*each: object) -> None:
        told.append(each)  # type: ignore[arg-type]
        if len(told) == 2:
            raise OSError("the server is gone")

    with progress.told_to(listener), progress.Progress("scoring", 30, "pairs") as bar:
        for _ in range(3):
            bar.advance(10)
    assert told == [("scoring", 10, 30), ("scoring", 20, 30)]
    assert progress.listeners == []
