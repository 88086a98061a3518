"""Tests of a mean against exact values, random weights, and distributions whose mean is 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.evaluation.bounded_mean import lower_bound, p_values, unseen_p_values
from rerankbench.report.claims import sample_size

unhurried = settings(deadline=None, derandomize=True)


def by_random_weights(differences: np.ndarray, draws: int = 200_000) -> float:
    """Gaffke's p-value with the largest loss once more, drawn."""
    rng = np.random.default_rng(1)
    values = np.append(differences, differences.min())
    below = sum((rng.standard_exponential((draws // 10, len(values))) @ values <= 0).sum() for _ in range(10))
    return below / draws


@pytest.mark.parametrize(("queries", "mean", "spread"), [(5, 0.4, 0.5), (20, 0.1, 0.2), (60, 0.04, 0.15)])
def test_what_was_seen_is_gaffkes_test(queries: int, mean: float, spread: float) -> None:
    differences = np.random.default_rng(queries).normal(mean, spread, queries)
    assert differences.min() < 0
    assert p_values(differences, 1e-9)[0] == pytest.approx(
        by_random_weights(differences), rel=0.03, abs=0.001
    )


@pytest.mark.parametrize("queries", [1, 2, 10, 298, 299, 5_000])
def test_without_a_difference_it_is_the_rule_of_three(queries: int) -> None:
    p = p_values(np.full(queries, 0.01), 0.99)[0]
    assert p == pytest.approx((1 - 0.01) ** queries)
    assert (p <= 0.05) == (queries >= 299)
    assert sample_size.rule_of_three(0.01, 1.0, 0.05) == 299


def test_no_gain_and_no_query_show_nothing() -> None:
    assert p_values([[0.0, 0.0], [-0.1, 0.0]], 1.0).tolist() == [1.0, 1.0]
    assert p_values([0.9], 1.0)[0] > 0.5
    with pytest.raises(ValueError, match="finite differences"):
        p_values([[0.1, math.nan]], 1.0)
    with pytest.raises(ValueError, match="finite differences"):
        p_values([[]], 1.0)


def test_where_no_loss_is_possible_nothing_can_undo_a_gain() -> None:
    assert unseen_p_values(np.array([0.1]), 0.0, 5)[0] == 0.0


def test_very_small_p_values_are_numbers_too() -> None:
    p = p_values(np.random.default_rng(0).normal(0.3, 0.1, 500), 1.0)[0]
    assert 0 < p < 1e-20


@unhurried
@given(st.lists(st.integers(-100, 100), min_size=2, max_size=30), st.integers(1, 50))
def test_a_better_query_never_raises_the_p_value(percents: list[int], more: int) -> None:
    worse = np.array(percents) / 100
    better = worse.copy()
    better[0] = min(1.0, better[0] + more / 100)
    assert p_values(better, 1.0)[0] <= p_values(worse, 1.0)[0] + 0.02


@unhurried
@given(st.lists(st.integers(-100, 100), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_queries_changes_nothing(percents: list[int], random: object) -> None:
    values = np.array(percents) / 100
    shuffled = np.array(random.sample(percents, len(percents))) / 100  # type: ignore[attr-defined]
    assert p_values(shuffled, 1.0)[0] == pytest.approx(p_values(values, 1.0)[0], abs=1e-6)


def total_losses(rng: np.random.Generator, trials: int, queries: int, expected: float) -> np.ndarray:
    """The hardest case: gains of one size make up for rare losses of everything; the mean is 0."""
    rate = expected / queries
    return np.where(rng.random((trials, queries)) < rate, -1.0, rate / (1 - rate))


def skewed(rng: np.random.Generator, trials: int, queries: int) -> np.ndarray:
    u = rng.random((trials, queries))
    return np.where(u < 0.6, 0.02, np.where(u < 0.63, -0.5, 0.0))


@pytest.mark.parametrize("queries", [10, 50, 100])
def test_rare_losses_and_skewed_gains_pass_five_times_in_a_hundred_at_most(queries: int) -> None:
    trials, rng = 1_500, np.random.default_rng(queries)
    samples = [total_losses(rng, trials, queries, expected) for expected in (1, 3, 5)]
    noisy = total_losses(rng, trials, queries, 2) + rng.normal(0, 0.1, (trials, queries))
    samples += [noisy, skewed(rng, trials, queries)]
    for sample in samples:
        passed = np.mean(p_values(sample, 1.0) <= 0.05)
        assert passed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_the_lower_bound_is_where_the_test_stops() -> None:
    values = np.random.default_rng(2).normal(0.2, 0.2, 80)
    bound = lower_bound(values, 1.0, 0.05)
    assert 0 < bound < values.mean()
    assert p_values(values - bound + 1e-6, 1.0 + bound)[0] <= 0.05
    assert p_values(values - bound - 1e-3, 1.0 + bound)[0] > 0.05


def test_advice_on_queries_has_the_power_it_says() -> None:
    """Samples of the size that is advised show the gain about four times in five."""
    rng, trials, p = np.random.default_rng(3), 400, 0.05 / 10
    pilot = rng.normal(0.05, 0.2, 60)
    needed = sample_size.queries_needed(pilot, 0.05, 1.0, p)
    assert needed is not None
    scale = pilot.std(ddof=1)
    shown = np.mean(p_values(rng.normal(0.05, scale, (trials, needed)), 1.0) <= p)
    assert 0.7 <= shown <= 0.92
    smallest = sample_size.detectable(pilot, 1.0, p)
    assert smallest is not None
    shown = np.mean(p_values(rng.normal(smallest, scale, (trials, 60)), 1.0) <= p)
    assert 0.7 <= shown <= 0.92


def test_where_no_query_differs_there_is_no_advice() -> None:
    assert sample_size.queries_needed(np.zeros(50), 0.01, 1.0, 0.05) is None
    assert sample_size.detectable(np.zeros(50), 1.0, 0.05) is None
    assert sample_size.rule_of_three(0.0, 1.0, 0.05) is None
