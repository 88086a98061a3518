"""Rerankers without their weights: they tokenize and measure pairs, and cannot score them.

Who hands work to other machines needs to know which pairs are the same to the model, but not the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import Weights
from rerankbench.rerankers.reranker import LocalReranker, PairModel


def weightless(reranker: LocalReranker, weights: Weights, precision: Any) -> PairModel:
    """The reranker of a folder on torch's meta device, where tensors have a shape and no memory."""
    with building_only():
        return reranker.load(weights, Hardware("meta", precision))


@contextmanager
def building_only() -> Iterator[None]:
    """Make every `from_pretrained` inside build the model that the folder describes, and read no weights."""
    import torch
    from transformers import PreTrainedModel

    original = PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls: Any, folder: Any, *args: Any, **kwargs: Any) -> Any:
        config = kwargs.get("config") or cls.config_class.from_pretrained(folder)
        own = {name: kwargs[name] for name in ("dtype", "attn_implementation") if name in kwargs}
        with torch.device("meta"):
            model = cls._from_config(config, **own)
        return (model, {"missing_keys": []}) if kwargs.get("output_loading_info") else model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = classmethod(original)
