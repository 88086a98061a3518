"""This process, one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.executors.executor import Executor
from rerankbench.progress import Progress

if TYPE_CHECKING:
    from rerankbench.loop import Meter
    from rerankbench.scoring import Work


@dataclass(frozen=True)
class Local(Executor):
    """Scores in this process."""

    kind: ClassVar[str] = "local"

    def score(self, work: Work, todo: NDArray[np.int64]) -> Meter:
        from rerankbench.loop import Loop, Meter, fill
        from rerankbench.scoring import WINDOW, PairPreparer

        (model, seconds), pairs = work.loaded, work.pairs
        loop = Loop(model.forward, work.bench.hardware, work.bench.budget(), Meter(load_seconds=seconds))
        prepare = PairPreparer(model, work.collection, pairs)
        with Progress("scoring", len(todo), "pairs") as progress:
            fill(work.store, pairs.keys, model.layers, todo, WINDOW, prepare, loop, progress)
        return loop.meter
