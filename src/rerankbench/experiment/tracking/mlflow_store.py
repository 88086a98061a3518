"""MLflow: the only module that imports it."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import MASK, masked, remember
from rerankbench.basics.regular_file import NotRegular, open_regular
from rerankbench.basics.visible import visible, visible_lines
from rerankbench.collections.reading.column_guess import setting
from rerankbench.engine.store import disk
from rerankbench.experiment.tracking import run_folders, running
from rerankbench.experiment.tracking.mlflow_tags import KIND, NOTE, RUN, description, origin

if TYPE_CHECKING:
    from rerankbench.experiment.tracking.result import Result

log = logging.getLogger(__name__)


STOPPED = "stopped by Ctrl-C or SIGTERM"
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
    def log(self, result: Result, folder: Path, begun: str | None = None) -> str | None:
        """Log one run, its curves and its files; returns the run's id. `begun`: what `begin` returned."""

    def begin(self, name: str, sweep_id: str, kind: str = RUN) -> str | None:
        """Show a run as running from now on; returns its id, None where that is not possible."""
        return None

    def follow(self, run_id: str, stage: str, share: float, step: int) -> None:
        """Show how far a run has come: the share of its present stage."""
        return None

    def drop(self, run_id: str, why: str = STOPPED, status: str = running.KILLED) -> None:
        """End a run that did not become whole, and say why."""
        return None


