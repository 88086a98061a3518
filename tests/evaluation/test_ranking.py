"""Orders of candidates: what reranking may move, and what it must leave where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from numpy.typing import NDArray

from best_order import best_order
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import ranking

# Few distinct values, so that most lists have ties; NaN is padding.
tied = st.sampled_from([-1.5, 0.0, 0.25, 3.0, float("nan")])
score_arrays = some.arrays(np.float32, some.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=tied)
depths = st.integers(0, 15)


@given(score_arrays, depths)
def test_rerank_is_a_stable_sort_of_the_head(scores: NDArray[np.float32], depth: int) -> None:
    """Against Python's own stable sort, list by list."""
    order = ranking.rerank(scores, depth)
    assert order.shape == scores.shape
    for values, positions in zip(scores.tolist(), order.tolist(), strict=True):
        head = sorted(range(min(depth, len(values))), key=lambda at: (np.isnan(values[at]), -values[at]))
        assert positions == head + list(range(len(head), len(values)))


@given(score_arrays)
def test_depth_zero_is_the_first_stage(scores: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(ranking.rerank(scores, 0), ranking.first_stage(scores.shape))


@given(score_arrays, depths)
def test_scores_below_the_depth_do_not_matter(scores: NDArray[np.float32], depth: int) -> None:
    changed = scores.copy()
    changed[:, depth:] = 99
    np.testing.assert_array_equal(ranking.rerank(changed, depth), ranking.rerank(scores, depth))


@given(score_arrays, depths, st.sampled_from([0.5, 2.0, 1024.0]))
def test_only_the_order_of_scores_matters(scores: NDArray[np.float32], depth: int, factor: float) -> None:
    np.testing.assert_array_equal(ranking.rerank(scores * factor - 7, depth), ranking.rerank(scores, depth))


def test_ties_keep_first_stage_order_and_padding_stays_last() -> None:
    nan = float("nan")
    scores = np.array(
        [[1, 2, 1, 2, 9, nan], [0, 0, nan, nan, nan, nan], [-5, -9, -7, nan, nan, nan]], np.float32
    )
    assert ranking.rerank(scores, 4).tolist() == [[1, 3, 0, 2, 4, 5], [0, 1, 2, 3, 4, 5], [0, 2, 1, 3, 4, 5]]


def test_the_scores_are_left_alone() -> None:
    scores = np.array([[1.0, np.nan, 2.0]], np.float32)
    before = scores.copy()
    ranking.rerank(scores, 3)
    np.testing.assert_array_equal(scores, before)


grade_arrays = some.arrays(
    np.int32,
    some.array_shapes(min_dims=2, max_dims=2, max_side=10),
    elements=st.sampled_from([UNJUDGED, -1, 0, 1, 2, 3]),
)


@given(grade_arrays, depths)
def test_oracle_is_the_best_order(grades: NDArray[np.int32], depth: int) -> None:
    """As `best_order`, which sorts grades and knows no positions; harm counts like nothing."""
    got = np.maximum(ranking.take(grades, ranking.oracle(grades, depth)), 0)
    np.testing.assert_array_equal(got, np.maximum(best_order(grades, depth), 0))


@pytest.mark.parametrize(
    ("depth", "extra", "expected"),
    [
        (1, (), [1]),
        (10, (), [10]),
        (20, (), [10, 20]),
        (75, (), [10, 20, 50, 75]),
        (100, (30, 500), [10, 20, 30, 50, 100]),
        (2000, (), [10, 20, 50, 100, 200, 500, 1000, 2000]),
    ],
)
def test_depths_of_curves(depth: int, extra: tuple[int, ...], expected: list[int]) -> None:
    assert ranking.depths_up_to(depth, extra) == expected
