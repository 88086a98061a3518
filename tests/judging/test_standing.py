"""What judgements settle: bounds against all grades that could be, means against the measures themselves."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import measures
from rerankbench.judging.beliefs import beliefs
from rerankbench.judging.bounds import bounds
from rerankbench.judging.choice import next_pairs
from rerankbench.judging.forecast import left
from rerankbench.judging.pool import Pool
from rerankbench.judging.standing import ALIKE, BETTER, OPEN, Standing, standing
from small_pools import small_pool

HIGHEST, DELTA = 3, 0.01


def stood(pool: Pool) -> Standing:
    return standing(pool, beliefs(pool, HIGHEST), DELTA, HIGHEST, draws=300)


def measured(pool: Pool) -> np.ndarray:
    """nDCG [arms, queries] of a pool that is judged as a whole, by the project's measures."""
    order = np.argsort(-pool.weights, axis=2, kind="stable")[:, :, : pool.cutoff]
    ideal = -np.sort(-pool.grades, axis=1)
    lengths = np.full(len(ideal), pool.cutoff)
    values = []
    for ranks in order:
        grades = np.take_along_axis(pool.grades, ranks, axis=1)
        judged = measures.Judged(grades=grades, ideal=ideal, length=lengths)
        values.append(measures.per_query(judged, [pool.cutoff])[f"ndcg_at_{pool.cutoff}"])
    return np.stack(values)


def completions(pool: Pool) -> list[Pool]:
    """The pool with every grade that its unjudged pairs could have; others that are unjudged have none."""
    places = np.argwhere(pool.open)
    found = []
    for grades in product(range(HIGHEST + 1), repeat=len(places)):
        whole = np.where(pool.grades == UNJUDGED, 0, pool.grades)
        whole[tuple(places.T)] = grades
        found.append(replace(pool, grades=whole.astype(np.int32)))
    return found


@pytest.mark.parametrize("seed", range(25))
def test_bounds_are_the_extremes_over_all_grades_that_could_be(seed: int) -> None:
    pool = small_pool(seed)
    differences = [float(np.subtract(*measured(each)).mean()) for each in completions(pool)]
    low, high = bounds(pool, 0, 1, HIGHEST)
    assert low <= min(differences) + 1e-9
    assert high >= max(differences) - 1e-9
    if min(differences) < -1e-9:
        assert low == pytest.approx(min(differences))
    if max(differences) > 1e-9:
        assert high == pytest.approx(max(differences))


def test_where_all_is_judged_means_are_those_of_the_measures_and_nothing_is_open() -> None:
    pool = small_pool(3, arms=3, queries=30, judged=1.0)
    found = stood(pool)
    assert found.means == pytest.approx(np.tile(measured(pool).mean(axis=1), (300, 1)))
    assert found.rivals() == []
    assert left(found, beliefs(pool, HIGHEST)) == (0, 0)


def test_two_arms_with_the_same_lists_are_as_good_without_any_judgement() -> None:
    pool = small_pool(1, judged=0.0, queries=5)
    same = replace(pool, weights=np.stack([pool.weights[0], pool.weights[0]]))
    assert stood(same).state(0, 1) == ALIKE
    assert next_pairs(stood(same), beliefs(same, HIGHEST), 5) == []


def test_without_judgements_arms_that_differ_are_open() -> None:
    found = stood(small_pool(1, judged=0.0, queries=5))
    assert found.state(0, 1) == OPEN


def test_documents_that_both_arms_rank_alike_are_asked_for_last() -> None:
    pool = small_pool(2, judged=0.0, queries=6)
    pairs = next_pairs(stood(pool), beliefs(pool, HIGHEST), 100)
    apart = []
    for pair in pairs:
        query, document = pool.place(pair)
        apart.append(pool.weights[0, query, document] != pool.weights[1, query, document])
    assert len(pairs) == pool.open.sum()
    assert 0 < sum(apart) < len(apart)
    assert apart == sorted(apart, reverse=True)


def test_judging_all_pairs_settles_every_arm_in_the_right_order() -> None:
    pool = small_pool(5, arms=4, queries=40, judged=1.0)
    found, true = stood(pool), measured(pool).mean(axis=1)
    for one in range(4):
        for other in range(4):
            if true[one] - true[other] > DELTA:
                assert found.state(one, other) == BETTER


def test_the_same_judgements_give_the_same_standing_bit_by_bit() -> None:
    pool = small_pool(7, arms=3, queries=10)
    assert np.array_equal(stood(pool).means, stood(pool).means)
