"""One tiny reranker of every family, for tests that hold for all of them.

A family that has no entry in `INSTANCES` makes tests/rerankers/test_contract.py fail. An entry says how to
build one; what else it says has defaults that fit a model on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiny_embedders
import tiny_exports
import tiny_rerankers
from acme_server import shared
from rerank_server import rerank_server
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.bi_encoder import BiEncoder
from rerankbench.rerankers.endpoint import Endpoint
from rerankbench.rerankers.function import Function
from rerankbench.rerankers.late_interaction import LateInteraction
from rerankbench.rerankers.m3 import M3
from rerankbench.rerankers.onnx import Onnx
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.text_scoring import checked

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


def bi_encoder(models: Path, place: Path) -> Reranker:
    return BiEncoder(model=str(models / "bge-small-en"), max_length=40)


def bge_m3(models: Path, place: Path) -> Reranker:
    folder = place / "bge-m3"
    return M3(model=str(folder if folder.exists() else tiny_embedders.tiny_bge_m3(folder)), max_length=40)


def late_interaction(models: Path, place: Path) -> Reranker:
    folder = place / "colbert"
    made = folder if folder.exists() else tiny_embedders.tiny_pylate(folder)
    return LateInteraction(model=str(made), max_length=40)


OPEN = ExitStack()  # what lasts as long as the process


@cache
def address() -> str:
    """Where the server of all tests of this process listens."""
    return OPEN.enter_context(rerank_server()).url


def endpoint(models: Path, place: Path) -> Reranker:
    shape = {"body": {"query": "{query}", "texts": "{documents}"}, "results": "", "score": "score"}
    return Endpoint(url=address(), about="/info", about_kept=["model_id", "model_sha"], **shape)


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
    "bi-encoder": Instance(
        bi_encoder,
        refused=lambda models, place: (BiEncoder(str(models / "minilm")), "reranker=base"),
        others={"pooling": ("mean", True), "normalize": (False, True)},
    ),
    "m3": Instance(
        bge_m3,
        refused=lambda models, place: (M3(str(models / "bge-small-en")), "bi-encoder"),
        others={"weights": ([1, 0, 0], True)},
    ),
    "late-interaction": Instance(
        late_interaction,
        refused=lambda models, place: (LateInteraction(str(models / "minilm")), "reranker=base"),
        others={
            "query_prefix": ("", True),
            "document_prefix": ("", True),
            "query_expansion": (False, True),
            "attend_to_expansion_tokens": (True, True),
            "skiplist_words": (["!"], True),
        },
    ),
    "endpoint": Instance(
        endpoint,
        exact=True,
        tokens=None,
        others={
            "url": ("http://127.0.0.1:9", True),
            "path": ("/v1/rerank", True),
            "model": ("another", False),  # which model answers is what the server says
            "body": ({"query": "{query}", "documents": "{documents}"}, True),
            "results": ("results", True),
            "index": (None, True),
            "score": ("relevance_score", True),
            "about": (None, False),
            "about_kept": (["model_id"], False),
            "documents_per_request": (7, False),
            "tokens_per_request": (999, False),
            "characters_per_text": (999, True),
            "concurrency": (1, False),
            "timeout": (1.0, False),
            "retries": (1, False),
            "key_variable": ("MY_KEY", False),
            "key_header": ("api-key", False),
            "billed": (True, False),
            "price_per_request": (0.1, False),
            "price_per_million_tokens": (0.1, False),
            "price_of": ("another", False),
        },
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
