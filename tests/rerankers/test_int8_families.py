"""int8 in every family that reads tokens: close to float32, and for encoders the same bits in every batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench.engine import hardware
from rerankbench.engine.operators.int8 import Int8Linear
from rerankbench.engine.store import rows
from tiny_rerankers import EVERY, load, scores, settings

pytestmark = pytest.mark.skipif(
    not hardware.cpu_multiplies_int8(), reason="needs a CPU with int8 instructions"
)

PAIRS = [
    (query, document)
    for query in ("What is the capital of France?", "法国的首都是哪里？", "moons of Mars")
    for document in (
        "Paris is the capital and largest city of France.",
        "Mars has two small moons, Phobos and Deimos, discovered in 1877. " * 2,
        "富士山は日本で一番高い山です。",
        "two\n\nlines\tand a tab ",
    )
]
SHORT = {"max_length": 96}


@pytest.mark.parametrize(
    "name", [name for name in EVERY if name != "monot5-base"]
)  # its scores hardly differ
def test_int8_changes_scores_little(name: str, models: Path, hashes: Path) -> None:
    """Random weights make worse cases than trained ones."""
    full = scores(load(settings(name, models, **SHORT), hashes), PAIRS)
    model: Any = load(settings(name, models, **SHORT), hashes, "int8")
    found = scores(model, PAIRS)
    assert any(isinstance(module, Int8Linear) for module in model.model.modules())
    assert np.abs(found - full).max() > 0
    assert np.corrcoef(found.flatten(), full.flatten())[0, 1] > 0.9


def test_int8_of_a_seq2seq_model_is_close(models: Path, hashes: Path) -> None:
    full, found = (
        scores(load(settings("monot5-base", models, **SHORT), hashes, precision), PAIRS)
        for precision in ("fp32", "int8")
    )
    assert 0 < np.abs(found - full).max() < 0.1


def test_a_change_of_int8_leaves_what_other_precisions_stored(
    models: Path, hashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = settings("base", models, **SHORT)
    weights = reranker.origin(hashes)
    before = {precision: reranker.identity(weights, precision) for precision in ("fp32", "bf16", "int8")}
    monkeypatch.setattr(rows, "INT8", 999)
    after = {precision: reranker.identity(weights, precision) for precision in before}
    assert [before[p] == after[p] for p in before] == [True, True, False]
    assert len({rows.identity(parts) for parts in before.values()}) == 3


@pytest.mark.parametrize("name", ["base", "minilm"])
def test_an_encoders_score_is_the_same_to_the_last_bit_in_every_batch(
    name: str, models: Path, hashes: Path
) -> None:
    model = load(settings(name, models, **SHORT), hashes, "int8")
    alone = np.concatenate([scores(model, [pair]) for pair in PAIRS])
    for sequences, tokens, streams in ((512, 4096, 1), (3, 200, 2)):
        np.testing.assert_array_equal(scores(model, PAIRS, sequences, tokens, streams), alone)
