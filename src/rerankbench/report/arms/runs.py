"""Finished runs: the folders that hold a result.json, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from rerankbench.basics.alike import folded
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.experiment.tracking import run_folders
from rerankbench.experiment.tracking.result import Result
from rerankbench.experiment.tracking.run_folders import CURE, FILES, PER_QUERY, RESULT, SCORES, TEXTS

CONFIG, HYDRA = Path(".hydra/config.yaml"), Path(".hydra/hydra.yaml")

__all__ = ["CONFIG", "FILES", "HYDRA", "PER_QUERY", "RESULT", "SCORES", "TEXTS", "Run", "find", "read"]


@dataclass(frozen=True)
class Run:
    """One finished or failed run: its folder, and what its result.json says.

    `place`: how people find it, its folder or its MLflow run.
    """

    folder: Path
    place: str
    result: dict[str, Any]

    @property
    def failed(self) -> bool:
        return self.result.get("status") != "ok"

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.result.get("params", {}))

    @property
    def dataset(self) -> dict[str, Any]:
        return dict(self.result.get("dataset", {}))

    @property
    def arm(self) -> str:
        return str(self.result.get("arm", self.place))

    @property
    def config(self) -> Path:
        """The settings that it was made with."""
        return (self.folder / CONFIG).absolute()

    @property
    def command_folder(self) -> Path:
        """Where its command was given, from which its relative paths lead."""
        found = hydra_note(self).get("runtime", {}).get("cwd")
        return Path(found) if found and Path(found).is_dir() else Path.cwd()


def hydra_note(run: Run) -> Mapping[str, Any]:
    """What Hydra wrote down of the command; empty where there is nothing that can be read."""
    try:
        found = yaml.safe_load((run.folder / HYDRA).read_text(encoding="utf-8"))
        return dict(found["hydra"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return {}


def find(places: Iterable[Path]) -> list[Run]:
    """The runs in and below some folders, each once, in the order of their paths.

    Raises UserError where a place is no folder, holds no run, or a run cannot be read.
    """
    runs, problems = [], []
    for folder in run_folders.find(places):
        try:
            runs.append(read(folder, str(folder)))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(folded(problems))
    return runs


def read(folder: Path, place: str) -> Run:
    """One run. Raises UserError where its result.json is damaged or of another schema, or a table is lost."""
    result = Result.read(folder, place)
    run = Run(folder, place, vars(result))
    if run.failed:
        return run
    if not os.path.lexists(folder / PER_QUERY):
        raise UserError(f"{visible(place)}: {PER_QUERY} is missing beside {RESULT}; {CURE}")
    return run


def refuse_nameless(run: Run) -> None:
    """Raise UserError where a result does not say what its arms are."""
    for key in ("candidates", "reranker"):
        if key not in run.result["identity"]:
            raise UserError(f"{visible(run.place)}/{RESULT}: identity.{key} is missing; {CURE}")


def refuse_nulls(table: pa.Table, names: Sequence[str]) -> None:
    """Raises ValueError for columns in which a value is missing."""
    for name in names:
        if table[name].null_count:
            raise ValueError(f"its column {name} has rows without a value")


@contextmanager
def telling(run: Run, name: str) -> Iterator[None]:
    """Make what is wrong with a file of a run (OSError, ValueError) the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{visible(run.place)}/{name}: cannot be read ({error.strerror}); {CURE}") from None
    except ValueError as error:
        raise UserError(f"{visible(run.place)}/{name}: {error}; {CURE}") from None
