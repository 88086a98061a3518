"""The collection that comes with the package: short documents, written by hand, that a person can check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rerankbench.collections.reading.assembly import Parts
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.source import Source

_FOLDER = Path(__file__).resolve().parent.parent / "sample"


@dataclass(frozen=True, kw_only=True)
class Sample(Source):
    """Nothing to set beyond what every source has."""

    kind: ClassVar[str] = "sample"

    @property
    def default_name(self) -> str:
        return "sample"

    def place_problems(self) -> list[str]:
        return self._folder().place_problems()

    def read(self, cache_dir: Path) -> Parts:
        return self._folder().read(cache_dir)

    def _folder(self) -> Beir:
        return Beir(path=str(_FOLDER))
