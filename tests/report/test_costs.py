"""What a report says of costs, from races whose truth is known."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.costs import race_notes
from rerankbench.report.costs.cost import COMPUTE, Cost, Ordering, Ratio, front
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.page import html, markdown, table, terminal
from rerankbench.report.race.record import FILE, Cell, Contestant, read
from rerankbench.report.settings import Budget, Race, Report
from simulated_runs import noisy, proportional, write_race, write_run

COUNT = 1_000
FIRST = np.random.default_rng(0).uniform(0.2, 0.6, COUNT)
DEPTHS = {d: FIRST + noisy(0.1 + d / 10**4, 0.05, COUNT, d) for d in (10, 20, 50, 100)}


def judged(folder: Path, **settings: Any) -> Findings:
    return find_out(find([folder]), Report(**settings), read(folder / FILE))


def costs(found: Findings) -> dict[str, Cost]:
    return {arm.name: cost for arm, cost in zip(found.contest.arms, found.costs, strict=True)}


def reasons(found: Findings) -> dict[str, str]:
    return {arm.name: why for arm, why in zip(found.contest.arms, found.excluded, strict=True)}


def two_stages(folder: Path, kinds: tuple[str, str] = ("bm25", "dense")) -> None:
    for stage in kinds:
        params, identity = (
            {"first_stage": stage, "reranker": "minilm"},
            {"candidates": stage, "reranker": "m"},
        )
        write_run(folder / stage, "minilm", FIRST, {10: DEPTHS[10]}, params=params, identity=identity)


def test_a_depth_between_two_that_were_timed_is_interpolated_and_flagged(tmp_path: Path) -> None:
    """On each query by itself: reranking takes 3 ms and 2 more for each document, a tenth more or less."""
    write_run(tmp_path / "0", "minilm", FIRST, DEPTHS)
    own = np.random.default_rng(1).uniform(0.9, 1.1, 60)
    write_race(tmp_path, {Cell("stage", "minilm", None, d): (3 + 2 * d) * own for d in (10, 100)})
    found = costs(judged(tmp_path))
    flags = [found[f"minilm@{depth}"].interpolated for depth in (10, 20, 50, 100)]
    assert flags == [False, True, True, False]
    assert found["minilm@50"].latency_p50_ms == pytest.approx(103 * np.median(own))
    assert found["minilm@20"].latency_p50_ms == pytest.approx(43 * np.median(own))
    assert found["minilm@50"].queries == 60


def test_nothing_is_extrapolated(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, DEPTHS)
    write_race(tmp_path, proportional("stage", "minilm", (10, 50), 60))
    found = judged(tmp_path)
    deepest = costs(found)["minilm@100"]
    assert deepest.latency_p50_ms is None
    assert deepest.why == "the race's 120 s were too short for it"
    assert math.isnan(found.order.values[[arm.name for arm in found.contest.arms].index("minilm@100")])
    assert "Not measured: minilm@100: the race's 120 s were too short for it." in found.assumptions()
    assert "not measured" in markdown.markdown(found)


def test_layers_between_two_that_were_timed_are_interpolated(tmp_path: Path) -> None:
    layers = {n: {50: FIRST + noisy(n / 100, 0.05, COUNT, n)} for n in (8, 16, 24)}
    write_run(tmp_path / "0", "deep", FIRST, layers=layers)
    own = np.random.default_rng(1).uniform(0.9, 1.1, 60)
    write_race(tmp_path, {Cell("stage", "deep", n, 50): n * own for n in (8, 24)})
    found = costs(judged(tmp_path))
    assert found["deep@50 layer 16"].latency_p50_ms == pytest.approx(16 * np.median(own))
    assert found["deep@50 layer 16"].interpolated
    assert [found[f"deep@50 layer {n}"].bound for n in (8, 16, 24)] == [True, True, False]


def test_several_first_stages_are_compared_by_the_whole_query(tmp_path: Path) -> None:
    """Reranking takes as long after either; searching by dense takes ten times as long as reranking."""
    two_stages(tmp_path)
    rng = np.random.default_rng(1)
    times = {Cell(stage): ms * rng.uniform(0.98, 1.02, 60) for stage, ms in (("bm25", 1.0), ("dense", 100.0))}
    times |= {Cell(stage, "m", None, 10): 10 * rng.uniform(0.98, 1.02, 60) for stage in ("bm25", "dense")}
    write_race(tmp_path, times)
    found = judged(tmp_path, budget=Budget(latency_p95_ms=50.0))
    rows = {arm.name: row for row, arm in enumerate(found.contest.arms)}
    assert found.order.basis == "raced whole-query latency"
    assert costs(found)["dense + minilm@10"].query_p50_ms == pytest.approx(110, rel=0.01)
    ratio = found.order.ratio(rows["dense + minilm@10"], rows["bm25 + minilm@10"])
    assert ratio.low < 10 < ratio.high
    assert ratio.times() == f"10 [{ratio.low:.2g}, {ratio.high:.2g}] times the whole-query latency"
    alone = found.order.ratio(rows["bm25 without reranking"], rows["dense without reranking"])
    assert alone.value == pytest.approx(0.01, rel=0.02)  # not reranking costs what the first stage does
    told = reasons(found)
    assert told["bm25 + minilm@10"] == told["bm25 without reranking"] == ""
    assert re.fullmatch(r"p95 latency \[1\d\d\.?\d*, 1\d\d\.?\d*\] ms is above 50", told["dense + minilm@10"])
    assert "is above 50" in told["dense without reranking"]


def test_what_a_run_file_costs_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    two_stages(tmp_path, ("run", "bm25"))
    times = proportional("bm25", "m", (10,), 60)
    times |= {Cell("run", "m", None, 10): times[Cell("bm25", "m", None, 10)]}
    race = write_race(tmp_path, times)
    why = "a run file does not say what its candidates cost, and a reranker may have made it"
    people = [Contestant("first_stage", "run", "run", why=why)]
    people += [each for each in race.contestants if each.key != "run"]
    replace(race, contestants=tuple(people)).write(tmp_path)
    found = judged(tmp_path, budget=Budget(memory_mb=1e6))
    rows = {arm.name: row for row, arm in enumerate(found.contest.arms)}
    for name in ("run without reranking", "run + minilm@10"):
        assert math.isnan(found.order.values[rows[name]])
        assert costs(found)[name].query_p50_ms is None
        assert why in costs(found)[name].why
        assert not found.order.ratio(rows[name], rows["bm25 + minilm@10"]).known
        assert not found.order.cheaper(rows[name], rows["bm25 + minilm@10"])
        assert "peak memory was not measured" in reasons(found)[name]
        assert rows[name] not in found.front


def test_one_first_stage_costs_nothing_for_reranking_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, DEPTHS)
    write_race(tmp_path, proportional("stage", "minilm", (10, 20, 50, 100), 60))
    found = judged(tmp_path, budget=Budget(latency_p95_ms=0.001, memory_mb=1.0))
    assert costs(found)["no reranking"].latency_p50_ms == 0
    assert costs(found)["no reranking"].query_p50_ms == pytest.approx(5, rel=0.1)
    assert reasons(found)["no reranking"] == ""
    assert found.verdict.sentence == "Do not rerank within this budget: no reranker fits."


@pytest.mark.parametrize(
    ("count", "bound", "said"),
    [
        (60, 25, ""),
        (60, 15, r"p95 latency \[2\d\.?\d*, 22\] ms is above 15"),
        (60, 21.6, r"p95 latency was not measured well enough \(\[21\.\d*, 22\] ms, the bound is 21\.6\)"),
        (58, 25, r"p95 latency was not measured well enough \(58 queries were timed, and it takes 59\)"),
        (4, 25, r"p95 latency was not measured \(4 queries could be timed, which are too few: .*\)"),
    ],
)
def test_a_p95_decides_only_where_its_interval_does(
    count: int, bound: float, said: str, tmp_path: Path
) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {20: DEPTHS[20]})
    own = np.linspace(0.9, 1.1, count)
    write_race(tmp_path, {Cell("stage"): own, Cell("stage", "minilm", None, 20): 20 * own})
    assert re.fullmatch(said, reasons(judged(tmp_path, budget=Budget(latency_p95_ms=bound)))["minilm@20"])


def test_a_p95_within_two_percent_of_its_bound_is_never_waved_through(tmp_path: Path) -> None:
    """Where the truth is just above the bound, it passes in one report of twenty at most."""
    rng = np.random.default_rng(5)
    write_run(tmp_path / "0", "minilm", FIRST, {20: DEPTHS[20]})
    runs, passed = find([tmp_path]), 0
    bound = math.exp(1.6449 * 0.2) * 20 * 0.98  # the 95th percentile of what is drawn below, less 2%
    for _ in range(100):
        race = write_race(tmp_path, {Cell("stage", "minilm", None, 20): 20 * rng.lognormal(0, 0.2, 100)})
        found = find_out(runs, Report(budget=Budget(latency_p95_ms=bound)), race)
        passed += not reasons(found)["minilm@20"]
    assert passed <= 5


def test_no_race_measures_nothing_and_says_how_to(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {10: DEPTHS[10]}, latency_ms=None)
    bounds = Budget(latency_p95_ms=5.0, memory_mb=5000.0, price_per_1k=5.0)
    found = judged(tmp_path, budget=bounds, price_per_hour=1.0)
    cure = f"rerankbench-report --race {tmp_path / '0'}"
    assert reasons(found)["minilm@10"].split("; ") == [
        f"p95 latency was not measured (there was no race: {cure} report.budget.latency_p95_ms=5)",
        f"peak memory was not measured (there was no race: {cure})",
    ]
    assert found.order.basis == COMPUTE
    assert costs(found)["minilm@10"].memory_mb is None  # what a job's process had is no figure of an arm


@pytest.mark.parametrize("counts", [{"pairs": 1, "seconds": 0.04}, {}])
def test_a_job_of_one_pair_tells_neither_throughput_nor_price(
    counts: dict[str, float], tmp_path: Path
) -> None:
    throughput = {"pairs_per_second": 25.7, **counts}
    write_run(tmp_path / "0", "minilm", FIRST, {10: DEPTHS[10]}, throughput=throughput)
    found = judged(tmp_path, price_per_hour=3.6, budget=Budget(price_per_1k=1.0))
    cost = costs(found)["minilm@10"]
    assert (cost.pairs_per_second, cost.ms_per_query, cost.price_per_1k) == (None, None, None)
    assert "price per 1,000 queries was not measured" in reasons(found)["minilm@10"]


def test_raced_throughput_says_what_it_rests_on_and_leaves_busy_rounds_out(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {10: DEPTHS[10]})
    race = write_race(tmp_path, proportional("stage", "minilm", (10,), 60), calm=[i != 3 for i in range(60)])
    for each in race.rounds[:6]:
        each.portions["minilm"] = (100, 0.5 if each.calm else 50.0)
    race.write(tmp_path)
    found = judged(tmp_path, price_per_hour=3.6)
    cost = costs(found)["minilm@10"]
    assert (cost.pairs, cost.pair_seconds, cost.pairs_per_second) == (500, 2.5, 200)
    assert cost.price_per_1k == pytest.approx(1000 * 10 / 200 / 3600 * 3.6)
    assert "200 \\[500 pairs\\]" in markdown.markdown(found)


def test_a_machine_that_was_busy_measures_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {10: DEPTHS[10]})
    write_race(tmp_path, proportional("stage", "minilm", (10,), 60), calm=[i < 3 for i in range(60)])
    found = judged(tmp_path)
    assert costs(found)["minilm@10"].why == "the machine was busy with something else in 57 of 60 rounds"
    told = " ".join(found.assumptions())
    assert "In 57 of 60 rounds the machine ran a fixed computation more than 10% slower" in told
    assert f"To measure them while the machine is quiet: rerankbench-report --race {tmp_path / '0'}" in told


def test_the_terminal_says_what_was_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {10: DEPTHS[10]})
    write_race(tmp_path, proportional("stage", "minilm", (10,), 3))
    terminal.show(judged(tmp_path), tmp_path / "report.html")
    shown = " ".join(capsys.readouterr().out.split())
    assert "Not measured: minilm@10" in shown
    assert "rerankbench-report --race" in shown


def test_unknown_parameters_are_unknown_compute(tmp_path: Path) -> None:
    model = {"parameters": 0, "load_seconds": 1.0}
    write_run(tmp_path / "0", "small", FIRST, {10: DEPTHS[10]}, latency_ms=None, model=model)
    write_run(tmp_path / "1", "large", FIRST, {10: DEPTHS[20]}, latency_ms=None)
    found = judged(tmp_path)
    row = [arm.name for arm in found.contest.arms].index("small@10")
    assert found.order.basis == COMPUTE
    assert math.isnan(found.order.values[row])
    assert costs(found)["small@10"].parameters_m is None
    assert "less than 1%" not in found.verdict.sentence


def test_ratios_carry_their_interval_into_sentences(tmp_path: Path) -> None:
    flat = {d: FIRST + noisy(0.1, 0.02, COUNT, 1) for d in (10, 50)}
    write_run(tmp_path / "0", "minilm", FIRST, flat)
    write_race(tmp_path, proportional("stage", "minilm", (10, 50), 60))
    sentence = judged(tmp_path).verdict.sentence
    said = re.search(r"depth 50 would take 5(?:\.\d)? \[([\d.]+), ([\d.]+)\] times", sentence)
    assert said
    low, high = map(float, said.groups())
    assert low < 5.3
    assert high > 4.7


def test_ratios_in_words() -> None:
    assert Ratio(5.1, 4.8, 5.4, "latency").times() == "5.1 [4.8, 5.4] times the latency"
    assert Ratio(0.25, 0.24, 0.26, "latency").share() == "25% [24%, 26%] of its latency"
    assert Ratio(5.0, 5.0, 5.0, "compute").times() == "5 times the compute"  # counted
    assert Ratio(0.0042, 0.004, 0.0044, "latency").share() == "0.42% [0.4%, 0.44%] of its latency"
    unknown = Ordering("raced latency", np.array([1.0, math.nan, 0.0])).ratio
    assert not unknown(0, 1).known
    assert not unknown(0, 2).known
    assert unknown(2, 0).value == 0


def test_single_runs_order_arms_but_say_no_ratio(tmp_path: Path) -> None:
    deep = FIRST + noisy(0.1, 0.05, COUNT, 1)
    shallow = deep - 0.001 + noisy(0, 0.01, COUNT, 2)
    write_run(tmp_path / "0", "minilm", FIRST, {25: shallow, 100: deep})
    found = judged(tmp_path)
    assert found.verdict.sentence.endswith("at less latency by single runs.")
    assert costs(found)["minilm@25"].latency_p50_ms == 25


def test_unknown_costs_are_not_on_the_front() -> None:
    assert front(np.array([0.5, 0.9, 0.6]), np.array([0.0, math.nan, 10.0])) == [0, 2]


def test_every_way_out_shows_what_costs_rest_on(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, DEPTHS)
    write_race(tmp_path, proportional("stage", "minilm", (10, 50, 100), 60))
    found = judged(tmp_path)
    told = json.loads(document.to_json(found))
    assert told["race"]["rounds"] == told["race"]["queries"] == 60
    arm = next(arm for arm in told["arms"] if arm["name"] == "minilm@50")
    low, high = arm["cost"]["latency_p50_interval"]
    assert low <= arm["cost"]["latency_p50_ms"] <= high
    assert arm["cost"]["memory_mb"] == 700
    assert arm["cost"]["search_memory_mb"] == 400
    line = race_notes.ran_line(found.book.race)  # type: ignore[arg-type]
    assert "raced on machine with 2 threads: 60 rounds over 60 of 60 queries" in line
    for page in (markdown.markdown(found), html.page(found)):
        assert "60 rounds over 60 of 60 queries" in page
        assert "≈" in page
    assert [c.heading for c in table.columns(found) if c.short and "p50" in c.heading] == ["p50 ms"]


def test_settings_of_a_race_that_cannot_be_are_named() -> None:
    assert Report(race=Race(seconds=-1, width=2)).problems() == [
        "report.race.seconds=-1: give seconds such as 120, or 0 for no race",
        "report.race.width=2: give a share of the median, such as 0.05",
    ]
