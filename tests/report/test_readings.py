"""What a reader takes from a report: budgets, prices, intervals, what is beaten, and what is left to gain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench import compare
from rerankbench.evaluation.evaluation import Measured
from rerankbench.evaluation.significance import difference_interval
from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.arrangements.answers import P50, Answer
from rerankbench.report.arrangements.words import UNITS, Teller
from rerankbench.report.claims.verdict import BEST, NONE, UNKNOWN
from rerankbench.report.evidence.lists import QRELS
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.page import html, markdown, terminal
from rerankbench.report.race.record import FILE, Cell, read
from rerankbench.report.settings import Budget, Report
from scored_runs import Drawn, first_scores, scores_like, write_scored
from simulated_runs import proportional, write_race, write_run

DEPTHS = (5, 10, 20)


def judged(folder: Path, **settings: Any) -> Findings:
    return find_out(find([folder]), Report(**settings), read(folder / FILE))


def pool(queries: int, share: float, seed: int = 0) -> Drawn:
    """Lists of 20 candidates, of which about so many are relevant."""
    rng = np.random.default_rng(seed)
    grades = rng.choice(np.array([0, 1], np.int32), (queries, 20), p=[1 - share, share])
    return Drawn(grades, np.full(queries, 20), missed=0)


def write_sweep(
    folder: Path, drawn: Drawn, name: str = "minilm", seed: int = 2, skill: float = 5.0, **changes: Any
) -> Path:
    scores = scores_like(drawn, seed, skill, ties=False)
    first = first_scores(drawn, 1)
    return write_scored(folder / name, name, drawn, first, {None: scores}, **changes)


def judgements(drawn: Drawn) -> Iterator[str]:
    """The lines of qrels.trec."""
    for query, grades in drawn.qrels().items():
        yield from (f"{query} 0 {doc} {grade}\n" for doc, grade in grades.items())


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A sweep whose arms take 5, 10 and 20 ms."""
    folder = tmp_path_factory.mktemp("raced")
    write_sweep(folder, pool(800, 0.15))
    write_race(folder, proportional("stage", "minilm", DEPTHS, 100))
    return judged(folder)


