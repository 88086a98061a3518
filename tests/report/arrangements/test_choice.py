"""Choosing from many, with known truth: how often claims are false, and what estimates are worth."""

from __future__ import annotations

import numpy as np
import pytest

from rerankbench.report.arrangements import claims
from rerankbench.report.arrangements.choice import FOLDS, chooser, folds
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims.verdict import DEPLOY
from simulated_arrangements import PLAIN, POPULATIONS, Judged, false_report, false_verdict, judge

TRIALS = 12
Reports = list[tuple[Judged, np.ndarray]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "PERMUTATIONS", 500)
    monkeypatch.setattr(comparing, "RESAMPLES", 100)
    monkeypatch.setattr(claims, "PATTERNS", 500)


def reports(name: str, queries: int, trials: int = TRIALS) -> Reports:
    population = POPULATIONS[name](np.random.default_rng(list(POPULATIONS).index(name)))
    samples = (population.sample(queries, np.random.default_rng([queries, trial])) for trial in range(trials))
    return [(judge(population, values), population.truth) for values in samples]


@pytest.mark.parametrize("name", [name for name in POPULATIONS if "wins" not in name])
def test_reports_with_arrangements_are_seldom_wrong(name: str) -> None:
    """Of 12 reports two false ones would be likely at a rate of 14%, and happen in 12% at one of 5%."""
    found = reports(name, 60)
    assert sum(false_verdict(judged, truth) or false_report(judged, truth) for judged, truth in found) <= 1


def test_a_cascade_that_wins_is_found_and_its_claims_are_true() -> None:
    found = reports("a cascade really wins", 1000, trials=3)
    for judged, truth in found:
        headline = judged.arranged.headline
        assert headline.kind == DEPLOY
        assert headline.arm is not None
        assert headline.arm >= PLAIN
        assert not false_report(judged, truth)
        assert headline.estimate is not None
        assert headline.estimate.gain == pytest.approx(0.12, abs=0.03)


def test_a_choice_is_worth_what_it_is_said_to_be_worth() -> None:
    """Where nothing helps, the chosen arm's mean flatters itself; the cross-fitted one does not."""
    estimates = [judged.arranged.headline.estimate for judged, _ in reports("nothing helps", 43)]
    gains = [each.gain for each in estimates if each is not None]
    optimism = [each.optimism for each in estimates if each is not None]
    assert len(gains) == TRIALS
    assert abs(np.mean(gains)) < 0.02  # four standard errors
    assert np.mean(optimism) > 0.03
    held = [each.low <= 0 <= each.high for each in estimates if each is not None]
    assert sum(held) >= TRIALS - 2


def test_what_no_query_showed_widens_the_interval() -> None:
    """1% of the queries lose everything, and most samples show none of them."""
    found = reports("changes are rare", 43)
    estimates = [(judged.arranged.headline, truth) for judged, truth in found]
    for headline, truth in estimates:
        assert headline.estimate is not None
        assert headline.choice is not None
        assert headline.estimate.low <= truth[headline.choice] - truth[0] <= headline.estimate.high


def by_hand(values: np.ndarray, costs: np.ndarray, usable: np.ndarray, margin: float) -> int:
    means = values.mean(axis=1)
    near = [i for i in np.flatnonzero(usable) if means[i] >= means[usable].max() - margin - 1e-12]
    cheapest = min(costs[i] for i in near)
    return max((i for i in near if costs[i] == cheapest), key=lambda i: means[i])


def test_the_rule_is_the_cheapest_within_the_margin_and_of_equal_cost_the_best() -> None:
    rng = np.random.default_rng(5)
    values, costs = rng.uniform(size=(30, 20)), rng.choice([1.0, 2.0, 3.0], 30)
    for margin in (0.0, 0.05, 0.2):
        usable = rng.random(30) < 0.7
        made = chooser(values, costs, values[0])
        assert made.all_queries(usable, margin) == by_hand(values, costs, usable, margin)


def test_held_out_queries_take_no_part_in_the_choice() -> None:
    """Every query is answered by the arm that the other folds choose, found here by the definition."""
    rng = np.random.default_rng(6)
    values, costs = rng.uniform(size=(20, 23)), rng.choice([1.0, 2.0], 20)
    usable, made = np.ones(20, dtype=bool), chooser(values, costs, values[3])
    means = []
    for drawn in folds(23):
        answered = np.empty(23)
        for fold in range(FOLDS):
            out = drawn == fold
            answered[out] = values[by_hand(values[:, ~out], costs, usable, 0.05), out]
        means.append(answered.mean())
    found = made.cross_fitted(usable, 0.05)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(means))
    assert found.gain == pytest.approx(np.mean(means) - values[3].mean())
    assert found.optimism == pytest.approx(found.naive - found.mean)


def test_few_queries_have_no_estimate() -> None:
    made = chooser(np.random.default_rng(0).uniform(size=(4, 9)), np.arange(4.0), np.zeros(9))
    assert made.cross_fitted(np.ones(4, dtype=bool), 0.0) is None
