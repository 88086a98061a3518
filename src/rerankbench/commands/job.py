"""One job of a command: an experiment as Hydra composed it, run, written and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics import complaints, masking, progress, value_names
from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import mask_file
from rerankbench.basics.visible import say
from rerankbench.commands import sweep_run
from rerankbench.commands.hydra import config, partial_keys
from rerankbench.commands.hydra.config import RunSettings
from rerankbench.engine.store import disk
from rerankbench.experiment.tracking.mlflow_store import Tracking, why
from rerankbench.experiment.tracking.result import Result

log = logging.getLogger(__name__)

FORECAST_FILE = "forecast_seconds"


@dataclass
class Job:
    """What Hydra calls for every job of one command, here or in other processes.

    `swept`: keys that the jobs do not share, with the values listed for them; `partial`: keys that some
    options lack, which run without them; `checked`: what the command's check found of each job, by its words,
    so that none is validated twice. `mistake`: whether a run in this process failed by a mistake in its data,
    the user's to fix.
    """

    swept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    partial: partial_keys.Partial = field(default_factory=dict)
    checked: Mapping[tuple[str, ...], RunSettings | UserError] = field(default_factory=dict)
    mistake: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Other processes check the job that they get: they may be elsewhere, with other files."""
        return {**vars(self), "checked": {}}

    def __call__(self, composed: DictConfig) -> float:
        """Run one experiment; a failure becomes its result and never stops the other jobs.

        Returns the reranked value of the report's measure, for sweepers that optimise.
        """
        import torch  # noqa: F401  # before MLflow: it looks through all modules that are there

        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        labels = {group: str(choice) for group, choice in hydra_config.runtime.choices.items()}
        task = OverridesParser.create().parse_overrides(list(map(str, hydra_config.overrides.task)))
        if lacked := partial_keys.lacked(self.partial, labels):
            partial_keys.take_away(composed, lacked)
            kept = folder / str(hydra_config.output_subdir) / "config.yaml"
            if kept.is_file():
                OmegaConf.save(composed, kept)
            task = [o for o in task if o.key_or_group not in lacked]
        hide(hydra_config, composed, folder)
        words = OmegaConf.to_container(hydra_config.overrides, resolve=False)["task"]  # type: ignore[call-overload, index]
        settings = self.checked.get(tuple(words))
        sweep_id = sweep_run.sweep_id(Path(hydra_config.sweep.dir)) if is_sweep(hydra_config) else ""
        result = self.attempt(settings, composed, labels, task, folder, sweep_id)
        return objective(result, composed)

    def told(self, task: Sequence[Override]) -> list[str]:
        """What an arm's name tells: the values that vary, and a model or a run of one's own.

        Values that the sweep lists are as short as tells them apart.
        """
        listed = {"reranker.model": (), "first_stage.path": ()} | dict(self.swept)
        told = [(o.key_or_group, complaints.as_text(o.value())) for o in task if o.key_or_group in listed]
        return [f"{key}={short_value(key, value, listed[key])}" for key, value in told]

    def attempt(
        self,
        settings: RunSettings | UserError | None,
        composed: DictConfig,
        labels: dict[str, str],
        task: Sequence[Override],
        folder: Path,
        sweep_id: str,
    ) -> Result:
        """Run one experiment; log and write its result, or the failure in its place."""
        from rerankbench.commands import summary
        from rerankbench.experiment.arm_name import run_name
        from rerankbench.experiment.tracking import outputs

        experiment, begun = None, None
        try:
            if isinstance(settings, UserError):
                raise settings
            read = settings or config.read(composed, labels, typed={o.key_or_group for o in task})
            experiment = replace(read, overrides=tuple(self.told(task)))
            if experiment.dry_run:
                return only_forecast(experiment, folder)
            begun = experiment.tracking.begin(run_name(experiment), sweep_id)
            result = perform(experiment, folder, sweep_id, begun)
        except KeyboardInterrupt:
            if experiment is not None and begun is not None:
                experiment.tracking.drop(begun)
            raise
        except Exception as fault:
            cache = {"cache_dir": experiment.cache_dir} if experiment else {}
            place = "hydra.sweep.dir" if sweep_id else "hydra.run.dir"
            error = disk.explained(fault, {**cache, place: folder.absolute()})
            self.mistake = isinstance(error, UserError)
            result = outputs.failure(experiment, labels, error, sweep_id, self.told(task))
            if outputs.keep_failure(result, folder) and not config.only_forecasts(composed):
                track(composed, result, folder, begun)
            summary.show_failure(result, error)
            return result
        summary.show(result, folder, experiment.tracking)
        return result


