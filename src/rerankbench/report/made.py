"""How a report came about: when, by which command, with which versions, on which machines, of which runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from rerankbench.basics.masking import masked
from rerankbench.experiment.tracking.precision import computed_in
from rerankbench.report.arms.runs import Run


@dataclass(frozen=True)
class Made:
    """`command` as it can be typed again, secrets masked; `moment` in UTC, to the minute.

    `folder`: where the report lies, which links to runs start from; `tracking`: the address of the page of
    the runs' experiment on an MLflow server, empty where there is none.
    """

    command: str
    moment: str
    folder: Path | None = None
    tracking: str = ""


def now(words: Sequence[str], folder: Path | None = None, tracking: str = "") -> Made:
    """Of a report that is made at this moment by the words of a command."""
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Made(shlex.join(map(masked, words)), moment, folder, tracking)


def facts(runs: Sequence[Run], made: Made | None) -> Iterator[tuple[str, str]]:
    """Headings and texts for the end of the page; what no run says is left out."""
    if made is not None:
        yield "Made", made.moment
        yield "Command", made.command
    for heading, told in (("Machine", machine), ("Versions", versions)):
        if different := list(dict.fromkeys(filter(None, map(told, runs)))):
            yield heading, "; ".join(different)


def machine(run: Run) -> str:
    e = run.result.get("environment") or {}
    threads = f"{e['threads']} threads" if e.get("threads") else ""
    parts = (e.get("device_name"), threads, computed_in(run.result), e.get("platform"))
    return ", ".join(str(part) for part in parts if part)


def versions(run: Run) -> str:
    e = run.result.get("environment") or {}
    found = ({"python": e["python"]} if e.get("python") else {}) | (e.get("versions") or {})
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


@dataclass(frozen=True)
class Link:
    """A run: its arm, where its files are, a link there (empty where none works), and one to MLflow."""

    arm: str
    place: str
    href: str
    mlflow: str


def links(runs: Sequence[Run], made: Made | None) -> list[Link]:
    return [Link(run.arm, run.place, files_of(run, made), tracked(run, made)) for run in runs]


def files_of(run: Run, made: Made | None) -> str:
    """A link to the run's folder from where the report lies; none to folders elsewhere."""
    if made is None or made.folder is None or not Path(run.place).is_dir():
        return ""
    way = os.path.relpath(Path(run.place).resolve(), made.folder.resolve())
    return "" if way.startswith("..") else f"./{quote(way)}/"


def tracked(run: Run, made: Made | None) -> str:
    """The run's page on an MLflow server; a store in a file has no address to link to."""
    run_id = run.result.get("mlflow_run_id")
    if made is None or not run_id or not made.tracking.startswith(("http://", "https://")):
        return ""
    return f"{made.tracking}/runs/{quote(str(run_id), safe='')}"
