"""Where the times of arms are looked up: a race's rounds, and what lies between what was timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Arm
from rerankbench.report.race.record import Cell, Contestant, Record

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Book:
    """Where costs are looked up. `whole`: whether arms are compared by the whole query's cost."""

    race: Record | None = None
    whole: bool = False
    price_per_hour: float | None = None
    cure: str = ""

    def reranking(self, arm: Arm) -> tuple[Times | None, bool]:
        """Milliseconds [queries] of reranking, None where it was not timed, and whether interpolated."""
        if self.race is None:
            return None, False
        if not arm.reranks:
            return np.zeros(len(self.race.ids)), False
        mine = [c for c in self.race.cells if (c.stage, c.reranker) == (arm.stage, arm.reranker)]
        layers = sorted({cell.layer for cell in mine}, key=lambda layer: layer or 0)

        def at_layer(layer: int | None) -> tuple[Times | None, bool]:
            depths = sorted(cell.depth for cell in mine if cell.layer == layer)
            return between(depths, arm.depth, lambda depth: (self.cell(arm, layer, depth), False))

        if arm.layer is None or arm.layer in layers:
            return at_layer(arm.layer)
        return between([layer for layer in layers if layer is not None], arm.layer, at_layer)

    def cell(self, arm: Arm, layer: int | None, depth: int) -> Times:
        assert self.race
        return self.race.values(Cell(arm.stage, arm.reranker, layer, depth))

    def searching(self, arm: Arm) -> Times | None:
        """Milliseconds [queries] of the first stage."""
        cell = Cell(arm.stage)
        return self.race.values(cell) if self.race and cell in self.race.cells else None

    def query(self, arm: Arm) -> Times | None:
        """Milliseconds [queries] of the whole query."""
        searching, (reranking, _) = self.searching(arm), self.reranking(arm)
        return None if searching is None or reranking is None else searching + reranking

    def compared(self, arm: Arm) -> Times | None:
        """What arms are compared by."""
        return self.query(arm) if self.whole else self.reranking(arm)[0]

    def contestant(self, kind: str, key: str) -> Contestant | None:
        return self.race.contestant(kind, key) if self.race and key else None

    @property
    def raced(self) -> bool:
        return self.race is not None and bool(self.race.rounds)


def between(
    known: Sequence[int], wanted: int, at: Callable[[int], tuple[Times | None, bool]]
) -> tuple[Times | None, bool]:
    """The values at `wanted`, or on the line between the nearest known ones; never beyond them."""
    if wanted in known:
        return at(wanted)
    below, above = [k for k in known if k < wanted], [k for k in known if k > wanted]
    if not below or not above:
        return None, False
    (low, _), (high, _) = at(below[-1]), at(above[0])
    if low is None or high is None:
        return None, False
    return low + (wanted - below[-1]) / (above[0] - below[-1]) * (high - low), True
