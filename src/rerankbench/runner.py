"""From a command line to finished runs: checks everything first, then lets Hydra run the jobs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from rerankbench import config, preflight
from rerankbench.errors import UserError
from rerankbench.result import Result

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake."""
    quiet_libraries()
    arguments = list(sys.argv[1:] if argv is None else argv)
    config.register_schemas()
    try:
        preflight.check(arguments)
        return launch(arguments)
    except UserError as error:
        return complain(error)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(UserError(preflight.plain(error)))
    except KeyboardInterrupt:
        print("stopped; what was computed is kept, the same command continues", file=sys.stderr)
        return 130


def launch(arguments: list[str]) -> int:
    """Let Hydra compose the jobs and run `job` for each."""
    failures.clear()
    forecast_seconds.clear()
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(config_path=str(preflight.conf_folder()), config_name="config", version_base="1.3")(job)()
    return finish()


failures: list[Result] = []  # of the jobs that ran in this process
forecast_seconds: list[float] = []


def job(cfg: DictConfig) -> float:
    """One experiment of the command; a failure becomes its result and never stops the other jobs.

    Returns the reranked value of the report's measure, for sweepers that optimise.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    labels = {group: str(choice) for group, choice in hydra_config.runtime.choices.items()}
    sweep_id = sweep_name(hydra_config)
    result = attempt(cfg, labels, folder, sweep_id)
    if result.status == "failed":
        failures.append(result)
    return result.measures.get("reranked", {}).get(cfg.report.measure, float("nan"))


def attempt(cfg: DictConfig, labels: dict[str, str], folder: Path, sweep_id: str) -> Result:
    """Run one experiment; log and write its result, or the failure in its place."""
    from rerankbench import outputs, summary

    experiment = None
    try:
        experiment = config.read(cfg, labels)
        if experiment.dry_run:
            return only_forecast(experiment)
        result = perform(experiment, folder, sweep_id)
    except Exception as error:
        result = outputs.failure(experiment, labels, error, sweep_id)
        result.write(folder)
        track(experiment, result, folder)
        summary.complain(result, error)
        return result
    summary.show(result, folder, experiment.tracking)
    return result


def only_forecast(experiment: config.Experiment) -> Result:
    """Print what the experiment would take; nothing is written."""
    from rerankbench.forecast import forecast
    from rerankbench.outputs import arm

    found = forecast(experiment)
    forecast_seconds.append(found.seconds)
    print("\n".join(found.lines()))
    return Result(arm=arm(experiment), status="forecast")


def perform(experiment: config.Experiment, folder: Path, sweep_id: str) -> Result:
    """Run, write, log."""
    from rerankbench import outputs
    from rerankbench.experiment import run

    outcome = run(experiment)
    result = outputs.summarize(outcome, sweep_id)
    outputs.write(folder, result, outcome)
    track(experiment, result, folder)
    return result


def track(experiment: config.Experiment | None, result: Result, folder: Path) -> None:
    """Log to the tracking store; results are in the folder already, so its absence is no failure."""
    if experiment is None:
        return
    try:
        experiment.tracking.log(result, folder)
    except Exception as error:
        log.warning(
            "could not log to %s (%s); the results are in %s",
            getattr(experiment.tracking, "uri", "the tracking store"), str(error).splitlines()[0], folder,
        )  # fmt: skip


def sweep_name(hydra_config: Any) -> str:
    """What the runs of one sweep share, empty for a single run: the sweep folder's last two parts."""
    if str(hydra_config.mode).endswith("MULTIRUN"):
        return "/".join(Path(hydra_config.sweep.dir).parts[-2:])
    return ""


def finish() -> int:
    """Say which jobs failed."""
    if len(forecast_seconds) > 1:
        from rerankbench.forecast import duration

        print(f"all {len(forecast_seconds)} runs: {duration(sum(forecast_seconds))}")
    for result in failures:
        print(f"failed: {result.arm}: {result.error}", file=sys.stderr)
    return 1 if failures else 0


def complain(error: UserError) -> int:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries underneath would drown ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

