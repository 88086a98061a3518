"""How often whole reports are wrong, on samples of populations whose truth is known."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

import simulated_populations as populations
from rerankbench.evaluation.simultaneous import sign_flip_p_values, sign_flips
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims import decision as choosing
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, UNKNOWN
from simulated_populations import Judged, Population


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws: rates of hundreds of reports say no more than their own error allows."""
    monkeypatch.setattr(comparing, "PERMUTATIONS", 400)
    monkeypatch.setattr(comparing, "RESAMPLES", 200)
    monkeypatch.setattr(choosing, "DRAWS", 500)


def reports(population: Population, queries: int, trials: int) -> list[Judged]:
    rng = np.random.default_rng(queries)
    return [populations.judge(population, population.sample(queries, rng)) for _ in range(trials)]


def rarely(wrong: list[bool]) -> bool:
    """Whether so many wrong ones fit a rate of 5%, by three standard errors."""
    return float(np.mean(wrong)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(wrong))


CASES = [
    ("nothing helps, 5 depths", 50),
    ("nothing helps, 5 depths", 300),
    ("cheap depths are delta below the best", 300),
    ("not reranking is delta below the best", 300),
    ("Success@1, 6% of queries reranked", 10),
    ("Success@1, 6% of queries reranked", 50),
    ("1.2% of queries lose 1", 50),
    ("1.2% of queries lose 1", 300),
    ("1.2% of queries lose 1, small noise", 300),
    ("60% gain .02, 3% lose .5", 10),
    ("the same, 5 arms", 50),
    ("60% gain .02, 1.2% lose 1, 5 arms", 300),
    ("reranking doubles the measure", 2),
    ("56 rerankers, nothing helps", 50),
    ("a first stage alone is best", 100),
]


@pytest.mark.parametrize(("name", "queries"), CASES)
def test_at_most_one_report_in_twenty_makes_a_false_claim(name: str, queries: int) -> None:
    """Neither its verdict, nor its reasons, nor the table of arms."""
    make = populations.POPULATIONS[name]
    population = make(np.random.default_rng(list(populations.POPULATIONS).index(name)))
    judged = reports(population, queries, 60)
    assert rarely([populations.false_claim(each, population.truth) for each in judged])
    assert rarely([not loss_within_bound(each, population.truth) for each in judged])


def loss_within_bound(judged: Judged, truth: np.ndarray) -> bool:
    return bool(truth.max() - truth[judged.decision.arm] <= judged.decision.bound + 1e-9)


def kinds(population: Population, queries: int, trials: int = 25) -> Counter[str]:
    return Counter(each.verdict.kind for each in reports(population, queries, trials))


def test_what_is_there_is_found() -> None:
    """Tests that never claim anything would be wrong never."""
    rng = np.random.default_rng(0)
    rising = populations.rising_curve(rng)
    assert kinds(rising, 50)[BEST] >= 15
    assert kinds(rising, 1_000)[UNKNOWN] == 0
    assert kinds(populations.strong(rng), 50)[UNKNOWN] <= 3
    assert kinds(populations.cheap_ones_below(rng), 1_000)[DEPLOY] == 25
    losing = populations.curve(rng, [-0.1, -0.2])
    assert kinds(losing, 300)[NONE] >= 22


def test_every_kind_of_verdict_is_said_and_seldom_false() -> None:
    rng, heard, wrong = np.random.default_rng(1), Counter[str](), []
    for population, queries in (
        (populations.strong(rng), 100),
        (populations.rising_curve(rng), 100),
        (populations.curve(rng, [-0.1, -0.2]), 300),
        (populations.curve(rng, [0.001, 0.002], spread=0.005), 600),
        (populations.null_curve(rng), 30),
    ):
        judged = reports(population, queries, 30)
        heard.update(each.verdict.kind for each in judged)
        wrong += [populations.false_claim(each, population.truth) for each in judged]
    assert set(heard) == {DEPLOY, BEST, NONE, UNKNOWN}
    assert rarely(wrong)


def test_above_a_thousand_arms_something_can_be_shown() -> None:
    rng = np.random.default_rng(2)
    population = populations.many(rng, 1_001, gain=0.3)
    judged = populations.judge(population, population.sample(200, rng))
    assert judged.verdict.kind in (DEPLOY, BEST)


