"""No reranker: the contestant that every reranker has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.reranker import LocalReranker, PairModel


@dataclass(frozen=True)
class NoReranker(LocalReranker):
    """Leaves candidates as the first stage ordered them.

    Has the keys that all rerankers have and ignores them, so that a sweep over rerankers may set one of
    them for all.
    """

    model: str = ""

    family: ClassVar[str] = "none"

    def problems(self) -> list[str]:
        return []

    def folder_problems(self, folder: Path) -> list[str]:
        return []

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return ()

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        raise NotImplementedError("there is no model to load")
