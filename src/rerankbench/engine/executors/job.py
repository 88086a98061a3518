"""What an executor is given: a job that can be computed here, or stretch by stretch in other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.basics.arrays import Ints
from rerankbench.engine.executors.worker import Worker

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.loop import Meter


class Job(ABC):
    """Numbered items to be computed into a store, by `here`, or by workers that do a task for each stretch.

    Both compute the same batches. `meter` counts what was computed; `device` is this process's.
    """

    worker: ClassVar[type[Worker]]
    items: ClassVar[str]
    meter: Meter
    device: str

    @abstractmethod
    def here(self, progress: Progress) -> None:
        """Compute what is missing in this process, and count it."""

    @abstractmethod
    def stretches(self, progress: Progress) -> Sequence[Ints]:
        """The numbers of the items of each task, in order; where nothing is missing there is no task."""

    @abstractmethod
    def missing(self, stretch: Ints) -> int:
        """How many items of a stretch are to be computed."""

    @abstractmethod
    def task(self, stretch: Ints) -> Any:
        """All that a worker needs to know of a stretch; it can be pickled."""

    @abstractmethod
    def hiring(self) -> tuple[Any, ...]:
        """What `worker` is made from, besides its device and threads; it can be pickled."""
