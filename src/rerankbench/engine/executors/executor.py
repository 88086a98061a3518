"""What every executor does: compute the items that a store lacks, and leave them there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.executors.job import Job


@dataclass(frozen=True)
class Executor(ABC):
    """Settings of an executor; a kind is one file in this folder, found under `kind`.

    All executors write the same files, from the same batches: any mixture of them, of restarts and of
    machines of one kind continues one another's work and gives the same numbers.
    """

    kind: ClassVar[str]
    elsewhere: ClassVar[bool] = False  # whether models are loaded in other processes and not needed in this

    def problems(self) -> list[str]:
        """Impossible settings, one line each."""
        return []

    def place(self) -> dict[str, Any]:
        """What tells the speed of this executor from that of this process on this machine."""
        return {}

    @abstractmethod
    def compute(self, job: Job, progress: Progress) -> None:
        """Compute what the job's store lacks, and count it in the job's meter."""
