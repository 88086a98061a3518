"""The last layer feeds forward one position of each sequence; test_rerankers.py shows that scores stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rerankbench.engine.operators.last_position import LastPosition, last_positions
from tiny_rerankers import PROMPTED, load, scores, settings

PAIRS = [(f"query {n}", "Mars has two moons. " * n) for n in range(1, 6)]


class Doubling(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.seen = hidden
        return hidden * 2


def test_only_last_positions_are_computed() -> None:
    block, hidden = Doubling(), torch.arange(24.0).view(2, 4, 3) + 1
    with last_positions(torch.tensor([3, 1])):
        found = LastPosition(block)(hidden)
    expected = torch.zeros_like(hidden)
    expected[0, 2], expected[1, 0] = hidden[0, 2] * 2, hidden[1, 0] * 2
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert block.seen.shape == (16, 3)  # two rows, in multiples
    torch.testing.assert_close(LastPosition(block)(hidden), hidden * 2, rtol=0, atol=0)  # outside: all


@pytest.mark.parametrize(
    ("name", "options", "number"),
    [
        ("gemma", {}, -1),
        ("minicpm-layerwise", {}, -1),
        ("minicpm-layerwise", {"cutoff_layers": [3, 4]}, 3),
        ("lightweight", {"cutoff_layers": [4]}, 3),
        ("lightweight", {"compress_layers": [3], "compress_ratio": 2}, -1),
    ],
)
def test_the_last_layer_that_is_read_is_the_narrow_one(
    name: str, options: dict[str, Any], number: int, models: Path, hashes: Path
) -> None:
    model: Any = load(settings(name, models, **options), hashes)
    blocks = [layer.mlp for layer in model.model.model.layers]
    assert [block for block in blocks if isinstance(block, LastPosition)] == [blocks[number]]
    seen: list[int] = []
    for block in (blocks[0], blocks[number].block):
        block.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    scores(model, PAIRS)
    assert seen[-1] * 10 < seen[0]


@pytest.mark.parametrize("name", PROMPTED)
def test_scores_are_those_of_all_positions(name: str, models: Path, hashes: Path) -> None:
    model: Any = load(settings(name, models), hashes)
    narrow = scores(model, PAIRS)
    for layer in model.model.model.layers:
        if isinstance(layer.mlp, LastPosition):
            layer.mlp = layer.mlp.block
    torch.testing.assert_close(torch.tensor(narrow), torch.tensor(scores(model, PAIRS)), rtol=0, atol=1e-5)
