"""Rerankers that take texts: the promises that hold for every reranker hold for them, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acme_server import shared
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.executors.ray import Ray
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.run_context import RunContext
from rerankbench.experiment import estimate, forecast, latency
from rerankbench.rerankers.scoring.pair_scoring import distinct_pairs, read_cost, score_store
from rerankbench.rerankers.scoring.text_scoring import TextWork, checked, score, score_directly
from scorers import Overlap, OverlapScorer

TEXTS = [
    "a red fox",
    "the blue sea",
    "red and blue",
    "a fox at sea",
    "狐狸 在 海边",
    "a red fox",
    "fox " * 300,
]
QUERIES = ["red fox", "blue sea", "狐狸"]
COLLECTION = collection_of(
    {f"d{n}": text for n, text in enumerate(TEXTS)},
    {f"q{n}": text for n, text in enumerate(QUERIES)},
    {f"q{n}": {"d0": 1} for n in range(len(QUERIES))},
)
ROWS = np.stack([np.roll(np.arange(len(COLLECTION.corpus)), n) for n in range(len(QUERIES))])


def work_of(reranker: Overlap, cache: Path, rows: Any = ROWS, **bench: Any) -> TextWork:
    machine = RunContext(Hardware("cpu", "fp32"), cache, **bench)
    origin = reranker.origin(cache)
    pairs, store = distinct_pairs(COLLECTION, rows), score_store(reranker, origin, machine)
    return TextWork(reranker, origin, reranker.layers(origin), machine, COLLECTION, pairs, store)


def found(work: TextWork) -> Any:
    return score(work, work.context.executor)


def expected(work: TextWork) -> Any:
    queries, documents = work.texts(np.arange(len(work.pairs)))
    return [shared(*pair) for pair in zip(queries, documents, strict=True)]


def asked(reranker: Overlap) -> int:
    return sum(map(len, reranker.asked))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_each_distinct_pair_is_asked_for_once_and_never_again(tmp_path: Path, size: int) -> None:
    reranker = Overlap(size=size, columns=2)
    first = found(work_of(reranker, tmp_path))
    pairs = [pair for batch in reranker.asked for pair in batch]
    assert len(pairs) == len(set(pairs)) == first.scored == len(QUERIES) * len(set(TEXTS))
    assert max(map(len, reranker.asked)) <= size
    work = work_of(Overlap(size=size, columns=2), tmp_path)
    again = found(work)
    assert (again.scored, work.reranker.asked) == (0, [])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_array_equal(again.values[:, 0], np.float32(expected(work)))
    np.testing.assert_array_equal(again.values[:, 1], np.float32(np.array(expected(work)) + 1))


def test_what_was_scored_before_a_failure_is_kept(tmp_path: Path) -> None:
    def fail_at_the_third(values: Any) -> Any:
        if len(broken.asked) == 3:
            raise KeyboardInterrupt
        return values

    broken = Overlap(spoil=fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        found(work_of(broken, tmp_path))
    going_on = Overlap()
    work = work_of(going_on, tmp_path)
    result = found(work)
    assert asked(going_on) == result.scored == len(work.pairs) - 2 * broken.size
    np.testing.assert_array_equal(result.values[:, 0], np.float32(expected(work)))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda values: values[:-1], r"gave scores \[3, 1\] for 4 pairs"),
        (lambda values: values[:, 0], r"gave scores \[4\] for 4 pairs"),
        (lambda values: np.hstack([values, values]), r"gave scores \[4, 2\] for 4 pairs at 1 layer;"),
        (
            lambda values: np.where(values >= 0, np.nan, values),
            r"gave \[nan\] for a pair \(query",
        ),
        (lambda values: ["no", "numbers", "at", "all"], "its scores are not numbers"),
        (lambda values: None, r"gave scores \[\] for 4 pairs"),
    ],
)
def test_an_answer_that_is_not_one_number_a_pair_is_refused(tmp_path: Path, spoil: Any, told: str) -> None:
    with pytest.raises(UserError, match=f"overlap: {told}"):
        found(work_of(Overlap(spoil=spoil), tmp_path))
    assert asked(Overlap()) == 0
    assert work_of(Overlap(), tmp_path).missing().size == len(work_of(Overlap(), tmp_path).pairs)


def test_reuse_false_asks_again_and_says_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found(work_of(Overlap(), tmp_path, ROWS[:, :4]))
    other = Overlap(spoil=lambda values: values + np.float32(0.5))
    work = work_of(other, tmp_path, reuse=False)
    with caplog.at_level("WARNING"):
        result = found(work)
    assert asked(other) == result.scored == len(work.pairs)
    assert "stored ones differ, by at most 0.5" in caplog.text
    assert not work.missing().size


def test_scores_of_what_nothing_identifies_are_kept_nowhere(tmp_path: Path) -> None:
    work = work_of(Overlap(named=False), tmp_path)
    np.testing.assert_array_equal(found(work).values[:, 0], np.float32(expected(work)))
    assert list(tmp_path.iterdir()) == []


def test_a_scorer_stays_in_this_process_whatever_the_executor(tmp_path: Path) -> None:
    reranker = Overlap()
    found(work_of(reranker, tmp_path, executor=Ray()))
    assert asked(reranker) > 0  # a copy in another process would have counted there


def test_costs_are_counted_in_pairs_and_belong_to_this_machine(tmp_path: Path) -> None:
    work = work_of(Overlap(), tmp_path)
    cost = found(work).cost
    assert cost["pairs"] == len(work.pairs)
    assert cost["pairs_per_second"] == pytest.approx(cost["pairs"] / cost["seconds"])
    assert read_cost(work) == cost


def test_a_forecast_times_a_pilot_and_only_counts_where_asking_costs_money(tmp_path: Path) -> None:
    free, paid = Overlap(), Overlap(costs=True)
    timed, counted = (estimate.text_step(work_of(reranker, tmp_path)) for reranker in (free, paid))
    assert asked(free) > 0
    assert timed.rate > 0
    assert (asked(paid), counted.rate, counted.missing) == (0, 0.0, timed.missing)
    assert f"{timed.missing} pairs at 1 cent" in counted.line()
    assert "how long is not known" in counted.line()
    lines = forecast.Forecast("arm", (counted,), 1.0).lines()
    assert "not known" in lines[0]
    assert not any("workers" in line for line in lines)
    found(work_of(free, tmp_path))
    assert estimate.text_step(work_of(paid, tmp_path)).line().endswith("stored: nothing to do")


def test_a_service_is_timed_from_texts_to_scores(tmp_path: Path) -> None:
    work = work_of(Overlap(), tmp_path)
    scores = latency.rerank(work.model, QUERIES[0], TEXTS, work.context)
    np.testing.assert_array_equal(scores[:, 0], np.float32([shared(QUERIES[0], text) for text in TEXTS]))
    assert score_directly(work.model, [], []).shape == (0, 1)
    assert checked(work.model, [], [], "overlap").shape == (0, 1)


def test_another_setting_or_origin_has_other_scores(tmp_path: Path) -> None:
    folders = {work_of(replace(Overlap(), columns=columns), tmp_path).store.folder for columns in (1, 2)} | {
        work_of(Overlap(size=size), tmp_path).store.folder for size in (1, 2)
    }
    assert len(folders) == 2  # how many are asked for at once changes no score


def test_it_is_closed_once_and_only_if_it_was_opened(tmp_path: Path) -> None:
    reranker = Overlap()
    work = work_of(reranker, tmp_path)
    work.close()
    found(work)
    work.close()
    work.close()
    assert reranker.closed == [True]


def test_scores_that_come_in_parts_are_kept_as_they_come_and_none_may_be_lacking() -> None:
    class Parts(OverlapScorer):
        def parts(self, queries: Any, documents: Any) -> Any:
            found = self.score(queries, documents)
            yield np.array([2, 0]), found[[2, 0]]
            yield np.array([1]), found[[1]]

    scorer = Parts(Overlap())
    texts = TEXTS[:3]
    np.testing.assert_array_equal(
        checked(scorer, ["red fox"] * 3, texts, "parts")[:, 0],
        np.float32([shared("red fox", text) for text in texts]),
    )
    with pytest.raises(UserError, match="parts: gave no score for 1 of 4 pairs"):
        checked(scorer, ["red fox"] * 4, TEXTS[:4], "parts")
