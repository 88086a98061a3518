"""Our rerankers over the tiny models: settings by name, and scores of plain text pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiny_prompted
from rerankbench.engine.hardware import Hardware, Precision
from rerankbench.engine.loop import Budget, Loop
from rerankbench.engine.models.references import resolve
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.layerwise import Layerwise
from rerankbench.rerankers.lightweight import Lightweight
from rerankbench.rerankers.llm import LLM
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.rerankers.scoring.pair_window import PairWindow
from rerankbench.rerankers.scoring.sequences import best
from rerankbench.rerankers.seq2seq import Seq2Seq
from tiny_models import FAMILIES, LAYERS, START_LAYER

CLASSES: dict[str, type[Reranker]] = {
    "encoder": Encoder,
    "llm": LLM,
    "layerwise": Layerwise,
    "lightweight": Lightweight,
    "causal": Causal,
    "seq2seq": Seq2Seq,
}
EVERY_LAYER = tuple(range(START_LAYER, LAYERS + 1))
LAYERED = ("minicpm-layerwise", "lightweight")
PROMPTED = ("gemma", *LAYERED)
FAMILY_OF = {"qwen3-0.6b": "causal", "monot5-base": "seq2seq"}
EVERY = (*FAMILIES, *FAMILY_OF)
"""A model of each family that reads tokens."""

Pair = tuple[str, str]


def settings(name: str, models: Path, **options: Any) -> Reranker:
    """Settings of the family of `name` (a key of `EVERY`), pointing at its folder.

    max_length: without the prompt, where that counts among it.
    """
    if name in tiny_prompted.PROMPTED:
        return prompted_settings(name, models, **options)
    return CLASSES[FAMILIES[name]](model=str(models / name), **options)


def prompted_settings(name: str, models: Path, **options: Any) -> Reranker:
    folder = models / name
    if not folder.exists():
        tiny_prompted.PROMPTED[name](folder)
    if "max_length" in options:
        options["max_length"] += tiny_prompted.prompt_size(folder)
    return CLASSES[FAMILY_OF[name]](model=str(folder), **options)


def load(reranker: Reranker, cache: Path, precision: Precision = "fp32", device: str = "cpu") -> PairModel:
    assert reranker.problems() == []
    return reranker.load(resolve(reranker.model, None, cache), Hardware(device, precision))


def window_of(model: PairModel, pairs: Sequence[Pair]) -> PairWindow:
    queries = model.tokenize_queries([query for query, _ in pairs])
    return PairWindow.of(model, queries, model.tokenize_documents([document for _, document in pairs]))


def scores(
    model: PairModel,
    pairs: Sequence[Pair],
    sequences: int = 512,
    tokens: int = 4096,
    streams: int = 1,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Scores [pairs, layers], through the loop that real runs use."""
    window = window_of(model, pairs)
    budget = Budget(sequences, tokens, model.enough)
    loop = Loop(model.forward, Hardware(device, "fp32"), budget, streams=streams)
    found = np.full((len(window.owner), len(model.layers)), np.nan, np.float32)
    for index, values in loop.run(window):
        assert np.isnan(found[index]).all(), "a sequence was scored twice"
        found[index] = values
    assert not np.isnan(found).any(), "a sequence was not scored"
    return best(found, window.owner)