@pytest.fixture(scope="module")
def competing(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A poor first stage that takes 5 ms and a better one that takes 50, both reranked."""
    folder = tmp_path_factory.mktemp("competing")
    times: dict[Cell, Any] = {}
    for stage, share, slow in (("bm25", 0.15, 1), ("dense", 0.3, 10)):
        own = {"candidates": stage, "embedder": "", "reranker": "minilm"}
        settings = {"first_stage": stage, "reranker": "minilm"}
        write_sweep(folder / stage, pool(400, share, slow), identity=own, params=settings)
        found = proportional(stage, "minilm", DEPTHS, 100)
        times |= {cell: each * (1 if cell.reranker else slow) for cell, each in found.items()}
    write_race(folder, times)
    return judged(folder)


def answers_of(found: Findings, budget: str) -> list[Answer]:
    """At the report's margin, by rising bounds."""
    every = found.answered.answers
    return [each for each in every if each.budget == budget and each.margin == found.settings.delta]


def test_at_every_bound_the_staircase_says_what_the_answer_to_it_says(raced: Findings) -> None:
    teller = Teller(raced.answered, 0.01)
    steps = [step for step in teller.staircase() if step.unit == UNITS[P50]]
    assert len(steps) > 3
    for answer in answers_of(raced, P50):
        [step] = [s for s in steps if (s.first or 0.0) <= (answer.bound or 0.0) <= s.last]
        assert step.advice == teller.within(answer)


def test_a_budget_is_never_said_to_allow_what_is_above_it(raced: Findings) -> None:
    """minilm@20 takes 20 ms: whoever has 16 must not read that it is for budgets of up to 30."""
    steps = document.document(raced)["arrangements"]["staircase"]
    assert (steps[0]["from"], steps[0]["up_to"]) == (None, "1.5 ms (median)")
    [deepest] = [
        s
        for s in steps
        if s["advice"].startswith("deploy minilm at depth 20") and "ms (median)" in s["up_to"]
    ]
    assert (deepest["from"], deepest["up_to"]) == ("30 ms (median)", "500 ms (median)")
    for text in (html.page(raced), markdown.markdown(raced)):
        assert "from 30 ms (median)" in text
        assert "up to 30 ms" not in text


def test_the_terminal_says_how_many_steps_it_leaves_out(raced: Findings) -> None:
    steps = len(Teller(raced.answered, 0.01).staircase())
    assert (f"and {steps - terminal.STEPS} more steps in the report", "  ", "") in terminal.texts(raced)


def test_there_is_no_staircase_where_the_reports_own_budget_forbids_every_arm(tmp_path: Path) -> None:
    write_sweep(tmp_path, pool(100, 0.15))
    write_race(tmp_path, proportional("stage", "minilm", DEPTHS, 100))
    found = judged(tmp_path, budget=Budget(latency_p95_ms=1.0))
    assert found.verdict.kind == NONE
    assert not Teller(found.answered, 0.01).staircase()
    assert not any("held-out" in line for line in found.verdict.reasons)


def test_within_a_budget_an_arm_has_to_beat_only_the_first_stages_that_fit(competing: Findings) -> None:
    fast = [each for each in answers_of(competing, P50) if 30 <= (each.bound or 0) <= 50]
    arms = competing.contest.arms
    assert {arms[each.baseline].stage_name for each in fast} == {"bm25"}
    assert {each.kind for each in fast} == {BEST}
    told = Teller(competing.answered, 0.01).within(fast[0])
    assert told.startswith("deploy bm25 + minilm at depth 20: it is better than every first stage within the")
    assert told.endswith("but not shown to be as good as dense + minilm@20")
    values = competing.contest.compared
    base, best = fast[0].baseline, fast[0].arm or 0
    assert fast[0].estimate is not None
    assert fast[0].estimate.gain == pytest.approx((values[best] - values[base]).mean(), abs=0.02)


def test_a_lone_first_stage_is_not_named_where_not_reranking_says_it_all(tmp_path: Path) -> None:
    drawn = pool(60, 0.15)
    write_sweep(tmp_path, drawn, params={"first_stage": "run", "reranker": "minilm"})
    assert not any("run without" in line for line in judged(tmp_path).verdict.reasons)


def test_queries_that_take_no_step_are_said_to_be_those(raced: Findings) -> None:
    field = raced.field
    exits = [row for row in range(field.plain, len(field)) if "unless" in field.name(row)]
    teller = Teller(raced.answered, 0.01)
    for row in exits:
        made = field.arrangement(row)
        assert made is not None
        assert f"apart (those of {100 * made.share:.0f}% of the queries are)" in teller.arm(row)


def charged(folder: Path, **settings: Any) -> dict[str, float | None]:
    """Prices by arm: MiniLM scores 100 pairs a second here, a service charges 2 for each 1,000 queries."""
    drawn = pool(60, 0.15)
    write_sweep(folder, drawn)
    own = {"candidates": "stage", "embedder": "", "reranker": "cohere"}
    served = {"parameters": None, "served": {"url": "u", "concurrency": 4, "documents_per_request": 9}}
    more = {"identity": own, "params": {"first_stage": "dense", "reranker": "cohere"}, "model": served}
    price = {str(depth): 2.0 for depth in DEPTHS}
    write_sweep(folder, drawn, "cohere", 3, price_per_1k=price, **more)
    found = judged(folder, **settings).field
    return {found.name(row): found.costs[row].price_per_1k for row in range(len(found))}


def test_a_step_that_a_service_computes_costs_what_the_service_charges(tmp_path: Path) -> None:
    prices = charged(tmp_path, price_per_hour=3.6)
    busy = 20 * 1000 / 100 / 1000  # of an hour's 3,600 s, at 3.6 an hour
    assert prices["minilm@20"] == pytest.approx(busy)
    assert prices["cohere@10"] == 2.0
    assert prices["minilm@20 > cohere@10"] == pytest.approx(busy + 2.0)
    assert prices["first stage × cohere@10 (z 0.5)"] == 2.0
    early = next(name for name in prices if name.startswith("cohere@10 unless"))
    assert 0 < (prices[early] or 0.0) < 2.0


def test_a_cascade_of_a_service_and_this_machine_has_no_price_without_the_machines(tmp_path: Path) -> None:
    prices = charged(tmp_path)
    assert prices["minilm@20 > cohere@10"] is None
    assert prices["cohere@10"] == prices["first stage × cohere@10 (z 0.5)"] == 2.0
    found = judged(tmp_path, budget=Budget(price_per_1k=1.0))
    excluded = {found.field.name(row): why for row, why in enumerate(found.answered.excluded)}
    assert excluded["minilm@20 > cohere@10"].endswith("(set report.price_per_hour)")
    assert "is above 1" in excluded["first stage × cohere@10 (z 0.5)"]


def test_a_model_that_keeps_documents_vectors_reads_only_the_query(tmp_path: Path) -> None:
    """Without a race, arms are ordered by what they compute: a bi-encoder's depth costs nothing."""
    first = np.random.default_rng(0).uniform(0.2, 0.6, 400)
    write_run(tmp_path / "0", "minilm", first, {10: first + 0.01})
    own = {"candidates": "stage", "embedder": "", "reranker": "bi-encoder"}
    model = {"parameters": 33_000_000, "load_seconds": 1.0, "compares_vectors": True}
    params = {"first_stage": "dense", "reranker": "bi-encoder"}
    more = {"identity": own, "params": params, "model": model, "latency_ms": None}
    write_run(tmp_path / "1", "bi-encoder", first, {10: first, 100: first}, **more)
    found = judged(tmp_path)
    rows = {arm.name: row for row, arm in enumerate(found.contest.arms)}
    assert found.order.cheaper(rows["bi-encoder@100"], rows["minilm@10"])
    assert found.order.values[rows["bi-encoder@100"]] == found.order.values[rows["bi-encoder@10"]] > 0


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_few_queries_that_agree_do_not_make_an_interval_narrow(tmp_path: Path, queries: int) -> None:
    first = np.full(queries, 0.25)
    write_run(tmp_path / "0", "minilm", first, {10: first + 0.5})
    found = judged(tmp_path)
    gain = found.comparison.arms[1].gain
    assert gain.low <= 0.0 < gain.mean < gain.high <= 1.0
    assert 0.0 <= found.comparison.arms[1].mean.low < 0.4
    # the least mean gain under which so many queries show only gains of 0.5, once in forty
    assert gain.low == pytest.approx(max(-1.0, 1.5 * 0.025 ** (1 / queries) - 1.0), abs=1e-6)
    assert any("none of fewer than 6 queries shows" in line for line in found.assumptions())
    assert difference_interval(np.full(queries, 0.5), seed=0) == pytest.approx(gain)


def test_six_queries_and_more_have_the_bootstraps_intervals() -> None:
    few, more = (
        difference_interval(np.tile([0.1, 0.2, 0.3], n)[:count], seed=0) for n, count in ((2, 5), (2, 6))
    )
    assert few.low < 0 < 0.1 < more.low


def test_arms_of_other_queries_are_not_compared() -> None:
    values = {"ndcg_at_10": np.array([0.1, 0.9])}
    one = Measured("first_stage", None, 0, values, ("q1", "q2"))
    for ids in (("q2", "q1"), ("q1", "q3")):
        with pytest.raises(ValueError, match="other queries, or in another order"):
            compare(one, Measured("first_stage", None, 0, values, ids))
    assert compare(one, Measured("reranked", None, 10, values, ("q1", "q2"))).difference == 0


def test_where_nothing_relevant_was_retrieved_queries_are_not_called_easy(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, drawn := pool(60, 0.0))
    lost = "".join(f"{query} 0 elsewhere 1\n" for query in drawn.ids)
    (folder / QRELS).write_text(lost)
    found = judged(tmp_path)
    assert found.verdict.kind == UNKNOWN
    assert found.verdict.sentence == (
        "The candidates leave nothing to gain: dense alone reaches nDCG@10 0.0000, and a perfect order of "
        "the candidates would reach 0.0000. Retrieve better ones first."
    )
    assert "documents that the first stage did not find cost 1.0000." in found.bottleneck


def test_queries_with_nothing_relevant_are_not_charged_to_the_first_stage(tmp_path: Path) -> None:
    drawn = pool(100, 0.3)
    drawn.grades[:40] = 0
    for skill, sure in ((0.0, False), (9.0, True)):
        folder = write_sweep(tmp_path / str(skill), drawn, skill=skill)
        (folder / QRELS).write_text("".join(judgements(drawn)))
        found = judged(folder)
        assert "queries without any relevant document cost 0.4000" in found.bottleneck
        assert found.bottleneck.startswith(
            "There is nothing left" if sure else "The reranker is the bottleneck"
        )
    (folder / QRELS).write_text("".join(f"{query} 0 d0 0\n" for query in drawn.ids))
    assert judged(folder).bottleneck.startswith("No query has a relevant document")


def test_a_loss_is_no_gain_to_be_overstated_nor_to_be_planned_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first = rng.uniform(0.3, 0.6, 40)
    depths = {depth: first + rng.normal(-0.03, 0.1, 40) for depth in (10, 100)}
    write_run(tmp_path / "0", "random", first, depths)
    found = judged(tmp_path)
    assert found.verdict.kind == UNKNOWN
    assert max(np.mean(values - first) for values in depths.values()) < 0
    told = " ".join(found.verdict.reasons)
    assert "Smallest loss, random@" in told
    assert "overstated" not in told
    assert "showing one of 0.010 takes" in told


def test_what_no_other_arm_exceeds_is_not_said_to_be_at_most_nothing_worse(raced: Findings) -> None:
    assert raced.decision is not None
    assert raced.decision.bound == 0
    assert "with 95% confidence, no other arm is better; chance" in raced.decision.sentence


def test_one_query_is_one_query(tmp_path: Path) -> None:
    first = np.array([0.25])
    write_run(tmp_path / "0", "minilm", first, {10: first + 0.5})
    assert ", 1 judged query, 1 judgement. " in judged(tmp_path).subtitle()