def test_the_best_of_many_that_do_nothing_is_not_praised() -> None:
    """Arrangements that were tuned on the queries that judge them: the choice is part of the test."""
    population = populations.many(np.random.default_rng(3), 300)
    judged = reports(population, 50, 12)
    assert sum(each.verdict.kind != UNKNOWN for each in judged) <= 2
    top = [each.comparison.selected for each in judged]
    assert all(each is not None and each.low <= 0 <= each.high for each in top)
    naive = np.mean([each.mean for each in top if each])
    honest = np.mean([each.mean - each.optimism for each in top if each])
    assert naive > 0.03
    assert abs(honest) < naive / 2


def test_the_interval_of_the_chosen_arm_holds_its_true_gain() -> None:
    for make in (populations.null_curve, populations.rising_curve, populations.skewed_arms):
        population = make(np.random.default_rng(4))
        gains = population.truth - population.truth[0]
        top = [each.comparison.selected for each in reports(population, 50, 40)]
        assert rarely([not each.low <= gains[each.arm] <= each.high for each in top if each])


def test_what_the_decision_says_of_itself_is_about_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stated loss within a factor of three of the true one, the stated chance within 25 points."""
    population = populations.rising_curve(np.random.default_rng(5))
    for queries in (50, 300):
        judged = reports(population, queries, 40)
        regret = np.mean([population.truth.max() - population.truth[each.decision.arm] for each in judged])
        stated = np.mean([each.decision.expected_loss for each in judged])
        assert stated / 3 <= regret <= stated * 3
    rng, said, true = np.random.default_rng(6), [], []
    monkeypatch.setattr(populations, "SIZE", 2_000)
    for _ in range(60):  # populations whose own gains differ
        gain = rng.normal(0, 0.05)
        population = populations.curve(rng, [gain])
        each = populations.judge(population, population.sample(30, rng))
        if each.decision.chance_helps is not None:
            said.append(each.decision.chance_helps)
            true.append(gain > 0)
    assert abs(np.mean(said) - np.mean(true)) < 0.25


def test_a_decision_is_the_cheapest_arm_within_delta() -> None:
    rng = np.random.default_rng(7)
    first = np.full(400, 0.5)
    better = first + 0.1 + rng.normal(0, 0.01, 400)
    population = populations.one_stage(first, [better, better + 0.001, better + 0.002])
    judged = populations.judge(population, population.values)
    assert judged.decision.arm == 1
    assert judged.decision.expected_loss == pytest.approx(0.002, abs=1e-9)


def test_sign_flips_of_one_arm_are_its_exact_test_and_many_arms_raise_it() -> None:
    from rerankbench.evaluation.significance import randomisation_test

    rng = np.random.default_rng(8)
    values = np.vstack([np.zeros(11), rng.normal(0.2, 0.3, (6, 11))])
    flips = sign_flips(values, seed=0, patterns=1 << 11)
    zero = np.zeros(6, dtype=np.intp)
    alone = [sign_flip_p_values(flips, np.array([i]), zero[:1])[0] for i in range(1, 7)]
    exact = [randomisation_test(values[i], seed=0) for i in range(1, 7)]
    np.testing.assert_allclose(alone, exact, atol=1e-12)
    together = sign_flip_p_values(flips, np.arange(1, 7), zero)
    assert (together >= np.array(alone) - 1e-12).all()
    signs = 1.0 - 2.0 * ((np.arange(1 << 11)[:, None] >> np.arange(11)) & 1)
    scale = np.sqrt((values[1:] ** 2).sum(axis=1))
    largest = np.abs(signs @ values[1:].T / scale).max(axis=1)
    top = np.abs(values[1:].sum(axis=1) / scale)
    assert together[top.argmax()] == pytest.approx(np.mean(largest >= top.max() - 1e-9))


def test_arms_that_are_copies_cost_nothing_to_compare() -> None:
    rng = np.random.default_rng(9)
    arm = rng.normal(0.1, 0.3, 40)
    values = np.vstack([np.zeros(40), *[arm] * 20])
    flips = sign_flips(values, seed=0, patterns=2_000)
    many = sign_flip_p_values(flips, np.arange(1, 21), np.zeros(20, dtype=np.intp))
    one = sign_flip_p_values(flips, np.array([1]), np.array([0]))
    np.testing.assert_allclose(many, one[0], atol=1e-12)
