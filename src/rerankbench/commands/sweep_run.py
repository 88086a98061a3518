"""The sweep's own run in the tracking store, shown as running from the moment when the sweep begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from rerankbench.basics.errors import UserError
from rerankbench.commands.config import read_tracking
from rerankbench.tracking.mlflow_store import MLflow, why
from rerankbench.tracking.mlflow_tags import REPORT
from rerankbench.tracking.running import FAILED


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


def tracking_of(composed: DictConfig) -> MLflow | None:
    """The store of all runs of a sweep; None where there is none, as in a sweep over stores."""
    try:
        found = read_tracking(composed)
    except UserError:
        return None
    return found if isinstance(found, MLflow) else None
