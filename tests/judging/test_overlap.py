"""Rank-biased overlap against its definition, depth by depth with sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.judging.overlap import interval, rank_biased_overlap

LISTS = st.lists(st.integers(0, 12), unique=True, max_size=8)


def by_definition(one: list[int], other: list[int], p: float) -> float:
    """Webber, Moffat and Zobel's equations 30 and 32, term by term."""
    short, long = sorted((one, other), key=len)
    s, n = len(short), len(long)
    if not s:
        return float(not n)

    def x(depth: int) -> int:
        return len(set(short[:depth]) & set(long[:depth]))

    first = sum(x(d) / d * p**d for d in range(1, n + 1))
    second = sum(x(s) * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * (first + second) + ((x(n) - x(s)) / n + x(s) / s) * p**n


def padded(*lists: list[int]) -> np.ndarray:
    return np.array([[*each, *[-1] * (8 - len(each))] for each in lists])


@settings(derandomize=True, deadline=None)
@given(LISTS, LISTS, st.sampled_from([0.5, 0.9, 0.98]))
def test_overlap_is_what_its_definition_says(one: list[int], other: list[int], p: float) -> None:
    found = rank_biased_overlap(padded(one), padded(other), p)[0]
    assert found == pytest.approx(by_definition(one, other, p))
    assert found == pytest.approx(rank_biased_overlap(padded(other), padded(one), p)[0])
    assert -1e-12 <= found <= 1 + 1e-12


def test_equal_lists_overlap_wholly_and_lists_without_a_common_document_not_at_all() -> None:
    same, apart = rank_biased_overlap(padded([1, 2, 3], [1, 2]), padded([1, 2, 3], [3, 4]))
    assert (same, apart) == (pytest.approx(1), 0)


def test_a_swap_at_the_top_counts_more_than_one_below() -> None:
    top, below = rank_biased_overlap(padded([2, 1, 3, 4], [1, 2, 4, 3]), padded([1, 2, 3, 4], [1, 2, 3, 4]))
    assert top < below < 1


def test_the_interval_holds_the_mean_and_is_a_point_where_all_queries_agree() -> None:
    found = interval(np.linspace(0, 1, 50), 0.95)
    assert found.mean == pytest.approx(0.5)
    assert found.low < found.mean < found.high
    assert interval(np.full(5, 0.25), 0.95) == (0.25, 0.25, 0.25)
