"""A reranker that scores texts by their shared words, counts what it is asked, and can be told to fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from acme_server import shared
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.reranker import Origin, Reranker
from rerankbench.rerankers.scorer import Scorer

Pair = tuple[str, str]


@dataclass(frozen=True)
class Overlap(Reranker):
    """`asked` and `closed` fill up as it works; `spoil` changes the answer to a batch."""

    size: int = 4
    columns: int = 1
    costs: bool = False
    named: bool = True
    asked: list[list[Pair]] = field(default_factory=list, compare=False)
    closed: list[bool] = field(default_factory=list, compare=False)
    spoil: Callable[[Any], Any] | None = None

    family: ClassVar[str] = "overlap"
    FREE: ClassVar[frozenset[str]] = Reranker.FREE | {"size", "asked", "closed", "spoil", "costs", "named"}

    @property
    def paid(self) -> bool:
        return self.costs

    @property
    def keeps(self) -> bool:
        return self.named

    def bill(self, queries: Sequence[str], documents: Sequence[str]) -> str:
        return f"{len(documents)} pairs at 1 cent" if self.costs else ""

    def layers(self, origin: Origin) -> tuple[int, ...]:
        return tuple(range(self.columns))

    def origin(self, cache_dir: Path) -> Origin:
        return Origin("overlap 1", "overlap", 12)

    def load(self, origin: Origin, hardware: Hardware) -> Scorer:
        return OverlapScorer(self)


class OverlapScorer(Scorer):
    def __init__(self, settings: Overlap) -> None:
        self.settings, self.batch = settings, settings.size
        self.layers = settings.layers(Origin("", ""))

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        pairs = list(zip(queries, documents, strict=True))
        self.settings.asked.append(pairs)
        found = np.array([[shared(*pair) + n for n in self.layers] for pair in pairs], np.float32)
        spoil = self.settings.spoil
        return found if spoil is None else spoil(found)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.settings.closed.append(True)
