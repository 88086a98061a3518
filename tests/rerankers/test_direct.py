"""How the documents of single queries are shared among threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbered_sequences import Sequences, numbers
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget, Loop
from rerankbench.rerankers.direct import computed

CPU = Hardware("cpu", "fp32")


def batches(lengths: list[int], streams: int, budget: Budget) -> list[list[int]]:
    """The lengths in each batch that is computed, and that each sequence got its own value."""
    window = Sequences(np.array(lengths))
    found = list(computed(window, Loop(numbers, CPU, budget, streams=streams)))
    index = np.concatenate([some for some, _ in found])
    np.testing.assert_array_equal(np.concatenate([values[:, 0] for _, values in found]), index)
    np.testing.assert_array_equal(np.sort(index), np.arange(len(lengths)))
    return [[lengths[position] for position in some] for some, _ in found]


def test_documents_of_similar_lengths_are_dealt_out_evenly() -> None:
    lengths = [98, 96, 94, 92, 90, 88, 86, 84, 82, 80]
    assert [sum(batch) for batch in batches(lengths, 2, Budget(64, 2048))] == [446, 444]  # not 470 and 420


def test_short_documents_are_not_padded_to_the_length_of_long_ones() -> None:
    assert batches([512, 400, *[100] * 8], 2, Budget(64, 2048)) == [[512, 400], [100] * 8]


def test_fewer_documents_than_streams_are_one_batch() -> None:
    assert batches([30, 20, 10], 4, Budget(64, 2048)) == [[30, 20, 10]]


@pytest.mark.parametrize("streams", [1, 2, 3])
@given(
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=60),
    tokens=st.integers(64, 4096),
)
def test_every_document_is_computed_once_within_the_budget(
    streams: int, lengths: list[int], tokens: int
) -> None:
    budget = Budget(32, tokens)
    for batch in batches(lengths, streams, budget):
        assert len(batch) == 1 or len(batch) * max(batch) <= tokens
        assert len(batch) <= 32