def short_value(key: str, value: str, listed: Sequence[str]) -> str:
    """A value's label among those that the sweep lists, or else by itself."""
    return value_names.labels(key, listed)[value] if value in listed else value_names.label(key, value)


def is_sweep(hydra_config: Any) -> bool:
    return str(hydra_config.mode).endswith("MULTIRUN")


def hide(hydra_config: Any, composed: DictConfig, folder: Path) -> None:
    """Mask secrets in what this job, perhaps in a process of its own, logs and in what Hydra has written."""
    masking.install()
    masking.remember_all([str(line) for line in hydra_config.overrides.task])
    masking.remember_all(OmegaConf.to_container(composed, resolve=False))
    sweep = [Path(hydra_config.sweep.dir) / "multirun.yaml"] if is_sweep(hydra_config) else []
    written = [file for file in sweep if file.is_file()]  # sweepers that choose values write none
    for file in [*(folder / str(hydra_config.output_subdir)).glob("*.yaml"), *written]:
        mask_file(file)


def objective(result: Result, composed: DictConfig) -> float:
    """What a sweeper maximises: the report's measure; over the latency budget, the excess as a loss."""
    allowed = OmegaConf.select(composed, "report.budget.latency_p95_ms")
    taken = (result.latency_ms or {}).get(str(result.depth), {}).get("p95")
    if allowed and taken and taken > float(allowed):
        return 1 - taken / float(allowed)
    return result.measures.get("reranked", {}).get(composed.report.measure, float("nan"))


def only_forecast(experiment: RunSettings, folder: Path) -> Result:
    """Print what the experiment would take; nothing is kept."""
    from rerankbench.experiment.arm_name import arm
    from rerankbench.experiment.forecast import forecast

    found = forecast(experiment, experiment.report.price_per_hour)
    (folder / FORECAST_FILE).write_text(repr(found.seconds))
    say(*found.lines())
    return Result(arm=arm(experiment), status="forecast")


def perform(experiment: RunSettings, folder: Path, sweep_id: str, begun: str | None = None) -> Result:
    """Run and write; then log, which may fail without harm."""
    from rerankbench.experiment.pipeline import run
    from rerankbench.experiment.tracking import outputs

    started = time.monotonic()

    def follow(stage: str, done: int, total: int) -> None:
        if begun is not None and total:
            experiment.tracking.follow(begun, stage, done / total, int(time.monotonic() - started))

    with progress.told_to(follow):
        outcome = run(experiment)
    result = outputs.summarize(outcome, sweep_id)
    outputs.write(folder, result, outcome)
    track(experiment.tracking, result, folder, begun)
    return result


def track(tracking: DictConfig | Tracking, result: Result, folder: Path, begun: str | None = None) -> None:
    """Log to the tracking store; results are in the folder already, so its absence is no failure."""
    try:
        if isinstance(tracking, DictConfig):  # of a config that may be wrong elsewhere
            tracking = config.read_tracking(tracking)
        tracking.log(result, folder, begun)
    except Exception as error:
        later = f"rerankbench-track {folder}"
        log.warning("not in MLflow (%s); the results are kept, log them later with: %s", why(error), later)
