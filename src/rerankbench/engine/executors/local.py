"""This process, one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.progress import Progress
from rerankbench.engine.executors.executor import Executor

if TYPE_CHECKING:
    from rerankbench.engine.loop import Meter
    from rerankbench.rerankers.scoring import Work


@dataclass(frozen=True)
class Local(Executor):
    """Computes in this process."""

    kind: ClassVar[str] = "local"

    def score(self, work: Work, planned: NDArray[np.void], found: NDArray[np.bool_]) -> Meter:
        from rerankbench.engine.loop import Loop, Meter, fill
        from rerankbench.rerankers.scoring import PairWindow, window_size
        from rerankbench.rerankers.sequences import columns

        model, seconds = work.loaded
        machine, meter = work.bench.hardware, Meter(load_seconds=seconds)
        loop = Loop(model.forward, machine, work.bench.budget(model.enough), meter, machine.streams)
        size, rows, layers = window_size(len(planned)), np.arange(len(planned)), columns(model.layers)

        def prepare(some: NDArray[np.int64]) -> PairWindow:
            return work.preparer(planned["pair"][some], planned["part"][some])

        with Progress("scoring", int((~found).sum()), "pairs") as progress:
            fill(work.store, planned["key"], layers, rows, size, prepare, loop, progress, found)
        return loop.meter
