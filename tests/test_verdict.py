"""The verdict on simulated runs whose truth is known, and its error rate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rerankbench.race.record import FILE, read
from rerankbench.report import comparison as comparing
from rerankbench.report import html, markdown, table, terminal
from rerankbench.report.arms import Arm, Contest
from rerankbench.report.cost import Cost, Ordering, ordering
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.runs import Run, find
from rerankbench.report.verdict import BEST, DEPLOY, NONE, UNKNOWN, decide
from rerankbench.report_settings import Budget, Report
from rerankbench.significance import Interval
from simulated_runs import noisy, proportional, write_race, write_run

COUNT = 200


def judged(folder: Path, settings: Report | None = None) -> Findings:
    return find_out(find([folder]), settings or Report(), read(folder / FILE))


def name_of(found: Findings) -> str | None:
    return None if found.verdict.arm is None else found.contest.arms[found.verdict.arm].name


@pytest.fixture
def first() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.6, COUNT)


def test_a_shallow_depth_that_is_as_good_is_deployed(tmp_path: Path, first: np.ndarray) -> None:
    gain = noisy(0.1, 0.05, COUNT, 1)
    deep = first + gain
    shallow = deep - 0.001 + noisy(0, 0.01, COUNT, 2)
    write_run(tmp_path / "0", "minilm", first, {25: shallow, 100: deep})
    write_race(tmp_path, proportional("stage", "minilm", (25, 100), 60))
    found = judged(tmp_path)
    assert found.verdict.kind == DEPLOY
    assert re.fullmatch(
        r"Deploy minilm at depth 25: as good as the best within 0\.01 nDCG@10, at 2\d% \[2\d%, 2\d%\] of its "
        r"latency\.",
        found.verdict.sentence,
    )


def test_a_curve_that_rises_to_the_end_is_reranked_deep(tmp_path: Path, first: np.ndarray) -> None:
    depths = {d: first + noisy(0.02 * step, 0.05, COUNT, step) for step, d in enumerate((10, 20, 50, 100), 1)}
    write_run(tmp_path / "0", "minilm", first, depths)
    assert name_of(judged(tmp_path)) == "minilm@100"


def test_when_no_cheaper_arm_can_be_certified_the_best_is_recommended_and_that_is_said(
    tmp_path: Path, first: np.ndarray
) -> None:
    depths = {10: first[:40] + noisy(0.200, 0.1, 40, 1), 100: first[:40] + noisy(0.203, 0.1, 40, 2)}
    write_run(tmp_path / "0", "minilm", first[:40], depths)
    found = judged(tmp_path)
    assert (found.verdict.kind, name_of(found)) == (BEST, "minilm@100")
    assert "no cheaper arm is shown to be as good" in found.verdict.sentence
    assert any(
        "could not be told apart from it with 40 queries: minilm@10" in line for line in found.verdict.reasons
    )


def test_a_reranker_that_hurts_is_not_deployed(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "random", first, {10: first + noisy(-0.2, 0.1, COUNT, 1)})
    found = judged(tmp_path)
    assert found.verdict.kind == NONE
    assert (
        found.verdict.sentence == "Do not rerank: nothing here helps, and every arm makes the ranking worse."
    )


def test_a_reranker_that_changes_next_to_nothing_is_not_deployed(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "idle", first, {10: first + noisy(0.0, 0.01, COUNT, 1)})
    assert judged(tmp_path).verdict.sentence == "Do not rerank: nothing here helps."


def test_a_sure_gain_below_delta_is_not_worth_reranking(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "small", first, {10: first + noisy(0.004, 0.005, COUNT, 1)})
    assert judged(tmp_path).verdict.sentence == "Do not rerank: what helps gains less than 0.01 nDCG@10."
    assert judged(tmp_path, Report(delta=0.001)).verdict.kind == DEPLOY


@pytest.mark.parametrize("count", [1, 2, 8])
def test_few_queries_crown_nobody(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(3)
    first = rng.uniform(0.2, 0.6, count)
    write_run(tmp_path / "0", "a", first, {10: first + noisy(0.03, 0.2, count, 1)})
    found = judged(tmp_path)
    assert (found.verdict.kind, found.verdict.arm) == (UNKNOWN, None)
    assert found.verdict.sentence.startswith("The data cannot tell")
    assert any("queries" in line for line in found.verdict.reasons)


def test_a_budget_takes_arms_out_and_says_why(tmp_path: Path, first: np.ndarray) -> None:
    depths = {10: first + noisy(0.1, 0.05, COUNT, 1), 100: first + noisy(0.2, 0.05, COUNT, 2)}
    write_run(tmp_path / "0", "minilm", first, depths)
    write_run(tmp_path / "1", "untimed", first, {10: first + noisy(0.3, 0.05, COUNT, 3)}, latency_ms=None)
    write_race(tmp_path, proportional("stage", "minilm", (10, 100), 60))
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=50)))
    reasons = {arm.name: why for arm, why in zip(found.contest.arms, found.excluded, strict=True)}
    assert name_of(found) == "minilm@10"
    assert re.fullmatch(r"p95 latency \[1\d\d\.?\d?, 1\d\d\.?\d?\] ms is above 50", reasons["minilm@100"])
    assert reasons["untimed@10"].startswith(
        "p95 latency was not measured (it took no part in the race: rerank"
    )
    assert reasons["no reranking"] == ""


def two_stages(
    folder: Path, bm25: np.ndarray, dense: np.ndarray, reranked: dict[str, np.ndarray]
) -> Findings:
    """Both first stages alone, and the reranker after those that `reranked` has values of."""
    for stage, first in (("bm25", bm25), ("dense", dense)):
        params, identity = {"first_stage": stage, "reranker": "minilm"}, {"candidates": stage}
        depths = {10: reranked[stage]} if stage in reranked else None
        identity["reranker"] = "m" if depths else ""
        write_run(folder / stage, "minilm", first, depths, params=params, identity=identity)
    return judged(folder)


def said(found: Findings) -> str:
    return " ".join([found.verdict.sentence, *found.verdict.reasons])


def test_with_several_first_stages_every_sentence_names_what_it_compares_with(
    tmp_path: Path, first: np.ndarray
) -> None:
    """An arm may gain much over its own first stage where the other one is better as it is."""
    bm25 = first + noisy(0.3, 0.01, COUNT, 1)
    found = two_stages(
        tmp_path, bm25, first, {"bm25": bm25 - 0.1, "dense": first + noisy(0.1, 0.05, COUNT, 2)}
    )
    assert found.verdict.kind == NONE
    assert found.verdict.sentence == (
        "Do not rerank: use bm25 as it is, which is as good as the best here within 0.01 nDCG@10."
    )
    text = said(found)
    assert "No arm can be better than bm25 without reranking by 0.01 nDCG@10 or more" in text
    assert "Worse than bm25 without reranking for certain: bm25 + minilm@10." in text
    assert "The largest gain, dense + minilm@10: +0.1000" in text
    assert "nDCG@10 against dense without reranking (p < 0.001)." in text
    assert "not reranking" not in text + markdown.markdown(found)
    assert "not reranking" not in html.page(found)
    assert "vs. own first stage" in [column.heading for column in table.columns(found)]


def test_the_deployed_arm_of_several_first_stages_is_compared_with_its_own(
    tmp_path: Path, first: np.ndarray
) -> None:
    found = two_stages(tmp_path, first - 0.1, first, {"dense": first + noisy(0.1, 0.05, COUNT, 1)})
    assert found.verdict.kind == DEPLOY
    assert "Against dense without reranking: +0.1000" in said(found)
    assert "not reranking" not in said(found)


def test_of_several_first_stages_the_one_is_named_that_the_best_arm_is_better_than(
    tmp_path: Path, first: np.ndarray
) -> None:
    dense = first[:40]
    found = two_stages(
        tmp_path, dense + noisy(0.15, 0.4, 40, 3), dense, {"dense": dense + noisy(0.2, 0.1, 40, 1)}
    )
    assert found.verdict.kind == BEST
    assert "is better than dense without reranking" in found.verdict.sentence


def test_an_arm_that_helps_is_not_denied_where_the_best_one_cannot_be_told(
    tmp_path: Path, first: np.ndarray
) -> None:
    """The best arm here is one that may help as well as hurt; the other one helps for certain."""
    depths = {10: first + noisy(0.02, 0.01, COUNT, 1), 100: first + noisy(0.03, 0.5, COUNT, 2)}
    write_run(tmp_path / "0", "minilm", first, depths)
    found = judged(tmp_path)
    assert found.verdict.kind == UNKNOWN
    assert "minilm@10 is shown to beat not reranking, but no arm" in found.verdict.sentence


def test_nothing_within_the_budget_is_no_verdict(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "minilm", first, {10: first + 0.1})
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=1)))
    assert found.verdict.sentence == "No verdict: no reranker is within the budget."
    assert found.verdict.reasons == (
        "minilm@10: p50 latency 10 ms is above 1.",
        "Raise the bound in report.budget, or measure a smaller model or a smaller depth.",
    )


def test_a_budget_of_what_was_never_measured_says_so_and_how_to_measure_it(
    tmp_path: Path, first: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    depths = {10: first + 0.1, 50: first + 0.1}
    write_run(tmp_path / "0", "minilm", first, depths, latency_ms=None)
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=5)))
    assert found.verdict.sentence == (
        "No verdict: of no reranker is it known whether it is within the budget."
    )
    reason = (
        "minilm@10, minilm@50: p95 latency was not measured (there was no race: rerankbench-report --race "
        f"{tmp_path / '0'} report.budget.latency_p95_ms=5)."
    )
    assert found.verdict.reasons == (reason,)
    terminal.show(found, tmp_path / "report.html")
    for text in (capsys.readouterr().out, html.page(found), markdown.markdown(found)):
        assert reason in text.replace("\\_", "_").replace("\\~", "~")


def test_many_reasons_why_nothing_is_within_the_budget_are_cut(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "minilm", first, dict.fromkeys(range(10, 90, 10), first + 0.1))
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=1)))
    assert "The table of arms has 2 more reasons." in found.verdict.reasons
    assert len(found.verdict.reasons) == 8


RUN = Run(Path(), "", {"environment": {}, "params": {}})


def simulated(values: np.ndarray, depths: list[int]) -> tuple[Contest, Ordering]:
    """A contest of values [arms, queries], the first of which does not rerank."""
    arms = tuple(
        Arm("s", "r" if d else "", None, d, RUN, curve="r", stage_name="s", name=str(d)) for d in depths
    )
    contest = Contest("ndcg_at_10", tuple(map(str, range(values.shape[1]))), arms, {"ndcg_at_10": values})
    return contest, ordering(arms, [Cost(parameters_m=33.0) for _ in depths])


@pytest.mark.parametrize(
    ("truth", "spread"),
    [
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.05),  # nothing helps: every claim of help is false
        ((0.0, 0.04, 0.04, 0.04, 0.04, 0.05), 0.01),  # the cheap arms are delta below the best one
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.01), 0.01),  # not reranking is delta below the best one
    ],
)
def test_at_most_one_report_in_twenty_makes_a_false_claim(
    truth: tuple[float, ...], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Holm's correction it is up to one in six.

    A verdict is false if the arm helps nothing in truth, or is delta or more below the truly best one.
    """
    monkeypatch.setattr(comparing, "PERMUTATIONS", 400)
    monkeypatch.setattr(comparing, "bootstrap_intervals", quick_intervals)
    rng, trials, false = np.random.default_rng(7), 800, 0
    means, depths = np.array(truth), [0, 10, 20, 50, 100, 200]
    for _ in range(trials):
        shared = rng.normal(0, 0.2, 50)
        values = 0.5 + means[:, None] + shared + rng.normal(0, spread, (6, 50))
        contest, order = simulated(values, depths)
        verdict = decide(contest, comparing.compare(contest, range(6), 0.01, 0.95), order)
        if verdict.kind in (DEPLOY, BEST):
            assert verdict.arm is not None
            too_far = verdict.kind == DEPLOY and means[verdict.arm] <= means.max() - 0.01 + 1e-12
            false += means[verdict.arm] <= 0 or too_far
        elif verdict.kind == NONE:
            false += bool(means.max() >= 0.01)
    assert false / trials <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)


def quick_intervals(values: np.ndarray, **_: object) -> list[Interval]:
    """The intervals do not decide; without them thousands of verdicts take seconds."""
    return [Interval(m, m, m) for m in values.mean(axis=1)]
