"""A reranker that scores by arithmetic and can be told to die, fail or wait, for tests of executors.

Its weights folder only has to exist. Every number that it computes depends on the batch (its width is added
in the last bits), so that equal scores prove equal batches.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.engine.tokens import pad
from rerankbench.rerankers.reranker import LocalReranker, PairModel, Tokens


@dataclass(frozen=True)
class Mortal(LocalReranker):
    """`orders`: a folder; a file `kill`, `fail` or `refuse` in it is obeyed once for each letter it holds."""

    orders: str = ""
    pause: float = 0.0

    family: ClassVar[str] = "encoder"

    def layers(self, weights: references.Weights) -> tuple[int, ...]:
        return (1,)

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (1,)

    def folder_problems(self, folder: Path) -> list[str]:
        return []

    def load(self, weights: references.Weights, hardware: Hardware) -> PairModel:
        return MortalModel(self)


class MortalModel(PairModel):
    layers = (1,)
    parameters = 0

    def __init__(self, settings: Mortal) -> None:
        self.settings: Mortal = settings

    def room(self, query: int) -> int:
        return self.settings.max_length - query

    def lengths(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
        return queries + documents

    def tokenize(self, texts: Sequence[str], instruction: str, limit: int | None) -> list[Tokens]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32)[:limit] for text in texts]

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        return {"ids": pad([np.concatenate(pair) for pair in zip(queries, documents, strict=True)], 0)}

    def forward(self, inputs: dict[str, Any]) -> Any:
        folder = Path(self.settings.orders)
        obey(folder)
        with open(folder / f"alive.{os.getpid()}", "a") as alive:
            alive.write("x")
        time.sleep(self.settings.pause)
        ids = inputs["ids"]
        return (ids.sum(dim=1).float() + ids.shape[0] + ids.shape[1] / 1024)[:, None]


def obey(folder: Path) -> None:
    for order in ("kill", "fail", "refuse"):
        if taken(folder / order):
            if order == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if order == "fail":
                raise ValueError("told to fail")
            raise UserError("told to refuse: give it another task")


def taken(orders: Path) -> bool:
    """Take one letter off a file, whoever else does the same; whether there was one."""
    if not orders.exists():
        return False
    with open(orders, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        left = os.fstat(file.fileno()).st_size
        file.truncate(max(0, left - 1))
    return left > 0
