"""What a report says of arrangements: costs, what it recommends, its answers, and who is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.arrangements.arrangement import CASCADE, EXIT, FUSION
from rerankbench.report.arrangements.field import Field
from rerankbench.report.claims.verdict import DEPLOY, NONE
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.page import html, markdown
from rerankbench.report.race.record import FILE, Cell, read
from rerankbench.report.settings import Budget, Report
from scored_runs import Drawn, Scores, first_scores, write_scored
from simulated_runs import write_failure, write_race

COUNT, WIDTH = 1000, 20
FIXED = {"small": 3.0, "large": 10.0}
EACH = {"small": 0.1, "large": 2.0}  # ms a document
DEPTHS = (5, 10, 20)


def few_relevant(count: int = COUNT) -> Drawn:
    """Three relevant documents of different grades in every list of candidates, anywhere in it."""
    rng = np.random.default_rng(0)
    grades = np.zeros((count, WIDTH), np.int32)
    places = rng.permuted(np.tile(np.arange(WIDTH), (count, 1)), axis=1)[:, :3]
    np.put_along_axis(grades, places, np.array([[1, 2, 3]], np.int32), axis=1)
    return Drawn(grades, np.full(count, WIDTH), missed=0)


def knowing(pool: Drawn, seed: int, *, grades: bool) -> Scores:
    """Scores that know what is relevant, or even how much so."""
    noise = np.random.default_rng(seed).uniform(0, 0.9, pool.grades.shape)
    return (noise + (pool.grades if grades else 10 * (pool.grades > 0))).astype(np.float32)


def times(count: int = 80) -> dict[Cell, Any]:
    """Raced milliseconds: a fixed part and one by document, of some queries more than of others."""
    rng = np.random.default_rng(1)
    found: dict[Cell, Any] = {Cell("stage"): 5 * rng.uniform(0.9, 1.1, count)}
    for name in EACH:
        for depth in DEPTHS:
            found[Cell("stage", name, None, depth)] = (FIXED[name] + EACH[name] * depth) * rng.uniform(
                0.9, 1.1, count
            )
    return found


def sweep(folder: Path) -> Path:
    """`small` knows which documents are relevant, `large`, which is dear, how relevant they are."""
    pool = few_relevant()
    first = first_scores(pool, 2)
    write_scored(folder / "0", "none", pool, first, depths=DEPTHS)
    write_scored(folder / "1", "small", pool, first, {None: knowing(pool, 3, grades=False)}, DEPTHS)
    write_scored(folder / "2", "large", pool, first, {None: knowing(pool, 4, grades=True)}, DEPTHS)
    write_race(folder, times())
    return folder


def judged(folder: Path, **settings: Any) -> Findings:
    return find_out(find([folder]), Report(**settings), read(folder / FILE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    return judged(folder)


@pytest.fixture(scope="module")
def report(findings: Findings) -> dict[str, Any]:
    return dict(json.loads(document.to_json(findings)))


def field_of(findings: Findings) -> Field:
    assert findings.arranged is not None
    return findings.arranged.field


def row_of(field: Field, kind: str, *steps: str, share: float = 0.0) -> int:
    """The row of an arrangement of some steps; of early exits the one that about so many queries take."""
    arms = [arm.name for arm in field.contest.arms]
    rows = [
        field.plain + i
        for i, each in enumerate(field.arrangements)
        if each.kind == kind and [arms[row] for row in each.steps] == list(steps)
    ]
    return min(rows, key=lambda row: abs(field.arrangements[row - field.plain].share - share))


def test_a_cascade_that_is_as_good_at_less_cost_is_recommended(
    findings: Findings, report: dict[str, Any]
) -> None:
    verdict = findings.verdict
    assert (verdict.kind, verdict.arm) == (DEPLOY, None)
    assert verdict.sentence.startswith("Deploy dense, then small at depth 20, then large at depth 5")
    assert ": as good as large at depth 20 within 0.01 nDCG@10, at 0." in verdict.sentence
    assert verdict.sentence.endswith("] of its latency.")
    steps = {arm["name"]: arm["steps"] for arm in report["arms"]}
    assert [step["reranker"] for step in steps[report["verdict"]["arm"]]] == ["small", "large"]
    said = " ".join(verdict.reasons)
    assert "arrangements of the scored rerankers" in said
    assert "overstatement" in said
    assert "Of the plain arms alone: Deploy large at depth 20" in said


def test_without_arrangements_plain_arms_keep_the_whole_chance_of_a_false_claim(folder: Path) -> None:
    plain = judged(folder, arrangements=False)
    assert plain.arranged is None
    assert plain.comparison.own_alpha == pytest.approx(0.05)
    assert plain.verdict.sentence.startswith("Deploy large at depth 20")
    assert judged(folder).comparison.own_alpha == pytest.approx(0.04)


def test_a_cascade_costs_its_steps_on_each_query_with_the_fixed_part_of_both(findings: Findings) -> None:
    field, raced = field_of(findings), times()
    row = row_of(field, CASCADE, "small@20", "large@5")
    both = raced[Cell("stage", "small", None, 20)] + raced[Cell("stage", "large", None, 5)]
    assert field.costs[row].latency_p50_ms == pytest.approx(np.median(both))
    assert 20 < float(np.median(both)) < 30  # 3 + 2 + 10 + 10: neither fixed part is forgotten
    low, high = field.costs[row].latency_p50_interval or (0, 0)
    assert low < np.median(both) < high
    assert field.costs[row].query_p50_ms == pytest.approx(np.median(both + raced[Cell("stage")]))
    assert field.costs[row].memory_mb == 1400  # both processes'


def test_an_early_exit_saves_the_share_of_the_queries_that_take_it(findings: Findings) -> None:
    field, raced = field_of(findings), times()
    row = row_of(field, EXIT, "small@20", "large@5", share=0.5)
    each = field.arrangement(row)
    assert each is not None
    assert each.share == pytest.approx(0.5, abs=0.02)
    small, large = raced[Cell("stage", "small", None, 20)], raced[Cell("stage", "large", None, 5)]
    assert field.costs[row].latency_p50_ms == pytest.approx(np.median(small + (1 - each.share) * large))
    high = field.costs[row].latency_p95_interval
    assert high is not None
    assert high[1] > np.quantile(small + large, 0.94)  # one query in twenty takes all steps
    plain = row_of(field, CASCADE, "small@20", "large@5")
    assert (field.costs[row].latency_p50_ms or 0) < (field.costs[plain].latency_p50_ms or 0)


def test_a_fusion_of_two_costs_both(findings: Findings) -> None:
    field, raced = field_of(findings), times()
    row = row_of(field, FUSION, "small@10", "large@10")
    both = raced[Cell("stage", "small", None, 10)] + raced[Cell("stage", "large", None, 10)]
    assert field.costs[row].latency_p50_ms == pytest.approx(np.median(both))


def test_every_budget_and_margin_has_an_answer(report: dict[str, Any]) -> None:
    answers = report["answers"]
    margins = {answer["margin"] for answer in answers}
    assert {0.0, 0.01, 0.1} <= margins
    asked = {(a["budget"], a["bound"]) for a in answers}
    assert {
        (kind, bound) for kind in ("latency_p50_ms", "latency_p95_ms") for bound in (50, 100, 200, 500)
    } <= asked
    assert {"memory_mb", None} <= {budget for budget, _ in asked}
    assert len(answers) == len(asked) * len(margins)
    names = {arm["name"] for arm in report["arms"]}
    assert all(answer["arm"] is None or answer["arm"] in names for answer in answers)


def test_an_answer_never_costs_more_than_its_budget(report: dict[str, Any]) -> None:
    costs = {arm["name"]: arm["cost"] for arm in report["arms"]}
    for answer in report["answers"]:
        for name in (answer["arm"], answer["choice"]):
            if answer["budget"] == "latency_p50_ms" and name not in (None, "no reranking"):
                assert costs[name]["latency_p50_interval"][1] <= answer["bound"]


def test_more_margin_never_costs_more(report: dict[str, Any]) -> None:
    """What is shown at one margin is shown at every larger one."""
    costs = {arm["name"]: arm["relative_cost"] for arm in report["arms"]}
    held: dict[Any, float] = {}
    for answer in sorted(report["answers"], key=lambda a: a["margin"]):
        key = (answer["budget"], answer["bound"])
        if answer["kind"] == "deploy":
            assert costs[answer["arm"]] <= held.get(key, np.inf) + 1e-9
            held[key] = costs[answer["arm"]]
        assert answer["kind"] == "deploy" or key not in held or answer["kind"] == "do not rerank"


def test_the_staircase_says_do_not_rerank_where_nothing_fits(findings: Findings) -> None:
    for text in (html.page(findings), markdown.markdown(findings)):
        assert "do not rerank within this budget: no reranker is known to fit" in text
        assert "up to" in text


def test_a_budget_of_the_report_holds_for_arrangements(folder: Path) -> None:
    found = judged(folder, budget=Budget(latency_p95_ms=25))
    assert found.arranged is not None
    field = found.arranged.field
    over = {field.name(row): why for row, why in enumerate(found.arranged.excluded) if why}
    assert "small@20 > large@10" in over
    assert "p95 latency" in over["small@20 > large@10"]
    assert found.arranged.headline.arm is None or not found.arranged.excluded[found.arranged.headline.arm]


def test_a_budget_that_nothing_fits_says_not_to_rerank(folder: Path) -> None:
    found = judged(folder, budget=Budget(latency_p95_ms=1))
    assert found.verdict.sentence == "Do not rerank within this budget: no reranker fits."
    assert found.arranged is not None
    assert (found.arranged.headline.kind, found.arranged.headline.fits) == (NONE, 0)


def test_who_lacks_scores_is_told_apart_from_who_failed(tmp_path: Path) -> None:
    pool = few_relevant(60)
    first = first_scores(pool, 2)
    write_scored(tmp_path / "0", "small", pool, first, {None: knowing(pool, 3, grades=False)}, DEPTHS)
    write_scored(tmp_path / "1", "large", pool, first, {None: knowing(pool, 4, grades=True)}, DEPTHS)
    (tmp_path / "1" / "scores.parquet").unlink()
    write_scored(tmp_path / "2", "other", pool, first, {None: knowing(pool, 5, grades=True)}, DEPTHS)
    write_scored(tmp_path / "x", "other", pool, first, {None: knowing(pool, 6, grades=False)}, DEPTHS)
    (tmp_path / "x" / "scores.parquet").rename(tmp_path / "2" / "scores.parquet")  # of another model
    for name in ("result.json", "per_query.parquet"):
        (tmp_path / "x" / name).unlink()
    write_failure(tmp_path / "3", "broken@20", "no such model")
    found = document.document(judged(tmp_path))
    lacking = {each["reranker"]: each["why"] for each in found["lacking"]}
    assert lacking == {
        "large": "its run has no scores.parquet",
        "other": "its scores do not give the measures of its table",
    }
    assert [each["arm"] for each in found["failed"]] == ["broken@20"]
    used = {step["reranker"] for arm in found["arms"] if arm["kind"] != "plain" for step in arm["steps"]}
    assert used == {"small"}


def perfect(folder: Path, queries: int, gain: float = 0.0) -> Findings:
    """A first stage that is perfect already, or nearly."""
    pool = few_relevant()
    grades = -np.sort(-pool.grades[:queries], axis=1)
    if gain:
        grades[:, [0, 1]] = grades[:, [1, 0]]
    ideal = Drawn(grades, pool.length[:queries], missed=0)
    scores = np.random.default_rng(9).normal(size=grades.shape).astype(np.float32)
    write_scored(folder / "0", "small", ideal, first_scores(ideal, 2), {None: scores}, DEPTHS)
    return find_out(find([folder]), Report())


def test_a_perfect_first_stage_is_too_easy(tmp_path: Path) -> None:
    found = perfect(tmp_path, COUNT)
    assert found.verdict.kind == NONE
    assert "too easy; dense alone reaches nDCG@10 1.0000" in found.verdict.sentence
    assert "Too easy to tell" in perfect(tmp_path / "few", 12).verdict.sentence


def test_ten_queries_are_too_small_to_tell(tmp_path: Path) -> None:
    found = perfect(tmp_path, 10, gain=0.1)
    assert found.verdict.sentence.startswith("Too small to tell: 10 queries do not show")
    assert "can only show gains of 0.38 or more" in found.verdict.sentence  # 0.04 ** (-1 / 10) - 1


def test_why_no_arrangement_is_shown_is_said(tmp_path: Path) -> None:
    found = perfect(tmp_path, 43, gain=0.1)
    told = "for one that is not better, that takes at least 459 queries (here 43)"
    assert any(told in line for line in found.verdict.reasons)
