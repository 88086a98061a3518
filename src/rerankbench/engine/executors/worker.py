"""A worker in a process of its own: loads a model once and then does tasks."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerankbench.engine.loop import Meter


class Worker(ABC):
    """Takes two tasks at a time: while one is computed the other is tokenized.

    Tokenizers work for one thread at a time only.
    """

    def __init__(self, device: str, threads: int | None) -> None:
        from rerankbench.engine import hardware

        self.device, self.computing, self.tokenizing = device, threading.Lock(), threading.Lock()
        if threads:
            hardware.use_threads(threads)

    @abstractmethod
    def load(self) -> float:
        """Load the model; returns the seconds that it took."""

    @abstractmethod
    def work(self, task: Any, again: bool) -> Meter:
        """Do one task and count what was computed; `again`: some of it may be stored since it was made."""
