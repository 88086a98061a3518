"""What every kind of collection has in common: the config keys, the checks, the way to load it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar, Self

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.assembly import Options, Parts, assemble

ALIKE = 0.75  # of two file names, below which one is hardly a mistyped other; corpus and queries have 0.6


@dataclass(frozen=True, kw_only=True)
class Source(Options, ABC):
    """A collection as the config describes it. Fields are config keys."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def default_name(self) -> str:
        """The name in reports when the config gives none."""

    @property
    def shown_name(self) -> str:
        """The name in reports."""
        return (self.name or "").strip() or self.default_name

    @property
    def split_name(self) -> str:
        """The split that is read: that of the key `split`; sources without one have only `test`."""
        return str(getattr(self, "split", "test"))

    @abstractmethod
    def place_problems(self) -> list[str]:
        """What is wrong with where the data should be, checked without reading it."""

    @abstractmethod
    def read(self, cache_dir: Path) -> Parts:
        """Read everything, faults included. Raises UserError when there is nothing to read."""

    def places(self) -> tuple[str, ...]:
        """The keys whose values are paths on this machine."""
        return ()

    def settled(self) -> Self:
        """The same with everything that was guessed about its files given by its keys."""
        return self

    def columns(self) -> list[Finding]:
        """What the columns of the files were taken for, where the source is files."""
        return []

    def problems(self) -> list[str]:
        """Every mistake that shows before anything is loaded, one line each."""
        lowest = {"relevance_threshold": 1, "limit_queries": 1, "sample_docs": 1, "sample_seed": 0}
        found = [
            f"dataset.{key}={value}: must be at least {least}"
            for key, least in lowest.items()
            if (value := getattr(self, key)) is not None and value < least
        ]
        if problem := shown_name_problem(self.shown_name):
            found.append(f"dataset.name={problem}; give a plain dataset.name")
        return found + self.place_problems()

    def inspect(self, cache_dir: Path) -> tuple[Collection | None, list[str]]:
        """The collection without its faulty records, and the faults; None when nothing usable is left."""
        problems = self.problems()
        if problems:
            return None, problems
        try:
            parts = self.read(cache_dir)
        except UserError as error:
            return None, error.problems
        try:
            return assemble(parts, self, self.shown_name, self.split_name), parts.problems
        except UserError as error:
            return None, parts.problems or error.problems  # emptiness often only follows from the faults

    def load(self, cache_dir: Path) -> Collection:
        """Load the collection; large corpora are kept as Arrow files in `cache_dir`.

        Raises UserError with every fault: of the config, or else of the files.
        """
        collection, problems = self.inspect(cache_dir)
        if problems or collection is None:
            raise UserError(problems)
        return collection


def shown_name_problem(name: str) -> str | None:
    """Why a name cannot be shown everywhere; None if it can."""
    return None if name.isprintable() else f"{name!r}: holds control characters"


def given_problem(text: str, key: str) -> str | None:
    """Why what a key gives cannot be read as a file; None if it can."""
    if not text.strip():
        return f"{key}= is empty: give the path of a file, {key}=FILE"
    return file_problem(Path(text).expanduser(), key)


def name_problem(path: Path, key: str) -> str | None:
    """Why no disk can hold a file under this name; None if one can."""
    try:
        path.exists()
    except OSError as error:
        return f"{key}={str(path)[:100]}...: {str(error.strerror).lower()}; give another path"
    return None


def file_problem(path: Path, key: str) -> str | None:
    """Why a path cannot be read as a file, with the config key that names it; None if it can."""
    if problem := name_problem(path, key):
        return problem
    if not path.exists():
        return f"{key}={path}: there is no such file; {whereabouts(path)}"
    if not path.is_file():
        what = "a folder; give a file" if path.is_dir() else "not a regular file; give one on a disk"
        return f"{key}={path}: is {what}"
    if not path.stat().st_size:
        return f"{key}={path}: the file is empty; write it again or give another one"
    if not os.access(path, os.R_OK):
        return f"{key}={path}: you may not read it; change its permissions"
    return None


def whereabouts(path: Path) -> str:
    """What helps to find a missing file: a name like it beside it, or from where on its path is missing."""
    if path.is_symlink():
        return "it is a link that leads nowhere: put the file in its place"
    if not path.parent.is_dir():
        missing = next(part for part in reversed(path.parents) if not part.is_dir())
        return f"{missing} is not a folder: check the path"
    with suppress(OSError):
        if alike := get_close_matches(path.name, os.listdir(path.parent), 1, ALIKE):
            return f"did you mean {alike[0]}?"
    return "check the path"
