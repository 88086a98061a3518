"""Reports and MLflow: the runs of an experiment in, the report out as a run of its own."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.basics.visible import visible
from rerankbench.experiment.tracking import running
from rerankbench.experiment.tracking.mlflow_store import MLflow, patience, why
from rerankbench.experiment.tracking.mlflow_tags import KIND, LONGEST_NOTE, NOTE, REPORT, origin
from rerankbench.experiment.tracking.run_folders import plain_files
from rerankbench.report import deployment
from rerankbench.report.arms.runs import FILES, RESULT, Run, read
from rerankbench.report.arrangements.arrangement import reranker_name
from rerankbench.report.findings import Findings
from rerankbench.report.measure_names import metric
from rerankbench.report.page import files, plots
from rerankbench.report.race.record import FILE as RACE

PAGE_SIZE = 1000
CONFIG = "config.yaml"
LATENCIES = ("query_p50_ms", "query_p95_ms", "latency_p50_ms", "latency_p95_ms")
COSTS = (*LATENCIES, "memory_mb", "price_per_1k")


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
        asked = {"order_by": ["attributes.start_time ASC"], "page_token": token}
        page = client.search_runs([experiment_id], "", max_results=PAGE_SIZE, **asked)
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


def log(tracking: MLflow, findings: Findings, folder: Path, sweep_id: str, config: str = "") -> str:
    """The sweep's own run with what is found, see `log_report`; returns its id."""
    return log_report(tracking, told(findings), figures(findings), folder, sweep_id, config)


def log_report(
    tracking: MLflow,
    tags: Mapping[str, str],
    values: Mapping[str, float],
    folder: Path,
    sweep_id: str,
    config: str = "",
) -> str:
    """The sweep's own run, in place of an earlier one; returns its id.

    The run that this process began when the sweep did is filled. It has the report as its description, `tags`
    and `values` as tags and metrics, the report's files, and `config` (YAML, secrets masked) as config.yaml.
    """
    with patience():
        client, experiment_id = tracking.open()
        running.close_stale(client, experiment_id)
        others = earlier(client, experiment_id, sweep_id)
        own = next((run for run in others if is_own(run)), None)
        begun = {KIND: REPORT, "sweep_id": sweep_id, **running.tags()}
        run = own or client.create_run(experiment_id, tags=begun, run_name=run_name(sweep_id))
        run_id, old = run.info.run_id, [each.info.run_id for each in others if has_ended(each)]
        for name, value in {NOTE: note(folder), **origin(), **tags}.items():
            client.set_tag(run_id, name, value)
        for name, figure in values.items():
            client.log_metric(run_id, name, figure)
        if config := config or config_of(client, old):
            client.log_text(run_id, config, CONFIG)
        more = plain_files(folder, (RACE, deployment.FILE))
        for name in (files.PAGE, files.MARKDOWN, files.JSON, *more):
            client.log_artifact(run_id, str(folder / name))
        for name in plain_files(folder / files.PLOTS, plots.file_names()):
            client.log_artifact(run_id, str(folder / files.PLOTS / name), files.PLOTS)
        running.unmark(client, run)
        running.end(client, run, "FINISHED")
        for each in old:
            client.delete_run(each)
    return str(run_id)


def run_name(sweep_id: str) -> str:
    return f"report {sweep_id}".strip()


def is_own(run: Any) -> bool:
    """Whether this process began it, and it has not ended."""
    return not has_ended(run) and run.data.tags.get(running.PROCESS) == running.mark()


def has_ended(run: Any) -> bool:
    return bool(run.info.status != "RUNNING")


def give_up(tracking: MLflow, sweep_id: str, why: str) -> None:
    """End the run of a sweep that this process began and that gets no report, saying why."""
    with contextlib.suppress(Exception), patience():
        client, experiment_id = tracking.open()
        for run in filter(is_own, earlier(client, experiment_id, sweep_id)):
            running.close(client, run, running.FAILED, why)


def config_of(client: Any, runs: Sequence[str]) -> str:
    """The sweep's config as an earlier report of it has it, empty where none has."""
    for run_id in runs:
        if CONFIG in {item.path for item in client.list_artifacts(run_id)}:
            with tempfile.TemporaryDirectory() as folder:
                return Path(client.download_artifacts(run_id, CONFIG, folder)).read_text(encoding="utf-8")
    return ""


def note(folder: Path) -> str:
    """The report in Markdown, as much of it as MLflow takes, cut between lines."""
    text = (folder / files.MARKDOWN).read_text(encoding="utf-8")
    return text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE].rpartition("\n")[0]


def told(findings: Findings) -> dict[str, str]:
    """The verdict and what it recommends as tags."""
    tags = {"verdict": findings.verdict.sentence, "verdict_kind": findings.verdict.kind}
    field, row = findings.field, findings.recommended
    if row is None:
        return tags
    steps = field.steps(row)
    tags |= {"recommended_arm": field.name(row), "recommended_first_stage": steps[0].stage_name}
    if field.reranks(row):
        tags["recommended_reranker"] = " > ".join(reranker_name(step) for step in steps)
        tags["recommended_depth"] = " > ".join(str(step.depth) for step in steps)
    return {name: visible(text) for name, text in tags.items()}


def figures(findings: Findings) -> dict[str, float]:
    """What the recommended arm reaches, gains and costs."""
    field, row, plain = findings.field, findings.recommended, findings.verdict.arm
    if row is None:
        return {}
    values, cost = field.values, field.costs[row]
    found = {
        findings.contest.measure: values[row].mean(),
        "gain": (values[row] - values[field.first_stage(row)]).mean(),
        **{name: value for name in COSTS if (value := getattr(cost, name)) is not None},
        **{metric(name): means[plain] for name, means in findings.more.items() if plain is not None},
    }
    return {f"recommended_{name}": float(value) for name, value in found.items() if math.isfinite(value)}


def earlier(client: Any, experiment_id: str, sweep_id: str) -> list[Any]:
    """Summary runs of the same sweep."""
    runs = client.search_runs([experiment_id], f"tags.{KIND} = '{REPORT}'", max_results=PAGE_SIZE)
    return [run for run in runs if run.data.tags.get("sweep_id") == sweep_id]
