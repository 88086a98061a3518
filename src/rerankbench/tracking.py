"""MLflow: the only module that imports it."""

from __future__ import annotations

import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

if TYPE_CHECKING:
    from rerankbench.result import Result

log = logging.getLogger(__name__)


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
    """

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "rerankbench"

    kind: ClassVar[str] = "mlflow"

    def problems(self) -> list[str]:
        scheme = urlsplit(self.uri).scheme
        if scheme not in ("sqlite", "http", "https", "postgresql", "mysql", "mssql"):
            return [
                f"tracking.uri={self.uri}: give sqlite:///path/to/mlflow.db, or http://host:port of an MLflow server"
            ]
        return []

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
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # no complaint where git is not installed
        from mlflow.tracking import MlflowClient

        if not self.uri.startswith("sqlite"):
            client = MlflowClient(self.uri)
            return client, self.experiment_id(client)
        self.database.parent.mkdir(parents=True, exist_ok=True)
        # Several processes that open a fresh sqlite store race in its migration and leave it broken.
        with FileLock(f"{self.database}.lock"):
            client = MlflowClient(self.absolute_uri)
            return client, self.experiment_id(client)

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
        """One flat run: nested ones leave the comparison charts empty until they are expanded."""
        client, experiment_id = self.open()
        run = client.create_run(experiment_id, run_name=result.arm, tags=result.tags())
        run_id = run.info.run_id
        client.log_batch(run_id, params=params(result.params), metrics=metrics(result))
        log_dataset(client, run_id, result)
        result.set_run_id(run_id, folder)
        client.log_artifacts(run_id, str(folder))
        client.set_terminated(run_id, status="FINISHED" if result.status == "ok" else "FAILED")
        return run_id


def params(values: Mapping[str, Any]) -> list[Any]:
    """MLflow's params; secrets in addresses are masked, long values cut at what MLflow takes."""
    from mlflow.entities import Param

    return [Param(name, masked(str(value))[:6000]) for name, value in values.items()]


def metrics(result: Result) -> list[Any]:
    """Scalars at step 0 and curves whose step is the x axis, all for one `log_batch`."""
    import time

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


def masked(text: str) -> str:
    """Text without the user names, passwords and tokens that addresses may carry."""
    return re.sub(r"\b[a-z][a-z0-9+.-]*://\S+", lambda match: mask_address(match[0]), text)


def mask_address(address: str) -> str:
    parts = urlsplit(address)
    host = "***@" + parts.netloc.rpartition("@")[2] if "@" in parts.netloc else parts.netloc
    query = re.sub(r"(?i)((?:token|key|secret|password)[^=&]*)=[^&]*", r"\1=***", parts.query)
    return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))
