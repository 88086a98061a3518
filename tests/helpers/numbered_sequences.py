"""Sequences and a model for the loop, by which each value can be told from every other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rerankbench.engine.loop import Batch


@dataclass
class Sequences:
    """Sequences whose tokens are their own number plus 1; `batches` records every forward's shape."""

    lengths: NDArray[np.int64]
    first: int = 0
    batches: list[tuple[int, int]] = field(default_factory=list)

    def collate(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        ids = np.zeros((len(index), int(self.lengths[index].max())), np.int64)
        for row, number in zip(ids, index, strict=True):
            row[: self.lengths[number]] = self.first + number + 1
        self.batches.append(ids.shape)
        return {"input_ids": ids}

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        return batches


def numbers(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """A model whose score of a sequence is its number."""
    return inputs["input_ids"].max(dim=1, keepdim=True).values.float() - 1
