"""One tiny reranker of every family, for tests that hold for all of them.

A family that has no entry in `INSTANCES` makes tests/rerankers/test_contract.py fail. An entry says how to
build one; what else it says has defaults that fit a model on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiny_exports
import tiny_rerankers
from acme_server import shared
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.function import Function
from rerankbench.rerankers.onnx import Onnx
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.text_scoring import checked

Pair = tuple[str, str]
CPU = Hardware("cpu", "fp32")
NOTHING_SCORED = ("none", "run")
"""Families that give no scores: the order of the first stage, and other tools' orders."""


@dataclass(frozen=True)
class Instance:
    """`build(models, place)` makes settings of a reranker that is ready: `models` holds the tiny models of
    `tiny_models` by name, in `place` it may write.

    exact: whether a pair's score is the same to the last bit in every batch; else within 1e-5.
    tokens: the most tokens of a pair, the prompt's left out; overlong texts are cut there. None: no limit.
    refused: settings that point at a model of another family, as `build`, and words of the cure that it is
    refused with; None where there is no such thing.
    others: for each field a value other than `build`'s, and whether it makes another identity; those of
    `OTHER_VALUES` need not be repeated.
    """

    build: Callable[[Path, Path], Reranker]
    exact: bool = False
    tokens: int | None = 40
    refused: Callable[[Path, Path], tuple[Reranker, str]] | None = None
    others: dict[str, tuple[Any, bool]] = field(default_factory=dict)


# Another value of each field that several families have, and whether it changes scores.
OTHER_VALUES: dict[str, tuple[Any, bool]] = {
    "model": ("BAAI/another", False),  # what the weights are is in the identity, where they lie is not
    "revision": ("main", False),
    "max_length": (256, True),
    "query_max_length": (100, True),
    "query_instruction": ("Q: ", True),
    "passage_instruction": ("P: ", True),
    "attention": ("flash_attention_2", True),
    "long_documents": ("max_passage", True),
    "window_overlap": (32, False),  # unless documents are cut into windows
    "trust_remote_code": (True, False),
    "parameters_m": (33.0, False),
    "prompt": ("Does B answer A?", True),
    "yes": ("No", True),
    "no": ("0", True),
    "label": (1, True),
    "template": ("Query: {query} Document: {document} {instruction}", True),
    "instruction": ("Find code", True),
    "cutoff_layers": ([3, 5], False),
    "compress_layers": ([3], False),  # unless something is compressed
    "compress_ratio": (2, True),
    "head": ("by_layer", True),
}


def tiny(name: str, **options: Any) -> Callable[[Path, Path], Reranker]:
    """A builder of the tiny model of this name, with a short max_length."""
    return lambda models, place: tiny_rerankers.settings(name, models, **{"max_length": 40, **options})


def given(name: str, other: str, words: str) -> Callable[[Path, Path], tuple[Reranker, str]]:
    """A builder of the family of `name` with the folder of `other`."""

    def build(models: Path, place: Path) -> tuple[Reranker, str]:
        kind = type(tiny(name)(models, place))
        return kind(model=str(models / other)), words  # type: ignore[call-arg]

    return build


def onnx(models: Path, place: Path) -> Reranker:
    folder = place / "onnx-int8"
    if not folder.exists():
        plain = tiny_exports.exported(models / "minilm", place / "onnx-fp32")
        tiny_exports.exported(models / "minilm", folder)
        tiny_exports.quantized(plain / "model.onnx", folder / "onnx" / "model_quantized.onnx")
    return Onnx(str(folder), file="onnx/model_quantized.onnx", max_length=40)


def overlap(query: str, texts: Sequence[str]) -> list[float]:
    """A function as people bring it."""
    return [shared(query, text) + len(text) / 1000 for text in texts]


def function(models: Path, place: Path) -> Reranker:
    return Function(function="family_instances:overlap", name="overlap", version="1", allow_code=True)


INSTANCES: dict[str, Instance] = {
    "encoder": Instance(
        tiny("minilm"),
        refused=given("minilm", "gemma", "reranker=gemma"),
        others={"instruction": ("Find code", False)},  # unless a prompt has a place for it
    ),
    "causal": Instance(
        tiny("qwen3-0.6b"),
        refused=given("qwen3-0.6b", "minilm", "reranker=base"),
        others={"tokens": ([1, 2], True)},
    ),
    "seq2seq": Instance(
        tiny("monot5-base"),
        refused=given("monot5-base", "minilm", "reranker=base"),
        others={"instruction": ("Find code", False)},
    ),
    "llm": Instance(tiny("gemma"), refused=given("gemma", "lightweight", "reranker=lightweight")),
    "layerwise": Instance(
        tiny("minicpm-layerwise"), refused=given("minicpm-layerwise", "gemma", "reranker=gemma")
    ),
    "lightweight": Instance(
        tiny("lightweight"),
        refused=given("lightweight", "minicpm-layerwise", "reranker=minicpm-layerwise"),
    ),
    "onnx": Instance(
        onnx,
        exact=True,
        refused=lambda models, place: (Onnx(str(models / "minilm")), "reranker=base"),
        # the file is part of what the weights are
        others={"file": ("model.onnx", False), "attention": ("eager", False)},
    ),
    "function": Instance(
        function,
        exact=True,
        tokens=None,
        others={
            "function": ("family_instances:other", False),  # its author says when it changes
            "name": ("other", True),
            "version": ("2", True),
            "allow_code": (False, False),
        },
    ),
}


def scores(
    loaded: PairModel | Scorer, pairs: Sequence[Pair], size: int = 512, streams: int = 1
) -> NDArray[np.float32]:
    """Scores [pairs, layers], at most `size` pairs at a time."""
    if isinstance(loaded, PairModel):
        return tiny_rerankers.scores(loaded, pairs, size, streams=streams)
    size = min(size, loaded.batch)
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    found = [checked(loaded, [q for q, _ in part], [d for _, d in part], "reranker") for part in parts]
    return np.concatenate([np.empty((0, len(loaded.layers)), np.float32), *found])
