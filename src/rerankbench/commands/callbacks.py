"""What Hydra calls when a sweep is over: the report of its runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked, masked_yaml
from rerankbench.basics.visible import say
from rerankbench.commands import sweep_run
from rerankbench.experiment.tracking.mlflow_store import MLflow, why

if TYPE_CHECKING:
    from rerankbench.commands.sweep_run import Found


class Report(Callback):
    """Builds the report of a sweep from the files of its runs, whichever launcher and machines ran them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report into the sweep's folder, log and show it. A sweep is done even if this fails."""
        from rerankbench.commands.hydra.config import only_forecasts

        if only_forecasts(config):
            return
        folder = Path(config.hydra.sweep.dir)
        try:
            report(folder, config)
        except Exception as error:
            say(f"no report: {reason(error)}", error=True)
            sweep_run.failed(config, folder, f"no report: {reason(error)}")


def reason(error: Exception) -> str:
    """Why something could not be made, in one line."""
    if isinstance(error, UserError):
        return "; ".join(error.problems)
    return f"{type(error).__name__}: {' '.join(masked(str(error)).split())[:300]}"


@contextmanager
def spared(what: str) -> Iterator[None]:
    """A report is made without what fails in this block; it says so."""
    try:
        yield
    except Exception as error:
        say(f"{what}: {reason(error)}", error=True)


def report(folder: Path, config: DictConfig) -> None:
    """Find out, write, log, show. Raises UserError where the runs cannot be compared."""
    from rerankbench.commands.hydra.config import read_alone
    from rerankbench.commands.report import compared, unjudged
    from rerankbench.report import made
    from rerankbench.report.arms import runs
    from rerankbench.report.findings import find_out
    from rerankbench.report.page import files, terminal

    found = runs.find([folder])
    if all(run.failed for run in found):
        sweep_run.failed(config, folder, "all runs failed")
        return  # each failure is named at the end of the sweep
    asked, store = read_alone("report", config), sweep_run.tracking_of(config)
    race = raced(found, asked, folder)
    log = partial(track, store, config, folder)
    if unjudged(found):
        compared(found, asked, folder, [str(folder)], race, log)
        return
    findings = find_out(found, asked, race)
    if race is not None and findings.arranged is not None:
        findings = replace(findings, trial=tried(findings, found, asked, folder))
    command = ["rerankbench", "-m", *map(str, config.hydra.overrides.task)]
    origin = made.now(command, folder, store.page() if store else "")
    findings = replace(findings, more=more_measures(findings, asked), made=origin)
    page = files.write(folder, findings)
    terminal.show(findings, page, log(findings))


def more_measures(findings: Any, asked: Any) -> Any:
    """Means of the further measures, without those that cannot be worked out."""
    from rerankbench.report.more_measures import more

    found: dict[str, Any] = {}
    for name in asked.more:
        with spared("not listed"):
            found |= more(findings.contest, [name])
    return found


def raced(found: Any, asked: Any, folder: Path) -> Any:
    """The race of a sweep's runs, kept beside them; None where there is to be none, or none can be."""
    from rerankbench.report.race.race import hold, worth_it

    race = None
    if asked.race.seconds and worth_it(found):
        with spared("no race"):  # costs are not measured then, which the report says
            race = hold(found, asked, folder)
    return race


def tried(findings: Any, found: Any, asked: Any, folder: Path) -> Any:
    """The recommended arrangement run for real, kept beside the race; None where that cannot be done."""
    from rerankbench.commands.report import new_trial

    held = None
    with spared("no trial"):
        held = new_trial(findings, found, asked, folder)
    return held


def track(store: MLflow | None, config: DictConfig, folder: Path, found: Found) -> str:
    """Log what a report found where the runs were logged; where it is, empty where nothing is tracked."""
    if store is None:
        return ""
    shared = OmegaConf.create({key: value for key, value in config.items() if key != "hydra"})
    text = masked_yaml(OmegaConf.to_yaml(shared, resolve=False))  # what all runs of a sweep share
    try:
        sweep_run.log(store, found, folder, sweep_run.sweep_id(folder), text)
    except Exception as error:
        lost = f"could not log the report to {store.place()} ({why(error)}); it is in {folder}"
        say(f"no report: {lost}", error=True)
        return ""
    return "rerankbench-ui compares the runs"