@dataclass(frozen=True)
class NoTracking(Tracking):
    """Results stay in the output folder only."""

    kind: ClassVar[str] = "none"

    def log(self, result: Result, folder: Path, begun: str | None = None) -> None:
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

    def __post_init__(self) -> None:
        remember(f"tracking.uri={self.uri}")

    def problems(self) -> list[str]:
        found = self.address_problems()
        if not found and self.is_file and (deleted := self.deleted_problem()):
            found = [f"tracking.uri={masked(self.uri)}: {deleted}"]
        return found

    def address_problems(self) -> list[str]:
        """What is wrong with the address and the name, told without opening the store."""
        found = [] if self.experiment.strip() else ["tracking.experiment is empty; give it a name"]
        shown, problem = masked(self.uri), ""
        if urlsplit(self.uri).scheme not in SCHEMES:
            problem = "give sqlite:///path/to/mlflow.db, or http://host:port of an MLflow server"
            scheme, slashes, place = shown.partition("://")
            shown = f"{scheme}{slashes}{MASK}" if place and "@" not in place else shown  # some are tokens
        elif self.uri.startswith("http"):
            problem = "" if is_address(self.uri) else "give http://host:port of an MLflow server"
        elif self.is_file and not re.match("sqlite:///.", self.uri, re.DOTALL):
            problem = "write three slashes and a file, sqlite:///path/to/mlflow.db"
        elif self.is_file:
            problem = place_problem(self.database) or other_file(self.database)
        return [*found, f"tracking.uri={shown}: {problem}"] if problem else found

    @property
    def is_file(self) -> bool:
        """Whether the store is a database of SQLite, and no server."""
        return self.uri.startswith("sqlite")

    def deleted_problem(self) -> str:
        """What to do where the experiment was deleted from a database, which still has it; empty if not."""
        if not self.database.is_file():
            return ""
        query = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'deleted'"
        try:
            with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as store:
                row = store.execute(query, [self.experiment]).fetchone()
        except sqlite3.Error:  # no store yet, or none of MLflow's: that shows when it is opened
            return ""
        return self.deleted(str(row[0])) if row else ""

    def deleted(self, experiment_id: str) -> str:
        """How to go on with an experiment that was deleted."""
        uri = shlex.quote(masked(self.absolute_uri))
        restore = f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {experiment_id}"
        other = f"give another one, such as {setting('tracking.experiment', f'{self.experiment}-2')}"
        return f"the experiment {self.experiment!r} was deleted there; {other}, or restore it: {restore}"

    def place(self) -> str:
        shown = masked(self.absolute_uri)
        return f"{shown} (mlflow ui --backend-store-uri {shlex.quote(shown)})" if self.is_file else shown

    def page(self) -> str:
        """The experiment's page on a server; empty for a file, and where the server does not answer."""
        if not self.uri.startswith("http") or masked(self.uri) != self.uri:
            return ""
        try:
            with patience(tries=0, seconds=BEGIN_SECONDS):
                found = self.connect().get_experiment_by_name(self.experiment)
        except Exception:
            return ""
        return f"{self.uri.rstrip('/')}/#/experiments/{found.experiment_id}" if found is not None else ""

    @property
    def absolute_uri(self) -> str:
        """The store's address, independent of the folder that a later command runs in."""
        return f"sqlite:///{self.database}" if self.uri.startswith("sqlite:///") else self.uri

    @property
    def database(self) -> Path:
        return Path(self.uri.removeprefix("sqlite:///")).expanduser().resolve()

    def open(self) -> tuple[Any, str]:
        """A client of the store, and the id of the experiment, which exists afterwards."""
        if self.is_file:
            self.database.parent.mkdir(parents=True, exist_ok=True)
        # Several processes that open a fresh sqlite store race in its migration and leave it broken.
        with FileLock(f"{self.database}.lock") if self.is_file else nullcontext():
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
        if found is not None and found.lifecycle_stage == "deleted":
            raise UserError(f"tracking.uri={masked(self.uri)}: {self.deleted(found.experiment_id)}")
        if found is not None:
            return found.experiment_id
        artifacts = (self.database.parent / "mlartifacts").as_uri() if self.is_file else None
        try:
            return client.create_experiment(self.experiment, artifact_location=artifacts)
        except MlflowException:  # another process was faster
            return client.get_experiment_by_name(self.experiment).experiment_id

    def log(self, result: Result, folder: Path, begun: str | None = None) -> str:
        """One flat run: nested ones leave the comparison charts empty until they are expanded.

        A result that is already there is left alone; a run that is incomplete goes, for a whole one. One that
        was begun is filled.
        """
        with patience():
            client, experiment_id = self.open()
            run_folders.own_files(folder)  # refuses links before anything is written
            if begun is None:
                running.close_stale(client, experiment_id)
                if self.holds(client, result):
                    return str(result.mlflow_run_id)
            started = max(0, int(1000 * (time.time() - sum(result.seconds.values()))))
            run = self.named(client, experiment_id, started, result, begun)
            try:
                if not self.is_file:
                    refuse_folder(self.uri, str(run.info.artifact_uri))
                fill(client, run.info.run_id, result, folder)
                if begun is not None:
                    since = int(time.time() - run.info.start_time / 1000)
                    client.log_metric(begun, "progress", 1.0, step=max(since, 0) + 1)
                    running.unmark(client, run)
                running.end(client, run, "FINISHED" if result.status == "ok" else running.FAILED)
            except BaseException:
                with suppress(Exception):
                    client.delete_run(run.info.run_id)
                    result.set_run_id(None, folder)
                result.mlflow_run_id = None  # the file names a run that could not be deleted; see `holds`
                raise
            return str(run.info.run_id)

    def named(self, client: Any, experiment_id: str, started: int, result: Result, begun: str | None) -> Any:
        """The run that a result belongs to, with its name and tags: the one that was begun, or a new one."""
        tags = {KIND: RUN, NOTE: description(result)} | result.tags() | origin()
        name = visible(result.name or result.arm)
        if begun is None:
            return client.create_run(experiment_id, started, tags, name)
        client.update_run(begun, name=name)
        for key, value in tags.items():
            client.set_tag(begun, key, value)
        return client.get_run(begun)

    def begin(self, name: str, sweep_id: str, kind: str = RUN) -> str | None:
        try:
            with patience(tries=0, seconds=BEGIN_SECONDS):
                client, experiment_id = self.open()
                running.close_stale(client, experiment_id, name, sweep_id)
                tags = {KIND: kind, "sweep_id": visible(sweep_id), **running.tags(), **origin()}
                return str(client.create_run(experiment_id, tags=tags, run_name=visible(name)).info.run_id)
        except Exception as error:  # the log at the end says what is wrong, and how to mend it
            log.debug("no run was begun: %s", why(error))
            return None

    def follow(self, run_id: str, stage: str, share: float, step: int) -> None:
        with patience(tries=0, seconds=BEGIN_SECONDS):
            client = self.connect()
            client.log_metric(run_id, "progress", share, step=step)
            client.set_tag(run_id, running.STAGE, stage)

    def drop(self, run_id: str, why: str = STOPPED, status: str = running.KILLED) -> None:
        with suppress(Exception), patience(tries=0, seconds=BEGIN_SECONDS):
            client = self.connect()
            running.close(client, client.get_run(run_id), status, why)

    def holds(self, client: Any, result: Result) -> bool:
        """Whether the store has the whole run of a result."""
        from mlflow.exceptions import MlflowException

        if not result.mlflow_run_id:
            return False
        try:
            run = client.get_run(result.mlflow_run_id)
        except MlflowException:  # another store's run
            return False
        if not is_of(run, result):
            return False
        if run.info.status in ENDED and run.info.lifecycle_stage == "active":
            return True
        client.delete_run(result.mlflow_run_id)
        return False


