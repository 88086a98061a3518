"""monoT5 scores as its papers' code does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ready_models import PAIRS, ready
from rerankbench import load_reranker
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.seq2seq import Seq2Seq
from tiny_prompted import monot5, tiny_monot5
from tiny_rerankers import scores


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With output embeddings that are the input's, as T5's, or of their own, as T5 1.1's and mT5's."""
    return tiny_monot5(tmp_path_factory.mktemp("t5") / "monot5", tie_word_embeddings=request.param)


@pytest.mark.parametrize("limit", [512, 40])
def test_scores_are_monot5s(limit: int, folder: Path, hashes: Path) -> None:
    found = scores(ready(Seq2Seq(str(folder), max_length=limit), hashes), PAIRS)[:, 0]
    expected = monot5(folder, PAIRS, limit)
    assert expected.std() > 0.02  # log-probabilities, not logits
    assert (expected <= 0).all()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_option_is_the_family_with_a_model(folder: Path, hashes: Path) -> None:
    place = {"device": "cpu", "precision": "fp32", "cache_dir": hashes}
    model = load_reranker("monot5-base", model=folder, **place)  # type: ignore[arg-type]
    found = model.score(PAIRS[0][0], [document for _, document in PAIRS[:7]])[:, 0]
    np.testing.assert_allclose(found, monot5(folder, PAIRS[:7]), atol=1e-4)


def test_other_folders_are_told_their_option(folder: Path, models: Path) -> None:
    (line,) = Seq2Seq(str(models / "gemma")).problems()
    assert "choose reranker=gemma" in line
    (line,) = Encoder(str(folder)).problems()
    assert "choose reranker=monot5-base with this reranker.model" in line
