"""What Hydra calls when a sweep is over: the report of its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked, masked_yaml
from rerankbench.basics.visible import say
from rerankbench.commands import sweep_run


class Report(Callback):
    """Builds the report of a sweep from the files of its runs, whichever launcher and machines ran them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report into the sweep's folder, log and show it. A sweep is done even if this fails."""
        from rerankbench.commands.config import only_forecasts

        if only_forecasts(config):
            return
        folder = Path(config.hydra.sweep.dir)
        try:
            report(folder, config)
            return
        except UserError as error:
            why = "; ".join(error.problems)
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(masked(str(error)).split())[:300]}"
        complain(why)
        sweep_run.failed(config, folder, f"no report: {why}")


def complain(why: str) -> None:
    say(f"no report: {why}", error=True)


def report(folder: Path, config: DictConfig) -> None:
    """Find out, write, log, show. Raises UserError where the runs cannot be compared."""
    from rerankbench.commands import summary_run
    from rerankbench.commands.config import read_alone
    from rerankbench.commands.report import compared, unjudged
    from rerankbench.judging import tracked
    from rerankbench.report import files, made, runs, terminal
    from rerankbench.report.findings import find_out

    found = runs.find([folder])
    if all(run.failed for run in found):
        sweep_run.failed(config, folder, "all runs failed")
        return  # each failure is named at the end of the sweep
    asked = read_alone("report", config)
    race = raced(found, asked, folder)
    if unjudged(found):
        log = partial(track, config, folder, tracked.log)
        compared(found, asked, folder, [str(folder)], race, log)
        return
    findings = find_out(found, asked, race)
    if race is not None and findings.arranged is not None:
        findings = replace(findings, trial=tried(findings, found, asked, folder))
    origin = made.now(typed(config), folder, address(config))
    findings = replace(findings, more=more_measures(findings, asked), made=origin)
    page = files.write(folder, findings)
    terminal.show(findings, page, track(config, folder, summary_run.log, findings))


def more_measures(findings: Any, asked: Any) -> Any:
    """Means of the further measures; a report is made without one that cannot be worked out."""
    from rerankbench.report.more_measures import more

    found: dict[str, Any] = {}
    for name in asked.more:
        try:
            found |= more(findings.contest, [name])
        except UserError as error:
            say(f"not listed: {'; '.join(error.problems)}", error=True)
    return found


def typed(config: DictConfig) -> list[str]:
    """The sweep's command."""
    return ["rerankbench", "-m", *map(str, config.hydra.overrides.task)]


def saved(config: DictConfig) -> str:
    """What all runs of a sweep share, as YAML without secrets."""
    shared = {key: value for key, value in config.items() if key != "hydra"}
    return masked_yaml(OmegaConf.to_yaml(OmegaConf.create(shared), resolve=False))


def address(config: DictConfig) -> str:
    """The page of the experiment on the server that runs are tracked on; empty without one."""
    from rerankbench.commands.config import read_tracking
    from rerankbench.tracking.mlflow_store import MLflow

    tracking = read_tracking(config)
    return tracking.page() if isinstance(tracking, MLflow) else ""


def raced(found: Any, asked: Any, folder: Path) -> Any:
    """The race of a sweep's runs, kept beside them; None where there is to be none, or none can be.

    A report is made without it, too. Costs are not measured then, which it says.
    """
    from rerankbench.report.race.race import hold, worth_it

    if not asked.race.seconds or not worth_it(found):
        return None
    try:
        return hold(found, asked, folder)
    except UserError as error:
        say(f"no race: {'; '.join(error.problems)}", error=True)
    except Exception as error:
        say(f"no race: {type(error).__name__}: {' '.join(str(error).split())[:300]}", error=True)
    return None


def tried(findings: Any, found: Any, asked: Any, folder: Path) -> Any:
    """The recommended arrangement run for real, kept beside the race; None where none is recommended."""
    from rerankbench.report.arrangements import trial

    try:
        held = trial.hold(findings.arranged, found, findings.book, asked.race.seconds)
        if held is not None:
            held.write(folder)
        return held
    except Exception as error:
        say(f"no trial: {type(error).__name__}: {' '.join(str(error).split())[:300]}", error=True)
    return None


def track(config: DictConfig, folder: Path, log: Callable[..., str], found: Any) -> str:
    """Log what a report found where the runs were logged; where it is, empty where nothing is tracked."""
    from rerankbench.commands.config import read_tracking
    from rerankbench.tracking.mlflow_store import MLflow, why

    tracking = read_tracking(config)
    if not isinstance(tracking, MLflow):
        return ""
    try:
        log(tracking, found, folder, sweep_run.sweep_id(folder), saved(config))
    except Exception as error:
        complain(f"could not log the report to {tracking.place()} ({why(error)}); it is in {folder}")
        return ""
    return "rerankbench-ui compares the runs"
