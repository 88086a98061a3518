"""Rerankers that may be a base model and a LoRA adapter."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.engine.models.adapters import adapter_identity, adapter_problems, base_of, is_adapter, merged
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.loading import Opened, opened
from rerankbench.rerankers.reranker import LocalReranker


@dataclass(frozen=True)
class Adapted(LocalReranker):
    """A model on this machine, with an adapter or without.

    adapter: a folder of a LoRA adapter, merged into the model as it is loaded. As reranker.model such a
    folder brings its base along, which its own config names.
    """

    adapter: str | None = field(default=None, kw_only=True)

    AUTO: ClassVar[str]
    """The class of transformers that loads the model, unless `kind` gives another."""

    def kind(self) -> Any:
        """The class that reads the model, or the name of one of transformers."""
        return self.AUTO

    def fitted(self, folder: Path) -> Self:
        return replace(self, attention=usable(self.attention, folder, self.AUTO, self.trust_remote_code))

    def told_apart(self) -> Self:
        """The same with base and adapter under their own keys, where `model` is an adapter's folder.

        Raises UserError where the adapter does not say what its base is.
        """
        if not references.is_local(self.model) or not is_adapter(
            folder := references.local_folder(self.model)
        ):
            return self
        if self.adapter is not None:
            raise UserError(
                f"reranker.model={self.model}: is an adapter, and so is reranker.adapter; give the base model"
            )
        base, revision = base_of(folder)
        return replace(self, model=base, revision=revision, adapter=str(folder))

    def folder_problems(self, folder: Path) -> list[str]:
        found = [f"reranker.model={self.model}: {line}" for line in self.misfits(folder)]
        return found or self.cut_problems(folder)

    @abstractmethod
    def misfits(self, folder: Path) -> list[str]:
        """Whether a whole folder's configs are not of this family, or lack what is asked for."""

    def model_problems(self) -> list[str]:
        try:
            whole = self.told_apart()
        except UserError as error:
            return error.problems
        return super(Adapted, whole).model_problems() + adapter_problems(whole.adapter)

    def origin(self, cache_dir: Path) -> references.Weights:
        whole = self.told_apart()
        return whole.named(super(Adapted, whole).origin(cache_dir))

    def resolved(self, cache_dir: Path) -> tuple[Self, references.Weights]:
        return super(Adapted, self.told_apart()).resolved(cache_dir)

    def open(self, weights: references.Weights, hardware: Hardware) -> Opened:
        """The model, adapted, and its tokenizer."""
        found = opened(weights.folder, hardware, self.attention, self.trust_remote_code, self.kind())
        found.model = merged(found.model, self.adapter)
        return found

    def named(self, weights: references.Weights) -> references.Weights:
        """The base's weights under a label that tells of the adapter; its content is in the identity."""
        if self.adapter is None:
            return weights
        return replace(weights, label=f"{weights.label} + {references.local_folder(self.adapter).name}")

    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        del found["adapter"]
        if self.adapter is not None:  # what it is, not where it lies
            found["adapter"] = adapter_identity(self.adapter)
        return found
