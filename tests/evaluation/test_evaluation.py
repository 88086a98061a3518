"""What must hold of every evaluation, whatever the scores: how orders of the same candidates relate."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.evaluation.evaluation import Evaluation, evaluate

CUTOFFS = (1, 3, 5, 100)
DOCUMENTS = 30


@dataclass(frozen=True)
class Case:
    collection: Collection
    candidates: Candidates
    scores: NDArray[np.float32]

    def evaluate(self, depths: tuple[int, ...], scores: NDArray[np.float32] | None = None) -> Evaluation:
        used = self.scores[:, : max(depths)] if scores is None else scores
        return evaluate(self.collection, self.candidates, used, (7,), depths, CUTOFFS)


def case(seed: int, queries: int = 4, width: int = 12, distinct: int = 5, threshold: int = 1) -> Case:
    """Random judgements and candidates; scores with many ties, and lists of different lengths."""
    drawn = np.random.default_rng(seed)
    grades = {
        f"q{query}": {f"d{row}": int(drawn.integers(0, 4)) for row in drawn.permutation(DOCUMENTS)[:9]}
        for query in range(queries)
    }
    for judged in grades.values():
        judged["not in the corpus"] = 2
    of = collection_of(
        {f"d{row}": f"document {row}" for row in range(DOCUMENTS)},
        {query: f"question {query}" for query in grades},
        grades,
        relevance_threshold=threshold,
    )
    rows = np.stack([drawn.permutation(DOCUMENTS)[:width] for _ in range(queries)])
    lengths = drawn.integers(0, width + 1, queries)
    rows[np.arange(width) >= lengths[:, None]] = -1
    falling = np.sort(drawn.normal(size=rows.shape))[:, ::-1].astype(np.float32)
    scores = drawn.integers(0, distinct, (*rows.shape, 1)).astype(np.float32)
    scores[rows < 0] = np.nan
    return Case(of, Candidates(rows, np.where(rows < 0, -np.inf, falling).astype(np.float32)), scores)


seeds = st.integers(0, 10_000)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_reranking_nothing_is_the_first_stage(seed: int) -> None:
    some = case(seed)
    constant = np.where(np.isnan(some.scores), np.nan, 1).astype(np.float32)
    found = some.evaluate((12,), constant)
    first, same = found.one("first_stage", 0), found.one("reranked", 12, 7)
    for name, values in first.per_query.items():
        np.testing.assert_array_equal(same.per_query[name], values)


@given(seeds, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_the_oracle_is_never_below_any_order(seed: int, threshold: int) -> None:
    some = case(seed, threshold=threshold)
    depths = (1, 4, 12)
    found = some.evaluate(depths)
    for depth in depths:
        ceiling = found.one("oracle", depth)
        for other in (found.one("reranked", depth, 7), found.one("first_stage", 0)):
            for name, values in other.per_query.items():
                if not name.startswith("judged"):  # having a judgement is no merit
                    assert (values <= ceiling.per_query[name] + 1e-12).all(), name


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_perfect_reranker_reaches_the_oracle(seed: int) -> None:
    some = case(seed)
    grades = np.maximum(some.collection.grades(some.candidates.rows), 0)
    found = some.evaluate((5, 12), grades[:, :, None].astype(np.float32))
    for depth in (5, 12):
        for name, values in found.one("oracle", depth).per_query.items():
            np.testing.assert_array_equal(found.one("reranked", depth, 7).per_query[name], values)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_deeper_oracle_is_no_worse(seed: int) -> None:
    found = case(seed).evaluate((1, 4, 12))
    means = [found.one("oracle", depth).mean() for depth in (1, 4, 12)]
    for shallow, deep in itertools.pairwise(means):
        for name in (name for name in shallow if not name.startswith("judged")):
            assert deep[name] >= shallow[name] - 1e-12


@given(seeds, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_what_is_found_does_not_depend_on_reranking(seed: int, depth: int) -> None:
    """Candidates below the depth stay, so a cutoff that holds the whole list sees the same documents."""
    found = case(seed).evaluate((depth,))
    first, second = found.one("first_stage", 0).per_query, found.one("reranked", depth, 7).per_query
    for name in ("recall_at_100", "success_at_100", "judged_at_100"):
        np.testing.assert_array_equal(second[name], first[name])


@given(seeds, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_corpus_changes_nothing(seed: int, shuffle: int) -> None:
    some = case(seed)
    turned = np.random.default_rng(shuffle).permutation(DOCUMENTS)
    grades: dict[str, dict[str, int]] = {query: {} for query in some.collection.query_ids}
    ids = some.collection.judged_ids()
    for query, document, grade in zip(
        some.collection.judged_query, ids, some.collection.judged_grade, strict=True
    ):
        grades[some.collection.query_ids[query]][document] = int(grade)
    of = collection_of(
        {f"d{row}": f"document {row}" for row in turned},
        dict(zip(some.collection.query_ids, some.collection.query_texts, strict=True)),
        grades,
    )
    place = np.append(np.argsort(turned), -1)
    other = Case(of, Candidates(place[some.candidates.rows], some.candidates.scores), some.scores)
    for one, two in zip(some.evaluate((3, 12)).orders, other.evaluate((3, 12)).orders, strict=True):
        assert (one.stage, one.layer, one.depth) == (two.stage, two.layer, two.depth)
        for name, values in one.per_query.items():
            np.testing.assert_array_equal(two.per_query[name], values)


@given(seeds, st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_only_the_order_of_scores_matters(seed: int, factor: float, shift: float) -> None:
    some = case(seed)
    moved = (some.scores * np.float32(factor) + np.float32(shift)).astype(np.float32)
    for one, two in zip(some.evaluate((5, 12)).orders, some.evaluate((5, 12), moved).orders, strict=True):
        for name, values in one.per_query.items():
            np.testing.assert_array_equal(two.per_query[name], values)


def test_a_case_by_hand() -> None:
    """Candidates a b c d with grades 0 1 - 2, reranked to depth 3 by scores 1 3 2: b c a d.

    nDCG@3 = (1 + 0/log2(3) + 0/2) / (2 + 1/log2(3)); `e`, grade 2, is missing from the corpus: the ideal
    is 2 2 1, so 2 + 2/log2(3) + 1/2.
    """
    of = collection_of(
        {name: name * 3 for name in "abcd"}, {"q": "?"}, {"q": {"a": 0, "b": 1, "d": 2, "e": 2}}
    )
    found = Candidates(np.arange(4)[None], np.array([[4, 3, 2, 1]], np.float32))
    scores = np.array([[[1], [3], [2]]], np.float32)
    got = evaluate(of, found, scores, (0,), (3,), (1, 3, 4))
    second, log3, log5 = got.one("reranked", 3, 0).mean(), np.log2(3), np.log2(5)
    ideal = 2 + 2 / log3 + 1 / 2
    assert second["ndcg_at_3"] == pytest.approx(1 / ideal)
    assert second["ndcg_at_4"] == pytest.approx((1 + 2 / log5) / ideal)
    assert (second["mrr_at_1"], second["recall_at_3"], second["recall_at_4"]) == (1, 1 / 3, 2 / 3)
    assert got.one("first_stage", 0).mean()["mrr_at_3"] == 1 / 2
    assert got.one("oracle", 3).mean()["ndcg_at_4"] == pytest.approx((1 + 2 / log5) / ideal)


def test_where_nothing_reranks_there_is_no_reranked_order() -> None:
    some = case(0)
    found = evaluate(some.collection, some.candidates, None, (), (12,), CUTOFFS)
    assert {order.stage for order in found.orders} == {"first_stage", "oracle"}
    assert found.reranked(7) == []


def test_every_layer_is_measured_by_its_own_scores() -> None:
    some = case(1)
    two = np.concatenate([some.scores, -some.scores], axis=2)
    found = evaluate(some.collection, some.candidates, two, (3, 8), (4, 12), CUTOFFS)
    assert [(order.layer, order.depth) for order in found.reranked(8)] == [(8, 4), (8, 12)]
    for layer, scores in ((3, some.scores), (8, -some.scores)):
        alone = evaluate(some.collection, some.candidates, scores, (layer,), (4, 12), CUTOFFS)
        for depth in (4, 12):
            assert found.one("reranked", depth, layer).mean() == alone.one("reranked", depth, layer).mean()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_tutorials_measures_come_along(seed: int) -> None:
    some = case(seed)
    found = evaluate(some.collection, some.candidates, some.scores, (7,), (5, 12), CUTOFFS, tutorial=(1, 10))
    assert "tutorial_ndcg_at_10" in found.one("first_stage", 0).per_query
    assert "tutorial_ndcg_at_10" in found.one("reranked", 12, 7).per_query
    assert "tutorial_ndcg_at_10" not in found.one("reranked", 5, 7).per_query
    assert "tutorial_ndcg_at_10" not in found.one("oracle", 12).per_query
