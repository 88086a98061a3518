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
    """Computes in this process."""

    kind: ClassVar[str] = "local"

    def score(self, work: Work, planned: NDArray[np.int64], found: NDArray[np.bool_]) -> Meter:
        from rerankbench.loop import Loop, Meter, fill
        from rerankbench.scoring import PairPreparer, window_size

        (model, seconds), pairs = work.loaded, work.pairs
        machine, meter = work.bench.hardware, Meter(load_seconds=seconds)
        loop = Loop(model.forward, machine, work.bench.budget(model.enough), meter, machine.streams)
        prepare, size = PairPreparer(model, work.collection, pairs), window_size(len(planned))
        with Progress("scoring", int((~found[planned]).sum()), "pairs") as progress:
            fill(work.store, pairs.keys, model.layers, planned, size, prepare, loop, progress, found)
        return loop.meter
