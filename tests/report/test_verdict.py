"""The verdict on simulated runs whose truth is known, and its error rate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rerankbench.basics.errors import UserError
from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.claims.decision import choose
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, UNKNOWN, decide
from rerankbench.report.costs.cost import Ordering
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.page import html, markdown, table, terminal
from rerankbench.report.race.record import FILE, read
from rerankbench.report.settings import Budget, Report
from simulated_runs import noisy, proportional, write_failure, write_race, write_run

COUNT = 1_000


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
        "40 queries cannot distinguish it from 1 other arm: minilm@10" in line
        for line in found.verdict.reasons
    )


def test_a_reranker_that_hurts_is_not_deployed(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "random", first, {10: first + noisy(-0.2, 0.1, COUNT, 1)})
    found = judged(tmp_path)
    assert found.verdict.kind == NONE
    assert found.verdict.sentence == "Do not rerank: every arm makes the ranking worse."


def test_a_reranker_that_changes_next_to_nothing_is_not_deployed(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "idle", first, {10: first + noisy(0.0, 0.01, COUNT, 1)})
    assert judged(tmp_path).verdict.sentence == "Do not rerank: no arm gains 0.01 nDCG@10 or more."


def test_a_sure_gain_below_delta_is_not_worth_reranking(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "small", first, {10: first + noisy(0.004, 0.005, COUNT, 1)})
    assert (
        judged(tmp_path).verdict.sentence == "Do not rerank: the arms that help gain less than 0.01 nDCG@10."
    )
    assert judged(tmp_path, Report(delta=0.001)).verdict.kind == DEPLOY


@pytest.mark.parametrize("count", [1, 2, 8])
def test_few_queries_crown_nobody(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(3)
    first = rng.uniform(0.2, 0.6, count)
    write_run(tmp_path / "0", "a", first, {10: first + noisy(0.03, 0.2, count, 1)})
    found = judged(tmp_path)
    assert (found.verdict.kind, found.verdict.arm) == (UNKNOWN, None)
    assert found.verdict.sentence.startswith("Too small to tell")
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
        "Do not rerank: use bm25 alone, which is as good as the best of all arms here within 0.01 nDCG@10."
    )
    text = said(found)
    assert "No arm is better than bm25 without reranking by 0.01 nDCG@10 or more" in text
    assert "Worse than bm25 without reranking: bm25 + minilm@10." in text
    assert "Largest gain, dense + minilm@10: +0.1000" in text
    assert "nDCG@10 against dense without reranking (p < 0.001);" in text
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


def test_of_several_first_stages_the_best_arm_has_to_beat_every_one(
    tmp_path: Path, first: np.ndarray
) -> None:
    dense = first[:40]
    found = two_stages(
        tmp_path,
        dense - 0.1,
        dense,
        {"dense": dense + noisy(0.2, 0.1, 40, 1), "bm25": dense + noisy(0.19, 0.1, 40, 2)},
    )
    assert found.verdict.kind == BEST
    assert "is better than every first stage without reranking" in found.verdict.sentence


def test_an_arm_that_helps_is_not_denied_where_the_best_one_cannot_be_told(
    tmp_path: Path, first: np.ndarray
) -> None:
    """The best arm here is one that may help as well as hurt; the other one is shown to help."""
    depths = {10: first + noisy(0.02, 0.01, COUNT, 1), 100: first + noisy(0.03, 0.7, COUNT, 2)}
    write_run(tmp_path / "0", "minilm", first, depths)
    found = judged(tmp_path)
    assert found.verdict.kind == UNKNOWN
    assert (
        "minilm@10 is shown to beat not reranking, but 1,000 queries do not show which arm"
        in found.verdict.sentence
    )


def test_nothing_within_the_budget_is_no_verdict(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "minilm", first, {10: first + 0.1})
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=1)))
    assert found.verdict.sentence == "Do not rerank within this budget: no reranker fits."
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
    assert found.verdict.sentence == ("Do not rerank within this budget: no reranker is known to fit.")
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
    assert "2 more reasons are in the table of arms." in found.verdict.reasons
    assert len(found.verdict.reasons) == 8


def names_left_out(found: Findings) -> dict[str, str]:
    return {each.arm: each.kind for each in found.left_out}


def test_an_arm_over_the_budget_restricts_what_is_claimed_and_is_named(
    tmp_path: Path, first: np.ndarray
) -> None:
    depths = {10: first + noisy(0.0, 0.005, COUNT, 1), 100: first + noisy(0.2, 0.05, COUNT, 2)}
    write_run(tmp_path / "0", "minilm", first, depths)
    write_race(tmp_path, proportional("stage", "minilm", (10, 100), 60))
    found = judged(tmp_path, Report(budget=Budget(latency_p95_ms=50)))
    assert found.verdict.sentence == "Do not rerank: no arm within the budget gains 0.01 nDCG@10 or more."
    left = (
        "The verdict does not cover: minilm@100 (p95 latency [108.5, 109.6] ms is above 50; +0.2000 nDCG@10)."
    )
    assert left in found.verdict.reasons
    assert names_left_out(found) == {"minilm@100": "over the budget"}
    assert document.document(found)["left_out"][0]["arm"] == "minilm@100"


def test_a_failed_run_restricts_what_is_claimed_and_is_named(tmp_path: Path, first: np.ndarray) -> None:
    write_run(tmp_path / "0", "minilm", first, {10: first + noisy(0.0, 0.005, COUNT, 1)})
    write_failure(tmp_path / "1", "large@100", "out of memory")
    found = judged(tmp_path)
    assert "no arm with complete results gains 0.01 nDCG@10 or more" in found.verdict.sentence
    assert "The verdict does not cover: large@100 (the run failed: out of memory)." in found.verdict.reasons


def test_a_failure_that_was_run_again_is_not_left_out(tmp_path: Path, first: np.ndarray) -> None:
    params = {"first_stage": "dense", "reranker": "minilm"}
    write_run(tmp_path / "0", "minilm", first, {10: first + noisy(0.0, 0.005, COUNT, 1)}, params=params)
    write_failure(tmp_path / "1", "minilm@10", "out of memory", params=params)
    found = judged(tmp_path)
    assert found.left_out == ()
    assert "complete" not in found.verdict.sentence


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_leaves_its_arm_out_and_is_named(
    tmp_path: Path, first: np.ndarray, value: float
) -> None:
    best = first + noisy(0.2, 0.05, COUNT, 2)
    best[7] = value
    write_run(tmp_path / "0", "minilm", first, {10: first + noisy(0.0, 0.005, COUNT, 1), 100: best})
    found = judged(tmp_path)
    assert "no arm with complete results gains 0.01 nDCG@10 or more" in found.verdict.sentence
    assert names_left_out(found) == {"minilm@100": "not a number"}
    assert "minilm@100 (nDCG@10 is not a number for 1 of 1,000 queries)" in said(found)
    for text in (html.page(found), markdown.markdown(found)):
        assert "is not a number for 1 of 1,000 queries" in text.replace("\\", "")


def test_a_column_without_any_number_is_named_too(tmp_path: Path, first: np.ndarray) -> None:
    depths = {10: first + noisy(0.1, 0.05, COUNT, 1), 100: np.full(COUNT, np.nan)}
    write_run(tmp_path / "0", "minilm", first, depths)
    assert "minilm@100 (nDCG@10 is not a number for 1,000 of 1,000 queries)" in said(judged(tmp_path))


def test_a_first_stage_without_a_number_takes_its_arms_out_and_leaves_the_other_one(
    tmp_path: Path, first: np.ndarray
) -> None:
    broken = first.copy()
    broken[3] = np.nan
    found = two_stages(tmp_path, first - 0.1, broken, {"dense": first, "bm25": first})
    left = {"dense without reranking": "not a number", "dense + minilm@10": "not a number"}
    assert names_left_out(found) == left
    assert "with complete results" in found.verdict.sentence
    assert [arm.stage_name for arm in found.contest.arms] == ["bm25", "bm25"]


def test_a_first_stage_without_a_number_and_no_other_is_one_line_each(
    tmp_path: Path, first: np.ndarray
) -> None:
    broken = first.copy()
    broken[3] = np.nan
    write_run(tmp_path / "0", "minilm", broken, {10: first})
    with pytest.raises(UserError, match="no reranking: nDCG@10 is not a number for 1 of 1,000 queries; run"):
        judged(tmp_path)


@pytest.mark.parametrize(
    ("said_so", "named"),
    [
        ("minilm@10", "dense + minilm@10"),
        ("no reranking", "dense without reranking"),
        ("dense + minilm@10", "dense + minilm@10"),
    ],
)
def test_a_failed_run_is_named_with_its_first_stage_where_there_are_several(
    said_so: str, named: str, tmp_path: Path, first: np.ndarray
) -> None:
    """Alone, a run leaves out the usual first stage; beside "bm25 + minilm@10" it must not."""
    two_stages(tmp_path, first - 0.1, first, {"bm25": first})
    write_failure(tmp_path / "failed", said_so, "no weights", params={"first_stage": "dense"})
    assert [each.arm for each in judged(tmp_path).left_out] == [named]


def test_what_to_choose_says_where_not_even_a_first_stage_is_within_the_budget(
    tmp_path: Path, first: np.ndarray
) -> None:
    two_stages(tmp_path, first - 0.1, first, {"bm25": first, "dense": first + 0.1})
    found = judged(tmp_path, Report(budget=Budget(memory_mb=1)))
    assert found.decision is not None
    assert "without reranking (no arm is known to be within the budget)" in found.decision.sentence
    usual = judged(tmp_path)
    assert usual.decision is not None
    assert "budget" not in usual.decision.sentence


def test_every_arm_out_for_another_reason_is_no_verdict_that_names_them(
    tmp_path: Path, first: np.ndarray
) -> None:
    write_run(tmp_path / "0", "none", first)
    write_failure(tmp_path / "1", "minilm@10", "no weights")
    found = judged(tmp_path)
    assert found.verdict.sentence == "No verdict: no reranker has complete results."
    assert "minilm@10 (the run failed: no weights)" in said(found)


def test_the_first_stage_that_is_best_alone_is_not_beaten_by_an_arm_of_another(
    tmp_path: Path, first: np.ndarray
) -> None:
    """The reranker gains 0.1 over its own first stage and stays 0.05 below the other one as it is."""
    bm25 = first + 0.15
    found = two_stages(tmp_path, bm25, first, {"dense": first + noisy(0.1, 0.05, COUNT, 1)})
    arm = next(i for i, arm in enumerate(found.contest.arms) if arm.name == "dense + minilm@10")
    assert found.comparison.arms[arm].gain_p < 0.001
    assert not found.comparison.helps(arm)
    assert found.verdict.kind == NONE
    assert found.verdict.sentence.startswith("Do not rerank: use bm25 alone")
    assert found.decision is not None
    assert found.contest.arms[found.decision.arm].name == "bm25 without reranking"


@pytest.mark.parametrize("count", [2, 10, 50])
def test_queries_that_do_not_change_are_no_evidence_that_nothing_helps(tmp_path: Path, count: int) -> None:
    first = np.resize([0.0, 1.0], count)
    write_run(tmp_path / "0", "minilm", first, {10: first, 100: first})
    found = judged(tmp_path)
    assert found.verdict.kind == UNKNOWN
    text = said(found)
    assert f"0 queries helped, 0 hurt, {count} unchanged" in text
    assert "it takes at least 299 queries to show that two arms are within 0.01" in text
    assert "takes about" not in text, "advice by a spread of 0"


def test_three_over_delta_queries_without_a_change_are_enough(tmp_path: Path) -> None:
    """The rule of three, with one arm: 299 queries show it and 298 do not."""
    for count, kind in ((298, UNKNOWN), (299, NONE)):
        first = np.resize([0.0, 1.0], count)
        write_run(tmp_path / str(count), "minilm", first, {10: first})
        assert judged(tmp_path / str(count)).verdict.kind == kind


def test_the_largest_loss_and_what_choosing_adds_are_said(tmp_path: Path, first: np.ndarray) -> None:
    gains = noisy(0.1, 0.05, COUNT, 1)
    gains[5] = -0.15
    write_run(tmp_path / "0", "minilm", first, {10: first + gains, 100: first + noisy(0.1, 0.2, COUNT, 3)})
    found = judged(tmp_path)
    assert "; largest loss" in said(found)
    assert "Because it is the highest of 2 arms on the same queries, its gain is overstated by about" in said(
        found
    )
    top = document.document(found)["top_gain"]
    assert top["low"] < top["corrected"] < top["mean"] < top["high"]


def test_the_decision_is_shown_everywhere_and_marked(
    tmp_path: Path, first: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "0", "minilm", first, {10: first + noisy(0.1, 0.05, COUNT, 1)})
    found = judged(tmp_path)
    assert found.decision is not None
    sentence = found.decision.sentence
    assert sentence == (
        "If you must choose now (a decision, not a finding): minilm@10; expected loss about 0.0000 nDCG@10; "
        "with 95% confidence, no other arm is better; chance that it beats not reranking: more than 99%."
    )
    assert document.document(found)["decision"]["arm"] == "minilm@10"
    terminal.show(found, tmp_path / "report.html")
    for text in (capsys.readouterr().out, html.page(found), markdown.markdown(found)):
        assert sentence in " ".join(text.replace("\\", "").split())


def test_arms_of_unknown_cost_are_never_the_cheapest(tmp_path: Path, first: np.ndarray) -> None:
    deep = first + noisy(0.1, 0.02, COUNT, 1)
    write_run(tmp_path / "0", "minilm", first, {10: deep, 100: deep})
    found = judged(tmp_path)
    unknown = next(i for i, arm in enumerate(found.contest.arms) if arm.name == "minilm@10")
    values = found.order.values.copy()
    values[unknown] = np.nan
    order = Ordering(found.order.basis, values)
    verdict = decide(found.contest, found.comparison, order)
    assert verdict.arm is not None
    assert found.contest.arms[verdict.arm].name == "minilm@100"
    assert "Cost unknown: minilm@10." in verdict.reasons
    decision = choose(found.contest, found.comparison, order)
    assert decision is not None
    assert found.contest.arms[decision.arm].name == "minilm@100"
    assert "minilm@100 (of the arms whose cost is known); expected loss" in decision.sentence
    every = Ordering(found.order.basis, np.full(len(values), np.nan))
    verdict = decide(found.contest, found.comparison, every)
    assert "at nan" not in verdict.sentence
    decision = choose(found.contest, found.comparison, every)
    assert decision is not None
    assert "(its cost is not known)" in decision.sentence
