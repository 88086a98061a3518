"""Sweeps in other processes: every launcher runs two jobs and their results are all there."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from commands import results, spawn, store, tiny
from rerankbench.basics.conf_folder import conf_folder

# Sweeps in other processes: minutes on two cores, and worse beside other tests. `make tests-ray` runs them.
pytestmark = pytest.mark.ray

PLUGINS = {
    "joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher",
}  # fmt: skip


SECONDS = 150  # for a sweep of two jobs, which takes about 20 s on two quiet cores


def sweep(*arguments: str, cwd: Path) -> str:
    """What a sweep prints. It has a process group of its own, which is ended as a whole when it hangs.

    Its output goes to a file: whoever reads a pipe waits for every process that inherited it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    command, printed = [sys.executable, "-m", "rerankbench", "-m", *arguments], cwd / "printed"
    with printed.open("w") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert code == 0, f"exit code {code} (None: stopped after {SECONDS} s)\n{printed.read_text()}"
    return printed.read_text()


def installed(launcher: str) -> bool:
    return importlib.util.find_spec(f"hydra_plugins.{PLUGINS[launcher]}") is not None


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_sweep_of_two_jobs(launcher: str, models: Path, tmp_path: Path) -> None:
    """Both start at once, on an empty cache and an empty MLflow database."""
    if not installed(launcher):
        pytest.skip(f"{PLUGINS[launcher]} is not installed")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"  # both jobs come upon an empty database
    printed = sweep(
        f"hydra/launcher={launcher}", "reranker=base", f"reranker.model={models / 'base'}", "depth=2,4",
        *tiny(models, tmp_path), f"tracking.uri={uri}", cwd=tmp_path,
    )  # fmt: skip
    assert "2 of 2 runs done" in printed
    found = results(tmp_path / "sweep")
    assert sorted(result["depth"] for result in found.values()) == [2, 4]
    assert {result["status"] for result in found.values()} == {"ok"}
    assert len({json.dumps(result["measures"]["first_stage"]) for result in found.values()}) == 1
    assert len({result["identity"]["candidates"] for result in found.values()}) == 1
    assert len(list((tmp_path / "cache" / "candidates").glob("*.npy"))) == 1
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'rerankbench'")
    runs = [run for run in client.search_runs([experiment.experiment_id])
            if not run.info.run_name.startswith("report ")]  # fmt: skip
    assert {run.info.run_name for run in runs} == set(found)
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("sweeper", ["optuna", "optuna_tpe"])
def test_optuna_chooses(sweeper: str, models: Path, tmp_path: Path) -> None:
    """Three trials, of which two may be of one depth; the best one is written down. `optuna` is the plugin's
    own option, which by itself looks for the smallest value."""
    if importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("hydra-optuna-sweeper is not installed")
    printed = sweep(
        f"hydra/sweeper={sweeper}", "hydra.sweeper.n_trials=3", "depth=choice(1,2,4)", "latency=true",
        "report.budget.latency_p95_ms=60000", "reranker=base", f"reranker.model={models / 'base'}",
        *tiny(models, tmp_path), f"tracking.uri={store(tmp_path)}", cwd=tmp_path,
    )  # fmt: skip
    found = results(tmp_path / "sweep")
    assert {result["status"] for result in found.values()} == {"ok"}
    assert "3 of 3 runs done" in printed
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    reached = {result["depth"]: result["measures"]["reranked"]["ndcg_at_2"] for result in found.values()}
    assert best["best_value"] == pytest.approx(max(reached.values()))
    assert reached[best["best_params"]["depth"]] == max(reached.values())


def test_a_launcher_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    """Python is told that there are no plugins."""
    block = tmp_path / "sitecustomize.py"
    block.write_text("import sys\nfor name in ('joblib', 'submitit', 'ray'):\n"
                     "    sys.modules[f'hydra_plugins.hydra_{name}_launcher'] = None\n")  # fmt: skip
    done = spawn(
        "-m", "hydra/launcher=ray", "depth=1,2", "tracking=none", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 2
    assert "hydra/launcher=ray" in done.stderr
    assert "pip install 'rerankbench[launchers]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("launcher", "address", "line"),
    [
        ("submitit_slurm", [], "there is no srun here"),
        ("ray", ["hydra.launcher.ray.init.address=auto"], "there is no Ray cluster here"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    launcher: str, address: list[str], line: str, models: Path, tmp_path: Path
) -> None:
    if not installed(launcher):
        pytest.skip(f"{PLUGINS[launcher]} is not installed")
    done = spawn(
        "-m", f"hydra/launcher={launcher}", *address, "depth=1,2", "reranker=none", "tracking=none",
        *tiny(models, tmp_path), cwd=tmp_path, RAY_TMPDIR=str(tmp_path), PATH="/nowhere",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("launcher", sorted(PLUGINS))
def test_a_preset_has_only_keys_that_its_launcher_takes(launcher: str) -> None:
    """Hydra checks a plugin's own option against its schema; a file of ours takes that option's place."""
    if not installed(launcher):
        pytest.skip(f"{PLUGINS[launcher]} is not installed")
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()
    ours = yaml.safe_load((conf_folder() / "hydra" / "launcher" / f"{launcher}.yaml").read_text())
    theirs = ConfigStore.instance().load(f"hydra/launcher/{launcher}.yaml").node
    assert ours["_target_"] == theirs["_target_"]
    assert set(ours) == set(theirs)


def test_a_sweeper_is_led_back_to_the_latency_budget() -> None:
    """Within the budget the measure counts, beyond it the excess, as a loss."""
    from omegaconf import OmegaConf

    from rerankbench.commands.job import objective
    from rerankbench.experiment.tracking.result import Result

    found = Result("a", depth=20, measures={"reranked": {"ndcg_at_10": 0.7}})
    found.latency_ms = {"20": {"p95": 150.0}}
    for allowed, expected in ((None, 0.7), (150.0, 0.7), (100.0, 1 - 150 / 100), (50.0, 1 - 150 / 50)):
        report = {"measure": "ndcg_at_10", "budget": {"latency_p95_ms": allowed}}
        assert objective(found, OmegaConf.create({"report": report})) == expected
