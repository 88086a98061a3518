"""MLflow: the only module that imports it."""

from __future__ import annotations

import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from filelock import FileLock

from rerankbench import disk
from rerankbench.masking import masked

if TYPE_CHECKING:
    from rerankbench.result import Result

log = logging.getLogger(__name__)


SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Tracking(ABC):
    """Where runs are logged; a kind is a class below, found under `kind`."""

    kind: ClassVar[str]

    def problems(self) -> list[str]:
        return []

    def place(self) -> str:
        """Where people find the runs."""
        return ""

    @abstractmethod
    def log(self, result: Result, folder: Path) -> str | None:
        """Log one run, its curves and its files; returns the run's id."""


@dataclass(frozen=True)
class NoTracking(Tracking):
    """Results stay in the output folder only."""

    kind: ClassVar[str] = "none"

    def log(self, result: Result, folder: Path) -> None:
        return None


@dataclass(frozen=True)
class MLflow(Tracking):
    """An MLflow store or server.

    `uri`: sqlite:///relative or absolute path (made absolute), or http(s)://host:port of a server.
    `experiment`: the name of the experiment that the runs belong to.
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "rerankbench"

    kind: ClassVar[str] = "mlflow"

    def problems(self) -> list[str]:
        found = [] if self.experiment.strip() else ["tracking.experiment is empty; give it a name"]
        shown = masked(self.uri)
        if urlsplit(self.uri).scheme not in SCHEMES:
            cure = "give sqlite:///path/to/mlflow.db, or http://host:port of an MLflow server"
            return [*found, f"tracking.uri={shown}: {cure}"]
        if self.uri.startswith("sqlite") and (
            not self.uri.startswith("sqlite:///") or self.uri == "sqlite:///"
        ):
            return [
                *found,
                f"tracking.uri={shown}: write three slashes and a file, sqlite:///path/to/mlflow.db",
            ]
        if self.uri.startswith("sqlite") and (problem := place_problem(self.database)):
            found.append(f"tracking.uri={shown}: {problem}")
        return found

    def place(self) -> str:
        shown = masked(self.absolute_uri)
        return f"{shown} (mlflow ui --backend-store-uri {shown})" if self.uri.startswith("sqlite") else shown

    @property
    def absolute_uri(self) -> str:
        """The store's address, independent of the folder that a later command runs in."""
        if not self.uri.startswith("sqlite:///"):
            return self.uri
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        return Path(self.uri.removeprefix("sqlite:///")).expanduser().resolve()

    def open(self) -> tuple[Any, str]:
        """A client of the store, and the id of the experiment, which exists afterwards."""
        if not self.uri.startswith("sqlite"):
            client = self.connect()
            return client, self.experiment_id(client)
        self.database.parent.mkdir(parents=True, exist_ok=True)
        # Several processes that open a fresh sqlite store race in its migration and leave it broken.
        with FileLock(f"{self.database}.lock"):
            client = self.connect()
            return client, self.experiment_id(client)

    def connect(self) -> Any:
        """A client of the store, in which nothing is created."""
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # no complaint where git is not installed
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for every file
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow", "urllib3"):  # tell of every table of a new store and of every retry
            logging.getLogger(name).setLevel(logging.ERROR)
        return MlflowClient(self.absolute_uri)

    def experiment_id(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return found.experiment_id
        artifacts = None
        if self.uri.startswith("sqlite"):
            artifacts = (self.database.parent / "mlartifacts").as_uri()
        try:
            return client.create_experiment(self.experiment, artifact_location=artifacts)
        except MlflowException:  # another process was faster
            return client.get_experiment_by_name(self.experiment).experiment_id

    def log(self, result: Result, folder: Path) -> str:
        """One flat run: nested ones leave the comparison charts empty until they are expanded.

        A result that is already there is left alone; a run that is incomplete goes, for a whole one.
        """
        with patience():
            client, experiment_id = self.open()
            if self.holds(client, result):
                return str(result.mlflow_run_id)
            started = int(1000 * (time.time() - sum(result.seconds.values())))
            run = client.create_run(experiment_id, started, result.tags(), result.arm)
            try:
                fill(client, run.info.run_id, result, folder)
                end(client, run.info.run_id, result, started)
            except BaseException:
                with suppress(Exception):
                    client.delete_run(run.info.run_id)
                    result.set_run_id(None, folder)
                result.mlflow_run_id = None  # the file names a run that could not be deleted; see `holds`
                raise
            return str(run.info.run_id)

    def holds(self, client: Any, result: Result) -> bool:
        """Whether the store has the whole run of a result."""
        from mlflow.exceptions import MlflowException

        if not result.mlflow_run_id:
            return False
        try:
            info = client.get_run(result.mlflow_run_id).info
        except MlflowException:  # another store's run
            return False
        if info.status in ENDED and info.lifecycle_stage == "active":
            return True
        client.delete_run(result.mlflow_run_id)
        return False


def place_problem(database: Path) -> str:
    """Why a database file cannot be there; empty if it can."""
    if database.is_dir():
        return "is a folder; give a file in it, such as mlflow.db"
    above = next(folder for folder in database.parents if folder.exists())
    makes = above == database.parent or disk.takes_folders(above)
    if not above.is_dir() or not os.access(above, os.W_OK) or not makes:
        return f"cannot be written, since {above} is no folder that you may write to; choose another place"
    return ""


ENDED = ("FINISHED", "FAILED")
AT_ONCE = 500  # metrics in one request; MLflow takes up to 1000


@contextmanager
def patience() -> Iterator[None]:
    """MLflow tries a server that does not answer for minutes; results are kept, so seconds are enough."""
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    added = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def fill(client: Any, run_id: str, result: Result, folder: Path) -> None:
    """Everything that belongs to a run, but its end."""
    found = metrics(result)
    result.set_run_id(run_id, folder)  # first, so that a run which is cut off can be found and replaced
    client.log_batch(run_id, params=params(result.params))
    for start in range(0, len(found), AT_ONCE):
        client.log_batch(run_id, metrics=found[start : start + AT_ONCE])
    log_dataset(client, run_id, result)
    client.log_artifacts(run_id, str(folder))


def end(client: Any, run_id: str, result: Result, started: int) -> None:
    """Set the status, last of all, so that only whole runs have ended; not before they started (in ms)."""
    status = "FINISHED" if result.status == "ok" else "FAILED"
    client.set_terminated(run_id, status=status, end_time=max(started, int(1000 * time.time())))


def why(error: Exception) -> str:
    """Why a store did not take a run, in one line."""
    text = masked(" ".join(str(error).split())) or type(error).__name__
    if found := re.search(r"API request to (\w+://[^/ ]+).*(Max retries|Connection|timed out)", text):
        return f"{found[1]} does not answer"
    return text[:300]


def params(values: Mapping[str, Any]) -> list[Any]:
    """MLflow's params; secrets in addresses are masked, long values cut at what MLflow takes."""
    from mlflow.entities import Param

    return [Param(name, masked(str(value))[:6000]) for name, value in values.items()]


def metrics(result: Result) -> list[Any]:
    """Scalars at step 0 and curves whose step is the x axis, all for one `log_batch`."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    scalars = [Metric(name, value, now, 0) for name, value in result.scalars().items()]
    return scalars + [Metric(name, value, now, step) for name, step, value in result.curves()]


def log_dataset(client: Any, run_id: str, result: Result) -> None:
    """The collection as MLflow's dataset, named and fingerprinted."""
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not result.dataset:
        return
    profile = {name: result.dataset[name] for name in ("docs", "queries", "judgements")}
    dataset = Dataset(
        name=str(result.dataset["name"]),
        digest=str(result.dataset["fingerprint"])[:32],
        source_type="local",
        source=json.dumps({"name": result.dataset["name"]}),
        profile=json.dumps(profile),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
