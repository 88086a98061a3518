"""Reports and MLflow: the runs of an experiment in, the report out as a run of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.report import deployment, files, plots
from rerankbench.report.findings import Findings
from rerankbench.report.race.record import FILE as RACE
from rerankbench.report.runs import FILES, RESULT, Run, read
from rerankbench.tracking.mlflow_store import MLflow, patience, why
from rerankbench.tracking.run_folders import plain_files

KIND, REPORT = "kind", "report"  # the tag of summary runs
LONGEST_NOTE = 7_900  # MLflow refuses tags of more than 8,000 characters
PAGE_SIZE = 1000


def find(tracking: MLflow, name: str, folder: Path) -> list[Run]:
    """The runs of an experiment, by name or id; what a report reads of them is downloaded below `folder`.

    Raises UserError where there is no such experiment, or none of its runs is one of ours.
    """
    with patience():
        client = connected(tracking, name)
        experiment = client.get_experiment_by_name(name) or by_id(client, name)
        if experiment is None:
            raise UserError(
                f"{name}: {kind_of(name)}, and no experiment of {shown(tracking)}; known experiments: "
                f"{', '.join(sorted(e.name for e in client.search_experiments())) or 'none'}"
            )
        runs = [
            downloaded(client, run.info.run_id, folder) for run in active(client, experiment.experiment_id)
        ]
    found = [run for run in runs if run is not None]
    if not found:
        raise UserError(f"{name}: this experiment of {shown(tracking)} has no run with a {RESULT}")
    return found


def kind_of(name: str) -> str:
    """Why a word is no folder of runs."""
    return "this is a file, not a folder" if Path(name).is_file() else "no such folder"


def shown(tracking: MLflow) -> str:
    """The store's address without its secrets."""
    return masked(tracking.absolute_uri)


def connected(tracking: MLflow, name: str) -> Any:
    """A client. Raises UserError where the store is not there or does not answer."""
    if tracking.uri.startswith("sqlite") and not tracking.database.is_file():
        raise UserError(
            f"{name}: {kind_of(name)}, and no MLflow store at {tracking.database}; give a folder of runs, or "
            "tracking.uri=ADDRESS of the store that has this experiment"
        )
    client = tracking.connect()
    try:
        client.search_experiments(max_results=1)
    except Exception as error:
        raise UserError(f"tracking.uri={shown(tracking)}: {why(error)}") from None
    return client


def by_id(client: Any, name: str) -> Any | None:
    if name.isdecimal():
        with contextlib.suppress(Exception):
            return client.get_experiment(name)
    return None


def active(client: Any, experiment_id: str) -> list[Any]:
    """All runs but summary runs, first started first."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            "",
            max_results=PAGE_SIZE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += [run for run in page if run.data.tags.get(KIND) != REPORT]
        token = page.token
        if not token:
            return found


def downloaded(client: Any, run_id: str, folder: Path) -> Run | None:
    """One run's files in a folder of their own; None for a run that is not one of ours."""
    have = {item.path for item in client.list_artifacts(run_id)}
    if RESULT not in have:
        return None
    target = folder / Path(run_id).name  # a server's word, which may not lead elsewhere
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if name in have:
            client.download_artifacts(run_id, name, str(target))
    return read(target, f"run {run_id}")


def log(tracking: MLflow, findings: Findings, folder: Path, sweep_id: str) -> str:
    """The report as a summary run, in place of an earlier one of the same sweep; returns its id."""
    with patience():
        client, experiment_id = tracking.open()
        for old in earlier(client, experiment_id, sweep_id):
            client.delete_run(old.info.run_id)
        note = (folder / files.MARKDOWN).read_text(encoding="utf-8")[:LONGEST_NOTE]
        tags = {KIND: REPORT, "sweep_id": sweep_id, "mlflow.note.content": note}
        tags |= {"verdict": findings.verdict.sentence, "verdict_kind": findings.verdict.kind}
        run_id = client.create_run(
            experiment_id, tags=tags, run_name=f"report {sweep_id}".strip()
        ).info.run_id
        for name in (files.PAGE, files.MARKDOWN, files.JSON):
            client.log_artifact(run_id, str(folder / name))
        for name in plain_files(folder, (RACE, deployment.FILE)):
            client.log_artifact(run_id, str(folder / name))
        for name in plain_files(folder / files.PLOTS, plots.file_names()):
            client.log_artifact(run_id, str(folder / files.PLOTS / name), files.PLOTS)
        client.set_terminated(run_id)
    return str(run_id)


def earlier(client: Any, experiment_id: str, sweep_id: str) -> list[Any]:
    """Summary runs of the same sweep."""
    runs = client.search_runs([experiment_id], f"tags.{KIND} = '{REPORT}'", max_results=PAGE_SIZE)
    return [run for run in runs if run.data.tags.get("sweep_id") == sweep_id]
