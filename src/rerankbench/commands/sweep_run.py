"""The sweep's own run in the tracking store: shown as running while the sweep goes on, then its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra.config import read_tracking
from rerankbench.experiment.tracking.mlflow_store import MLflow, why
from rerankbench.experiment.tracking.mlflow_tags import REPORT
from rerankbench.experiment.tracking.running import FAILED

if TYPE_CHECKING:
    from rerankbench.judging.reports.differences import Differences
    from rerankbench.judging.reports.partly import Partly
    from rerankbench.report.findings import Findings

    Found = Findings | Differences | Partly


def sweep_id(folder: Path) -> str:
    """What the runs of one sweep share: the last two parts of its folder."""
    return "/".join(folder.parts[-2:])


@contextmanager
def shown(composed: DictConfig, folder: Path) -> Iterator[None]:
    """Show the run while the sweep goes on. The report ends it; what ends without one says why."""
    from rerankbench.report import tracked

    name = sweep_id(folder)
    tracking = tracking_of(composed)
    begun = tracking.begin(tracked.run_name(name), name, REPORT) if tracking is not None else None
    if tracking is None or begun is None:
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        tracking.drop(begun)
        raise
    except BaseException as error:
        tracking.drop(begun, why(error) if isinstance(error, Exception) else type(error).__name__, FAILED)
        raise
    tracked.give_up(tracking, name, "no report was made")


def failed(composed: DictConfig, folder: Path, reason: str) -> None:
    """End the run of a sweep that gets no report."""
    from rerankbench.report import tracked

    if (tracking := tracking_of(composed)) is not None:
        tracked.give_up(tracking, sweep_id(folder), reason)


def log(tracking: MLflow, found: Found, folder: Path, sweep_id: str, config: str = "") -> None:
    """Log the report that is in a folder, and the arm that it recommends as a model.

    `config`: what all runs of the sweep share, as YAML.
    """
    from rerankbench.judging.reports import tracked as unjudged
    from rerankbench.report import tracked
    from rerankbench.report.findings import Findings
    from rerankbench.serving import mlflow_package

    if isinstance(found, Findings):
        run_id = tracked.log(tracking, found, folder, sweep_id, config)
        mlflow_package.log(tracking, run_id, folder, found.settings.register)
    else:
        unjudged.log(tracking, found, folder, sweep_id, config)


def tracking_of(composed: DictConfig) -> MLflow | None:
    """The store of all runs of a sweep; None where there is none, as in a sweep over stores."""
    try:
        found = read_tracking(composed)
    except UserError:
        return None
    return found if isinstance(found, MLflow) else None