def is_of(run: Any, result: Result) -> bool:
    """Whether a run is a result's, or nothing was logged to it yet: a file may name anybody's run."""
    tags, told = run.data.tags, result.tags()
    if not any(name in tags for name in TOLD):
        return not run.data.params and not run.data.metrics
    return all(tags.get(name) == told[name] for name in TOLD)


def is_address(uri: str) -> bool:
    """Whether an address of a server names a host, and a port that there may be."""
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def place_problem(database: Path) -> str:
    """Why a database file cannot be there; empty if it can."""
    if re.search(r"%[0-9A-Fa-f]{2}|\?", str(database)):
        plain = setting("tracking.uri", f"sqlite:///{unquote(str(database)).partition('?')[0]}")
        return f"MLflow would open another file, since it decodes % and ends at ?; name it as it is: {plain}"
    if database.is_dir():
        return "is a folder; give a file in it, such as mlflow.db"
    above = next(folder for folder in database.parents if folder.exists())
    makes = above == database.parent or disk.takes_folders(above)
    if not above.is_dir() or not os.access(above, os.W_OK) or not makes:
        return f"cannot be written, since {above} is not a folder that you may write to; choose another place"
    return ""


def other_file(database: Path) -> str:
    """Why a file that is there is no database; empty if it is one, or empty, or not there."""
    try:
        with open_regular(database) as file:
            start = file.read(len(SQLITE))
    except NotRegular as error:
        return f"{error.strerror}; choose another place"
    except OSError:
        return ""
    return "" if start in (b"", SQLITE) else "is another file, and no database; choose another place"


def refuse_folder(server: str, artifacts: str) -> None:
    """Raise UserError where a server would have files copied into a folder of this machine.

    A server on this machine may keep its files in a folder of its own; another one has no business here.
    """
    local = urlsplit(artifacts).scheme in ("", "file")
    if local and urlsplit(server).hostname not in ("localhost", "127.0.0.1", "::1"):
        cure = "start it with --serve-artifacts, or log on that machine with rerankbench-track"
        raise UserError(f"the server keeps files in {artifacts}, a folder of its own machine; {cure}")


SQLITE = b"SQLite format 3\0"
ENDED = ("FINISHED", "FAILED")
TOLD = ("arm", "sweep_id", "dataset")  # tags that tell whose run it is
BEGIN_SECONDS = 5  # what a run waits for a server before it does its work
AT_ONCE = 500  # metrics in one request; MLflow takes up to 1000
PARAMS_AT_ONCE = 100  # all that MLflow takes


@contextmanager
def patience(tries: int = 2, seconds: int = 30) -> Iterator[None]:
    """MLflow tries a server that does not answer for minutes; results are kept, so seconds are enough."""
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(tries), "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    added = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def fill(client: Any, run_id: str, result: Result, folder: Path) -> None:
    """Everything that belongs to a run, but its end."""
    batches = (("params", params(result.params), PARAMS_AT_ONCE), ("metrics", metrics(result), AT_ONCE))
    result.set_run_id(run_id, folder)  # first, so that a run which is cut off can be found and replaced
    for kind, found, most in batches:
        for start in range(0, len(found), most):
            client.log_batch(run_id, **{kind: found[start : start + most]})
    log_dataset(client, run_id, result)
    for name in run_folders.own_files(folder):
        client.log_artifact(run_id, str(folder / name), name.rpartition("/")[0] or None)


def why(error: Exception) -> str:
    """Why a store did not take a run, in one line."""
    text = " ".join(masked(str(error)).split()) or type(error).__name__
    if isinstance(error, UserError):
        return text
    if found := re.search(r"API request to (\w+://[^/ ]+).*(Max retries|Connection|timed out)", text):
        return f"{found[1]} does not answer"
    return text[:300]


def params(values: Mapping[str, Any]) -> list[Any]:
    """MLflow's params; secrets in addresses are masked, long values cut at what MLflow takes."""
    from mlflow.entities import Param

    return [Param(name, visible_lines(masked(str(value)))[:6000]) for name, value in values.items()]


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
    profile = {name: result.dataset.get(name) for name in ("docs", "queries", "judgements")}
    name = visible(result.dataset.get("name", "unnamed"))[:500]  # as long as MLflow takes
    dataset = Dataset(
        name=name,
        digest=visible(result.dataset.get("fingerprint", "unknown"))[:32],
        source_type="local",
        source=json.dumps({"name": name}),
        profile=json.dumps(profile),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])
