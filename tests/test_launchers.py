"""Sweeps in other processes: every launcher runs two jobs and their results are all there."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from commands import results, spawn, tiny
from rerankbench.preflight import conf_folder

# Sweeps in other processes: minutes on two cores, and worse beside other tests. `make tests-ray` runs them.
pytestmark = pytest.mark.ray

PLUGINS = {
    "joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher",
}  # fmt: skip


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
    done = spawn(
        "-m", f"hydra/launcher={launcher}", "reranker=base", f"reranker.model={models / 'base'}", "depth=2,4",
        *tiny(models, tmp_path), f"tracking.uri={uri}", cwd=tmp_path, RAY_USAGE_STATS_ENABLED="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs done" in done.stdout
    found = results(tmp_path / "sweep")
    assert set(found) == {"base@2", "base@4"}
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

    from rerankbench.result import Result
    from rerankbench.runner import objective

    found = Result("a", depth=20, measures={"reranked": {"ndcg_at_10": 0.7}})
    found.latency_ms = {"20": {"p95": 150.0}}
    for allowed, expected in ((None, 0.7), (150.0, 0.7), (100.0, 1 - 150 / 100), (50.0, 1 - 150 / 50)):
        report = {"measure": "ndcg_at_10", "budget": {"latency_p95_ms": allowed}}
        assert objective(found, OmegaConf.create({"report": report})) == expected
