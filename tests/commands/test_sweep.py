"""Sweeps: many rerankers in one command, failures among them, the presets."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from commands import own_options, results, run, spawn, store, tiny
from rerankbench.basics.errors import UserError
from rerankbench.commands import run as runner
from rerankbench.commands.hydra import config, preflight
from rerankbench.commands.hydra.hydra_private import ConfigLoaderImpl
from rerankbench.commands.job import Job

MSMARCO = [("capital of France?", ["Paris is the capital of France."]),
           ("moons of Mars?", ["Mars has two small moons.", "Phobos and Deimos orbit Mars."]),
           ("boiling water?", ["Water boils at 100 degrees Celsius."])]  # fmt: skip


def test_the_six_rerankers_and_none_in_one_command(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    uri = store(tmp_path)
    own = own_options(models, tmp_path)
    command = [
        "--config-dir",
        str(own),
        "experiment=reranker-sizes",
        *tiny(models, tmp_path),
        f"tracking.uri={uri}",
    ]
    assert run(*command) == 0
    found = results(tmp_path / "sweep")
    names = ["base", "large", "v2-m3", "gemma", "minicpm-layerwise", "lightweight"]
    assert set(found) == {"none", *(f"{name}@4" for name in names)}
    assert {result["status"] for result in found.values()} == {"ok"}
    assert len({result["measures"]["first_stage"]["ndcg_at_2"] for result in found.values()}) == 1
    assert len({result["identity"]["reranker"] for result in found.values()}) == 7

    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'rerankbench'")
    every = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run for run in every if not run.info.run_name.startswith("report ")}
    assert set(runs) == set(found)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len({run.data.tags["sweep_id"] for run in runs.values()}) == 1
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs.values())
    sizes = {name: float(run.data.params["reranker.parameters_m"]) for name, run in runs.items()}
    assert sizes.pop("none") == 0
    assert min(sizes.values()) > 0
    for name, logged in runs.items():
        assert logged.info.run_id == found[name]["mlflow_run_id"]
        assert logged.data.metrics["ndcg_at_2"] == found[name]["measures"]["reranked"]["ndcg_at_2"]
    layers = client.get_metric_history(runs["lightweight@4"].info.run_id, "layer/ndcg_at_2")
    assert sorted(point.step for point in layers) == [2, 3, 4, 5, 6]
    assert "7 of 7 runs done" in capsys.readouterr().out


def test_a_reranker_that_fails_does_not_stop_the_others(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    shutil.copytree(models / "base", tmp_path / "cut")
    whole = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    more = {"gone": f"model: {tmp_path / 'nowhere'}\n", "cut": f"model: {tmp_path / 'cut'}\n"}
    own, uri = own_options(models, tmp_path, **more), store(tmp_path)
    rest = ["first_stage=bm25", *tiny(models, tmp_path), f"tracking.uri={uri}"]
    assert run("--config-dir", str(own), "-m", "reranker=gone,cut,none", *rest) == 1
    found = {
        int(file.parent.name): json.loads(file.read_text()) for file in tmp_path.glob("sweep/*/result.json")
    }
    assert [found[number]["status"] for number in (0, 1, 2)] == ["failed", "failed", "ok"]
    assert "nowhere" in found[0]["error"]
    assert "cut" in found[1]["error"]
    assert found[0]["measures"] == {}

    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'rerankbench'")
    every = client.search_runs([experiment.experiment_id])
    runs = [run for run in every if not run.info.run_name.startswith("report ")]
    assert sorted(run.info.status for run in runs) == ["FAILED", "FAILED", "FINISHED"]
    assert all(run.data.tags.get("error") for run in runs if run.info.status == "FAILED")
    printed = capsys.readouterr()
    assert "1 of 3 runs done" in printed.out
    last = [line for line in printed.err.splitlines() if line.startswith("failed: ")]
    assert len(last) == 2
    assert "Traceback" not in printed.err


def test_what_a_sweep_varies_tells_its_arms_apart(models: Path, tmp_path: Path) -> None:
    rest = ["reranker=base", f"reranker.model={models / 'base'}", "first_stage=bm25", "tracking=none"]
    swept = ["-m", "reranker.max_length=64,128", "first_stage.k1=0.9,1.2"]
    assert run(*swept, *rest, *tiny(models, tmp_path)) == 0
    assert set(results(tmp_path / "sweep")) == {
        f"bm25 + base@2 max_length={length} k1={k1} model=base" for length in (64, 128) for k1 in (0.9, 1.2)
    }


def test_a_sweep_with_other_cutoffs_has_its_report(models: Path, tmp_path: Path) -> None:
    """Nobody has to give report.measure because of cutoffs=."""
    words = [word for word in tiny(models, tmp_path) if not word.startswith(("report.measure", "cutoffs="))]
    rest = ["reranker=base", "first_stage=bm25", "tracking=none", "cutoffs=[2]"]
    assert run("-m", "depth=1,2", *rest, f"reranker.model={models / 'base'}", *words) == 0
    assert "nDCG@2" in (tmp_path / "sweep" / "report.md").read_text()


def test_a_key_of_all_swept_options_need_not_be_the_default_ones(models: Path, tmp_path: Path) -> None:
    """dense, the default, has no k1; Hydra said "Could not override 'first_stage.k1'"."""
    rest = ["reranker=none", "tracking=none", *tiny(models, tmp_path)]
    assert run("-m", "first_stage=bm25,hybrid", "first_stage.k1=1.2", *rest) == 0
    configs = [file.read_text() for file in (tmp_path / "sweep").glob("*/.hydra/config.yaml")]
    assert ["k1: 1.2" in config for config in configs] == [True, True]


def test_models_of_ones_own_do_not_share_a_name(models: Path, tmp_path: Path) -> None:
    rest = ["reranker=base", "first_stage=bm25", "tracking=none", *tiny(models, tmp_path)]
    for name in ("base", "large"):
        assert run(*rest, f"reranker.model={models / name}", f"hydra.run.dir={tmp_path / 'runs' / name}") == 0
    assert set(results(tmp_path / "runs")) == {"bm25 + base@2 model=base", "bm25 + base@2 model=large"}


def test_jobs_in_other_processes_are_reported_too(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed"
    )
    own = own_options(models, tmp_path, gone=f"model: {tmp_path / 'nowhere'}\n")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    rest = ["first_stage=bm25", "tracking=none", *launcher, *tiny(models, tmp_path)]
    assert run("--config-dir", str(own), "-m", "reranker=none,gone", *rest) == 1
    printed = capsys.readouterr()
    assert "1 of 2 runs done" in printed.out
    assert "nowhere: no such folder" in printed.err


def test_results_of_earlier_commands_do_not_count(tmp_path: Path) -> None:
    from rerankbench.experiment.tracking.result import Result

    old = tmp_path / "7" / "result.json"
    Result("old", status="failed").write(old.parent)
    assert runner.fresh(tmp_path, before=()) == [old]
    before = {runner.stamp(old)}
    assert runner.fresh(tmp_path, before) == []
    Result("old").write(old.parent)  # whatever the clock says
    os.utime(old, (0, 0))
    assert runner.fresh(tmp_path, before) == [old]


def test_runs_that_fail_for_one_reason_are_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from rerankbench.experiment.tracking.result import Result

    failed = [Result("a", status="failed", error="model org/a: no hub"),
              Result("b", status="failed", error="model org/b: no hub")]  # fmt: skip
    runner.end_of_sweep([Result("ok"), *failed], Path("sweep"))
    printed = capsys.readouterr()
    assert printed.err == "failed: a, b: model: no hub\n"
    assert printed.out.startswith("sweep      1 of 3 runs done")
    runner.end_of_sweep(failed, None)  # forecasts leave nothing behind
    assert capsys.readouterr() == ("", "failed: a, b: model: no hub\n")


@pytest.mark.parametrize("asked", [[], ["dry_run=true"]], ids=["run", "forecast"])
def test_the_tutorial_without_a_hub_says_so_in_one_line(asked: list[str], tmp_path: Path) -> None:
    started = time.monotonic()
    done = spawn(
        "experiment=tutorial", "tracking=none", *asked, f"cache_dir={tmp_path}/cache", cwd=tmp_path,
        HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    assert done.returncode == 1
    assert time.monotonic() - started < 100
    reasons = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(reasons) == 1
    assert "dataset.path=namespace-Pt/msmarco" in reasons[0]
    assert "base@100, large@100, v2-m3@100, gemma@100, minicpm-layerwise@100, lightweight@100" in reasons[0]
    assert "Traceback" not in done.stderr


def test_the_tutorial_on_a_local_folder(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.dumps({"query": query, "positive": positive}) for query, positive in MSMARCO]
    (tmp_path / "msmarco").mkdir()
    (tmp_path / "msmarco" / "dev.jsonl").write_text("\n".join(rows) + "\n")
    own = own_options(models, tmp_path)
    overrides = [line for line in tiny(models, tmp_path) if not line.startswith(("dataset", "precision"))]
    data = [f"dataset.path={tmp_path / 'msmarco'}", "reranker=base,lightweight", "tracking=none"]
    assert run("--config-dir", str(own), "experiment=tutorial", *data, *overrides) == 0
    found = results(tmp_path / "sweep")
    assert set(found) == {"base@4", "lightweight@4"}
    for result in found.values():
        for stage in ("first_stage", "reranked"):
            names = set(result["measures"][stage])
            assert {"tutorial_recall_at_1", "tutorial_mrr_at_2", "tutorial_ndcg_at_2", "ndcg_at_2"} <= names
    table = capsys.readouterr().out
    assert table.count("tutorial nDCG@2") == 2
    assert table.index("nDCG@2") < table.index("tutorial nDCG@2")


def test_each_job_is_validated_and_composed_once(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(where: Any, name: str) -> None:
        whole = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, **b: (done.append(name), whole(*a, **b))[1])

    noted(config, "read")
    noted(ConfigLoaderImpl, "load_sweep_config")
    rest = ["first_stage=bm25", "reranker=none,base", f"reranker.model={models / 'base'}", "tracking=none"]
    assert run("-m", "depth=1,2", *rest, *tiny(models, tmp_path)) == 0
    arms = {"bm25 without reranking", "bm25 + base@1 model=base", "bm25 + base@2 model=base"}
    assert set(results(tmp_path / "sweep")) == arms
    assert (done.count("read"), done.count("load_sweep_config")) == (4, 4)


def test_another_process_checks_its_job_itself() -> None:
    known = {("depth=1",): UserError("no such folder here")}
    assert pickle.loads(pickle.dumps(Job(checked=known))).checked == {}  # noqa: S301 -- our own
    assert Job(checked=known).checked == known


def test_all_jobs_of_a_sweep_have_one_time() -> None:
    config.register_schemas()
    command = preflight.check(["-m", "depth=1,2,3", "tracking.experiment=${now:%H-%M-%S-%f}"])
    assert command is not None
    assert len(command.checked) == 3
    assert (
        len(
            {
                one.tracking.experiment
                for one in command.checked.values()
                if isinstance(one, config.RunSettings)
            }
        )
        == 1
    )
