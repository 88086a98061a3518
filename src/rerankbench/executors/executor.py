"""What every executor does: compute the pair scores that a store lacks, and leave them there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rerankbench.loop import Meter
    from rerankbench.scoring import Work


@dataclass(frozen=True)
class Executor(ABC):
    """Settings of an executor; a kind is one file in this folder, found under `kind`.

    All executors write the same shards: any mixture of them, of restarts and of machines continues one
    another's work.
    """

    kind: ClassVar[str]

    def problems(self) -> list[str]:
        """Impossible settings, one line each."""
        return []

    @abstractmethod
    def score(self, work: Work, todo: NDArray[np.int64]) -> Meter:
        """Score the pairs numbered `todo` into `work.store`."""
