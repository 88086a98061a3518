"""Run folders of strangers: one line or a whole report, whatever was done to them, and nothing elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from commands import store as fresh_store
from rerankbench.basics.errors import UserError
from rerankbench.commands import report as command
from rerankbench.commands import track
from rerankbench.experiment.tracking import mlflow_store as tracking
from rerankbench.experiment.tracking import run_folders
from rerankbench.experiment.tracking.result import Result
from rerankbench.report import tracked
from rerankbench.report.arms import runs
from rerankbench.report.findings import find_out
from rerankbench.report.page import plots
from rerankbench.report.settings import Report
from simulated_runs import write_failure
from strange_runs import NASTY, SECRET, canary, damages, hidden, kind, said, table, untouched, whole_run

often = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


class Store:
    """MLflow's client as far as tracking uses it: takes what MLflow takes, and keeps what was copied."""

    def __init__(self) -> None:
        self.copied: dict[str, bytes] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        return type("Experiment", (), {"experiment_id": "1", "lifecycle_stage": "active"})

    def create_run(
        self, experiment_id: str, start_time: int = 0, tags: dict[str, str] | None = None, run_name: str = ""
    ) -> Any:
        assert start_time >= 0
        for key, value in (tags or {}).items():
            self.set_tag("", key, value)
        assert not hidden(run_name)
        info = type("Info", (), {"run_id": "0" * 32, "start_time": 0})
        return type("Run", (), {"info": info, "data": type("Data", (), {"tags": tags or {}})})

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        from mlflow.utils.validation import _validate_tag

        _validate_tag(key, value)
        assert not hidden(value)

    def delete_tag(self, run_id: str, key: str) -> None:
        pass

    def search_runs(self, *which: object, **more: object) -> list[Any]:
        return []

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        from mlflow.utils.validation import _validate_batch_log_data, _validate_batch_log_limits

        _validate_batch_log_limits(list(metrics), list(params), [])
        _validate_batch_log_data(list(metrics), list(params), [])

    def log_inputs(self, run_id: str, inputs: list[Any]) -> None:
        from mlflow.utils.validation import _validate_dataset_inputs

        _validate_dataset_inputs(inputs)

    def log_artifact(self, run_id: str, path: str, folder: str | None = None) -> None:
        with Path(path).open("rb") as file:
            self.copied[f"{folder or '.'}/{Path(path).name}"] = file.read(1 << 20)

    def set_terminated(self, run_id: str, status: str = "", end_time: int = 0) -> None:
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


def plain_plot(*arguments: Any) -> list[bytes]:
    return [b'<?xml version="1.0"?><svg width="1pt" height="1pt"></svg>' for _ in arguments[3]]


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
            printed = said(command.main, [str(root / "sweep"), "--out", str(root / "out")], (0, 2))
        assert SECRET not in printed
        for file in (root / "out").glob("report.*"):
            written = file.read_text(encoding="utf-8")
            assert not hidden(written), file
            assert SECRET not in written
            assert "<script>alert(1)" not in written


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
            said(track.main, [str(root / "runs"), f"tracking.uri=sqlite:///{root}/ml.db"], (0, 2))
        assert SECRET.encode() not in b"".join(made.copied.values())


# --- what is copied to a store ---


def run_and_track(root: Path, *words: str) -> int:
    return track.main([str(root / "runs"), f"tracking.uri=sqlite:///{root}/ml.db", *words])


