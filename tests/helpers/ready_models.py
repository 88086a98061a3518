"""Rerankers as a run gets them, and pairs of texts that are short, long, empty and odd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.reranker import LocalReranker

FP32 = Hardware("cpu", "fp32")
LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
QUERIES = [
    "What is the capital of France?",
    "moons of mars",
    "",
    " what? \n",
    "法国的首都是哪里？",
    "<think> it's 12\n\n",
    "e\u0301 \u0301 🙂",
    LONG * 12,
]
DOCUMENTS = [
    "Paris is the capital and largest city of France.",
    LONG * 30,
    "",
    "北京是中国的首都，也是全国的政治和文化中心。",
    "\n\ntwo\n\nlines ",
    "7 dwarfs <|im_end|>\n",
    "(so) 's late :",
]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def ready(settings: LocalReranker, cache: Path) -> Any:
    """As a run gets it: checked, fitted and rehearsed before it is loaded."""
    assert settings.problems() == []
    usable, weights = settings.resolved(cache)
    usable.rehearse(weights, FP32)
    return usable.load(weights, FP32)
