"""Whether a model that is at hand can be used with its settings, found out before anything is spent on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import checkpoint, references


class Settings(Protocol):
    """Settings of an embedder or of a reranker."""

    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def trust_remote_code(self) -> bool: ...

    def length_problems(self, positions: int | None) -> list[str]: ...
    def folder_problems(self, folder: Path) -> list[str]: ...
    def fitted(self, folder: Path) -> Self: ...
    def rehearse(self, weights: references.Weights, hardware: Hardware) -> None: ...
    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]: ...


S = TypeVar("S", bound=Settings)


def fitted(settings: S, weights: references.Weights) -> S:
    """The settings as the model can follow them. Raises UserError with all that the folder contradicts."""
    problems = settings.length_problems(checkpoint.describe(weights.folder)["positions"])
    problems += settings.folder_problems(weights.folder)
    if problems:
        raise UserError(problems)
    return settings.fitted(weights.folder)


def resolved(settings: S, cache_dir: Path) -> tuple[S, references.Weights]:
    """The model, fetched if need be, and the settings as it can follow them. Raises UserError."""
    weights = references.resolve(settings.model, settings.revision, cache_dir, settings.trust_remote_code)
    return fitted(settings, weights), weights


def stored(folder: Path) -> bool:
    """Whether what a model computed is in `folder`: then it has been loaded before, as it is now."""
    return any(file.suffix in (".shard", ".npy") for file in folder.iterdir()) if folder.is_dir() else False