def test_only_a_runs_own_files_are_copied(tmp_path: Path, store: Store) -> None:
    folder = whole_run(tmp_path / "runs" / "1")
    for name in ("id_rsa", "notes.txt", ".hydra/mine.yaml", "sub/result.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(SECRET)
    assert run_and_track(tmp_path) == 0
    assert set(store.copied) == {
        *(f"./{name}" for name in run_folders.FILES),
        *(f"./{name}.trec" for name in run_folders.LISTS),
        "./rerankbench.log",
        *(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")),
    }


@pytest.mark.parametrize(
    "name", ["result.json", "per_query.parquet", "rerankbench.log", "extra.txt", ".hydra/config.yaml"]
)
@pytest.mark.parametrize("what", ["link", "link to a folder", "link to nothing", "link to itself"])
def test_links_are_refused_wherever_they_lead(
    name: str, what: str, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kind(name, what)(whole_run(tmp_path / "runs" / "1"), canary(tmp_path / "away"))
    assert run_and_track(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"/runs/1/{name}: this is a link" in line
    assert store.copied == {}


def test_a_folder_of_settings_that_is_a_link_is_refused(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = whole_run(tmp_path / "runs" / "1")
    (folder / ".hydra").rename(tmp_path / "away")
    (folder / ".hydra").symlink_to(tmp_path / "away")
    assert run_and_track(tmp_path) == 2
    assert ".hydra: this is a link" in capsys.readouterr().err
    assert store.copied == {}


def test_a_hard_link_to_a_file_elsewhere_is_refused(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kind("candidates.trec", "hard link")(whole_run(tmp_path / "runs" / "1"), canary(tmp_path / "away"))
    assert run_and_track(tmp_path) == 2
    assert "candidates.trec: this file has another name elsewhere (a hard link)" in capsys.readouterr().err


def test_folders_behind_links_are_no_runs(tmp_path: Path, store: Store) -> None:
    whole_run(tmp_path / "away" / "1")
    whole_run(tmp_path / "runs" / "1")
    (tmp_path / "runs" / "2").symlink_to(tmp_path / "away")
    assert run_folders.find([tmp_path / "runs"]) == [tmp_path / "runs" / "1"]


def test_folders_are_found_however_deep_they_are_nested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("result.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert len(run_folders.find([tmp_path])) == 1
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own removal would recurse


def test_runs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "x", "1"):
        whole_run(tmp_path / name)
    assert [folder.name for folder in run_folders.find([tmp_path, tmp_path])] == ["x", "1", "9", "10"]


def test_a_run_that_a_file_names_is_left_alone_unless_it_is_its_own(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = fresh_store(tmp_path)
    client = MlflowClient(uri)
    theirs = client.create_run(client.create_experiment("theirs"), tags={"team": "theirs"}).info.run_id
    client.log_param(theirs, "x", 1)
    folder = whole_run(tmp_path / "runs" / "1", mlflow_run_id=theirs)
    assert track.main([str(folder), f"tracking.uri={uri}"]) == 0
    assert client.get_run(theirs).info.lifecycle_stage == "active"
    assert Result.read(folder).mlflow_run_id != theirs


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("tracking: {uri: 'sqlite:///{away}/new/ml.db'}", "where no store is; give tracking.uri=sqlite:///"),
        ("tracking: {uri: 'sqlite:///{away}/secret'}", "where no store is"),
        ("tracking: {uri: '${oc.env:HOME}'}", "not a plain text"),
        ("tracking: {uri: [1]}", "not a plain text"),
        ("tracking: {experiment: 5}", "not a plain text"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ntracking: {uri: x}", "it has aliases"),
        ("a: &a {<<: *a}", "it has aliases"),
        ("[" * 20_000, "cannot be read"),
        ("a: !!python/object/apply:os.system [touch x]", "cannot be read"),
        ("x: " + "a" * 300_000, "cannot be read"),
        ("\x00", "cannot be read"),
        ("tracking: {uri: \"x\\e[2J\"}", "give sqlite"),
    ],
)  # fmt: skip
def test_a_saved_config_of_a_stranger_is_only_read(
    config: str, told: str, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    away, folder = canary(tmp_path / "away"), whole_run(tmp_path / "runs" / "1")
    (folder / ".hydra" / "config.yaml").write_text(config.replace("{away}", str(away)))
    with untouched(away):
        assert track.main([str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not hidden(line)


# --- what a report writes ---


def test_a_report_writes_through_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away, sweep = canary(tmp_path / "away"), tmp_path / "sweep"
    whole_run(sweep / "0")
    (sweep / "plots").mkdir()
    for name in ("report.html", "report.md", "report.json", "plots/depth.png", "plots/cost.svg"):
        (sweep / name).symlink_to(away / "secret")
    with untouched(away):
        assert command.main([str(sweep)]) == 0
    assert not any(
        (sweep / name).is_symlink() for name in ("report.html", "plots/depth.png", "plots/cost.svg")
    )
    shutil.rmtree(sweep / "plots")
    (sweep / "plots").symlink_to(away)
    with untouched(away):
        assert command.main([str(sweep)]) == 2
    assert "plots: this is a link" in capsys.readouterr().err


def test_a_report_logs_its_own_files_alone(tmp_path: Path, store: Store) -> None:
    folder = whole_run(tmp_path / "runs" / "1")
    page = command.build([str(folder)], tmp_path / "out")
    (tmp_path / "out" / "plots" / "leak.png").symlink_to(folder / "result.json")
    findings = find_out(runs.find([folder]), Report())
    tracked.log(tracking.MLflow(f"sqlite:///{tmp_path}/ml.db"), findings, page.parent, "day/time")
    assert "plots/depth.png" in store.copied
    assert "plots/leak.png" not in store.copied


def test_what_strangers_wrote_is_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"first_stage": NASTY, "reranker": NASTY, "reranker.model": NASTY}
    told = {"arm": NASTY, "notes": [NASTY], "params": params, "sweep_id": NASTY}
    dataset = {"name": NASTY, "split": NASTY, "fingerprint": "f", "docs": 3, "queries": 12, "judgements": 3}
    environment = {"device_name": NASTY, "precision": NASTY}
    whole_run(tmp_path / "0", **told, dataset=dataset, environment=environment)
    other = {
        "params": params | {"reranker.model": "x" + NASTY},
        "identity": {"candidates": NASTY, "reranker": NASTY},
    }
    whole_run(tmp_path / "1", **(told | other), dataset=dataset, environment={"device_name": "y" + NASTY})
    write_failure(tmp_path / "2", NASTY, NASTY)
    for name in ("0", "1"):
        table = pq.read_table(tmp_path / name / "texts.parquet")
        texts = pa.array([NASTY + text for text in table["text"].to_pylist()])
        pq.write_table(table.set_column(2, "text", texts), tmp_path / name / "texts.parquet")
    assert command.main([str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert not hidden(printed.out + printed.err)
    assert "\\x1b[2J" in printed.out
    for file in [*tmp_path.glob("report.*"), *(tmp_path / "plots").glob("*.svg")]:
        written = file.read_text(encoding="utf-8")
        assert not hidden(written), file
        assert "<script>alert(1)" not in written or file.suffix == ".json"


# --- what result.json may hold ---

GOOD = {"schema": 1, "arm": "a"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arm": None}, "arm should be a valid string, not None"),
        ({"params": [1]}, "params should be an object, not [1]"),
        ({"dataset": "x"}, "dataset should be an object, not 'x'"),
        ({"dataset": {"docs": "3"}}, "dataset.docs should be a valid integer, not '3'"),
        ({"dataset": {"queries": True}}, "dataset.queries should be a valid integer, not True"),
        ({"identity": {"candidates": 1}}, "identity.candidates should be a valid string, not 1"),
        ({"measures": {"reranked": {"n": "0.5"}}}, "measures.reranked.n should be a valid number, not '0.5'"),
        ({"measures": {"reranked": {"n": 1e308}}}, "measures.reranked.n should be less than or equal to 1"),
        ({"measures": {"first": {"../x": 1}}}, "measures.first.../x should be a plain name, not '../x'"),
        ({"by_depth": {"ten": {}}}, "by_depth.ten should be a whole number, not 'ten'"),
        ({"latency_ms": {"9": {"p50": -1}}}, "latency_ms.9.p50 should be greater than or equal to 0, not -1"),
        ({"throughput": {"seconds": [1]}}, "throughput.seconds should be a valid number, not [1]"),
        ({"throughput": {"pairs": "9"}}, "throughput.pairs should be a valid number, not '9'"),
        ({"environment": {"threads": "x"}}, "environment.threads should be a valid integer, not 'x'"),
        ({"environment": {"device": ["cpu"]}}, "environment.device should be a valid string, not ['cpu']"),
        ({"pairs": {"total": 10**400}}, "pairs.total should be less than or equal to"),
        ({"notes": [1, 2]}, "notes.0 should be a valid string, not 1 (and 1 more)"),
        ({"status": "done"}, "status should be 'ok', 'failed' or 'forecast', not 'done'"),
        ({"mlflow_run_id": "../x"}, "mlflow_run_id should be a plain name, not '../x'"),
        ({"params": {f"p{n}": n for n in range(101)}}, "params should have at most 100 items"),
        ({"schema": 2}, "not a result of schema 1 (its schema is 2)"),
        ({"schema": True}, "not a result of schema 1 (its schema is True)"),
        ({"schema": None}, "not a result of schema 1 (it has none)"),
    ],
)  # fmt: skip
def test_a_damaged_field_is_named_with_its_value(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError) as error:
        Result.read(tmp_path)
    (line,) = error.value.problems
    assert line.startswith(f"{tmp_path}/result.json: {told}")
    assert line.endswith("; run it again or leave it out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 200_000, "recursion limit exceeded"),
        ('{"a":' * 200_000, "recursion limit exceeded"),
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ('{"schema": NaN}', "it is not JSON"),
        ("[]", "not a result of schema 1"),
        ("1" * 5000, "number out of range"),
        ('{"schema": 1, "arm": "a", "arm": "b"}', "arm appears twice in one object"),
        ('{"schema": 1, "arm": "a", "params": {"x": 1e999}}', "Out of range float values"),
        ('{"schema": 1, "arm": "\\ud800"}', "it is not JSON"),
    ],
)
def test_a_damaged_result_is_one_line(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError) as error:
        Result.read(tmp_path)
    (line,) = error.value.problems
    assert told in line
    assert len(line) < 400


def test_results_of_later_versions_with_more_keys_are_read(tmp_path: Path) -> None:
    more = {
        "new": [1],
        "dataset": {"name": "x", "new": {"a": 1}},
        "model": {"new": 1},
        "throughput": {"new": "x"},
    }
    (tmp_path / "result.json").write_text(json.dumps(GOOD | more))
    found = Result.read(tmp_path)
    assert found.dataset == more["dataset"]
    assert found.throughput == {"new": "x"}


@pytest.mark.parametrize(
    ("file", "how", "told"),
    [
        ("per_query.parquet", "gone", "its column query_id is missing"),
        ("per_query.parquet", "twice", "its column query_id is there twice"),
        ("per_query.parquet", "numbers", "its column query_id should hold text, not double"),
        ("per_query.parquet", "no rows", "it has no rows"),
        ("per_query.parquet", "half", "should have every query once"),
        ("per_query.parquet", "rows twice", "should have every query once"),
        ("per_query.parquet", "no UTF-8", "cannot be read"),
        ("per_query.parquet", "null texts", "its column query_id has rows without a value"),
        ("scores.parquet", "gone", "its column query_id is missing"),
        ("scores.parquet", "half", "the ranks of query"),
        ("texts.parquet", "numbers", "its column kind should hold text, not double"),
        ("texts.parquet", "texts", "its column kind should be query or document"),
    ],
)
def test_a_damaged_table_is_named_with_its_column(
    file: str, how: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(file, 0, how)(whole_run(tmp_path / "run"), tmp_path)
    assert command.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"/run/{file}: " in line
    assert told in line


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("huge", "its column ndcg_at_10 holds 1e+308, no measure"),
        ("infinite", "nDCG@10 is not a number"),
        ("not a number", "nDCG@10 is not a number"),
    ],
)
def test_what_is_no_measure_is_refused(
    value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table("per_query.parquet", 1, value)(whole_run(tmp_path / "run"), tmp_path)
    assert command.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
