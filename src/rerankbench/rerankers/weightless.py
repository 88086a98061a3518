"""Rerankers without their weights: they tokenize and measure pairs, and cannot score them.

Who hands work to other machines needs to know which pairs are the same to the model, but not the model.
"""

from __future__ import annotations

from typing import Any

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.reranker import LocalReranker, PairModel


def weightless(reranker: LocalReranker, weights: Weights, precision: Any) -> PairModel:
    """The reranker of a folder on torch's meta device, where tensors have a shape and no memory."""
    with without_values():
        return reranker.load(weights, Hardware("meta", precision))
