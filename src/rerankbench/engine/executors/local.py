"""This process, one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rerankbench.engine.executors.executor import Executor

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.executors.job import Job


@dataclass(frozen=True)
class Local(Executor):
    """Computes in this process."""

    kind: ClassVar[str] = "local"

    def compute(self, job: Job, progress: Progress) -> None:
        job.here(progress)
