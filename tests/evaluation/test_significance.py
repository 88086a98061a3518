"""Significance against scipy, exhaustive enumeration, and simulated arms whose truth is known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rerankbench.evaluation.significance import (
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    randomisation_test,
    randomisation_tests,
    wins,
)

unhurried = settings(deadline=None)  # the machine may be busy with other tests


def null_differences(rng: np.random.Generator, arms: int, queries: int) -> np.ndarray:
    """Differences without an effect, such as reciprocal ranks make: half of the queries do not change."""
    size = rng.choice([0.0, 0.0, 0.0, 0.1, 0.25, 0.5], size=(arms, queries))
    return size * rng.choice([-1.0, 1.0], size=(arms, queries))


def at_most(rate: float, share: float, trials: int) -> bool:
    """Whether a share of simulated trials fits a true rate of at most `rate`, by three standard errors."""
    return share <= rate + 3 * math.sqrt(rate * (1 - rate) / trials)


# --- bootstrap ------------------------------------------------------------------------------------------


def test_the_interval_of_four_queries_is_that_of_all_their_resamples():
    # Resampled sums are binomial(4, 1/4): P(0) = 0.32 > 0.025, P(at most 2) = 0.949 < 0.975 < P(at most 3).
    assert bootstrap_interval([0, 0, 0, 1], seed=1) == (1 / 4, 0.0, 3 / 4)
    # P(at most 1) = 0.74 < 0.85 < P(at most 2): the interval at 70%.
    assert bootstrap_interval([0, 0, 0, 1], seed=1, level=0.7) == (1 / 4, 0.0, 2 / 4)


def test_the_interval_is_scipys():
    values = np.random.default_rng(2).beta(0.5, 0.7, size=43)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    ours, error = bootstrap_interval(values, seed=4), stats.sem(values)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * error)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * error)


def test_with_many_queries_the_interval_is_the_normal_one():
    values = np.random.default_rng(5).normal(0.3, 1.0, size=5_000)  # so many that they are drawn in blocks
    interval, error = bootstrap_interval(values, seed=6), stats.sem(values)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_ninety_five_percent_intervals_hold_the_truth_about_so_often():
    truth, trials = 0.5 / 1.2, 1_500
    samples = np.random.default_rng(7).beta(0.5, 0.7, size=(trials, 60))  # much at 0 and 1, like nDCG
    intervals = bootstrap_intervals(samples, seed=8, resamples=2_000)
    held = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.925 <= held <= 0.965


def test_an_interval_depends_on_the_seed_and_not_on_calls_or_company():
    arms = np.random.default_rng(9).random((4, 50))
    together = bootstrap_intervals(arms, seed=10)
    for arm, interval in reversed(list(zip(arms, together, strict=True))):
        assert bootstrap_interval(arm, seed=10) == pytest.approx(interval, abs=1e-12)
    assert bootstrap_interval(arms[0], seed=11) != together[0]


def test_one_resample_has_no_spread():
    interval = bootstrap_interval([0.0, 0.5, 1.0, 0.25], seed=0, resamples=1)
    assert interval.low == interval.high


# --- randomisation --------------------------------------------------------------------------------------


@unhurried
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_few_queries_are_tested_by_all_sign_patterns(tenths):
    # In whole numbers ties are exact; 0.1 + 0.2 and 0.3 differ, and must still tie.
    observed = abs(sum(tenths))
    patterns = [
        sum(sign * size for sign, size in zip(signs, tenths, strict=True))
        for signs in product((1, -1), repeat=len(tenths))
    ]
    expected = sum(abs(total) >= observed for total in patterns) / len(patterns)
    assert randomisation_test(np.array(tenths) / 10, seed=0) == pytest.approx(expected, abs=1e-12)


def test_the_exact_p_value_is_scipys():
    rng = np.random.default_rng(12)
    for _ in range(10):
        one, other = rng.random(11), rng.random(11)
        theirs = stats.permutation_test(
            (one, other),
            lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert randomisation_test(one - other, seed=0) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_the_sampled_p_value_is_near_the_exact_one():
    rng = np.random.default_rng(13)
    differences = rng.normal(0.15, 0.5, size=(6, 15))
    sampled = randomisation_tests(differences, seed=14)
    for p, arm in zip(sampled, differences, strict=True):
        exact = randomisation_test(arm, seed=0, permutations=2**15)
        assert abs(p - exact) <= 4 * math.sqrt(exact * (1 - exact) / 10_000) + 1e-4
    assert len(set(sampled)) == 6


def test_a_sampled_p_value_is_never_zero():
    assert randomisation_test(np.full(100, 0.1), seed=0, permutations=999) == 1 / (999 + 1)


def test_as_many_patterns_as_permutations_are_all_tried():
    assert randomisation_test([0.1, 0.2, 0.4], seed=0, permutations=8) == 2 / 8
    assert randomisation_test([0.1, 0.2, 0.4], seed=0, permutations=7) in [k / (7 + 1) for k in range(1, 9)]


def test_what_counts_as_a_tie_goes_by_the_size_of_the_arms_own_differences():
    arm = np.random.default_rng(31).normal(0.1, 0.5, size=40)
    scaled = arm * np.array([[1e-12], [1.0], [1e12]])
    assert set(randomisation_tests(scaled, seed=1)) == {randomisation_test(arm, seed=1)}
    assert randomisation_test([1e-12, 2e-12, -3e-12, 7e-12], seed=1) == randomisation_test(
        [1, 2, -3, 7], seed=1
    )


def test_ties_count_as_extreme_when_sampled_too():
    differences = np.tile([0.1, 0.2, -0.3], 700)  # their sum is 0 on paper, not in the machine
    assert differences.sum() != 0
    assert randomisation_test(differences, seed=0, permutations=3_000) == 1.0


def test_queries_without_a_difference_change_nothing():
    differences = [0.5, 0.25, 0.25, -0.1]
    alone = randomisation_test(differences, seed=0)
    assert randomisation_test(differences + [0.0] * 1_100, seed=0) == alone
    assert randomisation_test([0.0] * 50, seed=0) == 1.0


def test_a_p_value_depends_on_the_seed_and_not_on_calls_or_company():
    arms = np.random.default_rng(15).normal(0.1, 0.5, size=(5, 40))
    arms[2, 3:] = 0.0  # tested exactly, amid sampled ones
    together = randomisation_tests(arms, seed=16)
    assert [randomisation_test(arm, seed=16) for arm in arms[::-1]] == together[::-1].tolist()
    assert randomisation_tests(arms, seed=17).tolist() != together.tolist()


def test_the_sign_of_the_difference_does_not_matter():
    arms = np.random.default_rng(18).normal(0.1, 0.5, size=(3, 40))
    np.testing.assert_array_equal(randomisation_tests(arms, seed=1), randomisation_tests(-arms, seed=1))


def test_without_an_effect_five_percent_are_significant_at_five_percent():
    trials = 2_000
    differences = null_differences(np.random.default_rng(19), trials, 43)
    share = np.mean(randomisation_tests(differences, seed=20, permutations=2_000) <= 0.05)
    assert at_most(0.05, share, trials)
    assert share > 0.03, "far too careful: the test would miss what is there"


def test_a_real_effect_is_found():
    differences = null_differences(np.random.default_rng(21), 50, 100) + 0.15
    assert (randomisation_tests(differences, seed=22) <= 0.05).all()


# --- several comparisons --------------------------------------------------------------------------------


def test_holm_worked_by_hand():
    # in order 0.005, 0.01, 0.03, 0.04: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 raised to its predecessor
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [3 * 0.01, 2 * 0.03, 2 * 0.03, 4 * 0.005], rtol=1e-12)
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.04]).tolist() == [0.04]
    assert holm([]).tolist() == []
    assert holm([0, 1]).dtype == np.float64


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_his_procedure_rejects(p_values, alpha):
    rejected, order = [False] * len(p_values), np.argsort(p_values, kind="stable")
    for step, test in enumerate(order):
        if p_values[test] * (len(p_values) - step) > alpha:
            break
        rejected[test] = True
    assert (holm(p_values) <= alpha).tolist() == rejected


def test_holm_keeps_the_rate_of_reports_with_a_false_claim():
    trials, rng = 2_000, np.random.default_rng(24)
    p_values = rng.random((trials, 10))
    p_values[:, 7:] = 1e-9  # three real effects beside seven arms without one
    false_claims = np.mean([(holm(p)[:7] <= 0.05).any() for p in p_values])
    assert at_most(0.05, false_claims, trials)
    assert false_claims > 0.03
    assert np.mean((p_values[:, :7] <= 0.05).any(axis=1)) > 0.25, "without it, far more"


# --- what a reader wants to know --------------------------------------------------------------------------


def test_wins_worked_by_hand():
    assert wins([0.2, -0.1, 0.0, 1e-12, -1e-12, 0.3]) == (2, 1, 3)
    assert wins([0.2, -0.1, 0.1, 0.05], tolerance=0.1) == (1, 0, 3)


# --- mistakes -------------------------------------------------------------------------------------------

TESTS_OF_ONE_ARM = {
    "bootstrap": lambda values: bootstrap_interval(values, seed=0),
    "randomisation": lambda values: randomisation_test(values, seed=0),
    "wins": wins,
}


@pytest.mark.parametrize("name", TESTS_OF_ONE_ARM)
@pytest.mark.parametrize("values", [[], [0.1, math.nan], [0.1, math.inf], [[0.1, 0.2]]])
def test_what_is_not_one_finite_value_per_query_is_refused(name, values):
    with pytest.raises(ValueError, match="expected"):
        TESTS_OF_ONE_ARM[name](values)


@pytest.mark.parametrize("values", [[0.1, 0.2], [[]], [[0.1, math.nan]]])
def test_what_is_not_arms_by_queries_is_refused(values):
    for of_arms in (
        lambda: bootstrap_intervals(values, seed=0),
        lambda: randomisation_tests(values, seed=0),
    ):
        with pytest.raises(ValueError, match="expected finite values"):
            of_arms()
