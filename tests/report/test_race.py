"""The race: its statistics, its turns on a clock of their own, what it writes, and real ones."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import run, tiny
from rerankbench.basics.errors import UserError
from rerankbench.report.arms.runs import find
from rerankbench.report.costs import race_notes
from rerankbench.report.race import drift, record
from rerankbench.report.race.entrants import entrants, spread
from rerankbench.report.race.intervals import noise, quantile, ratio, typical
from rerankbench.report.race.process import Lost, Process
from rerankbench.report.race.race import hold, worth_it
from rerankbench.report.race.record import Cell, Round
from rerankbench.report.race.texts import evenly
from rerankbench.report.race.turns import Turn, Turns
from rerankbench.report.settings import Report
from simulated_runs import proportional, write_race

CELL = Cell("bm25", "minilm", None, 10)

# statistics


@pytest.mark.parametrize(("share", "level", "count"), [(0.5, 0.95, 6), (0.5, 0.95, 59), (0.95, 0.9, 59)])
def test_an_interval_holds_the_true_quantile_as_often_as_it_says(
    share: float, level: float, count: int
) -> None:
    """Of skewed values, whose quantiles are known."""
    rng = np.random.default_rng(3)
    truth, trials = -math.log(1 - share), 2000
    found = [quantile(rng.exponential(size=count), share, level) for _ in range(trials)]
    missed = (1 - level) / 2 + 3 * math.sqrt(level * (1 - level) / trials)
    assert sum(each.low > truth for each in found) / trials <= missed
    assert sum(each.high < truth for each in found) / trials <= missed
    assert all(each.low <= each.value <= each.high for each in found)


def test_too_few_queries_leave_an_interval_open() -> None:
    assert quantile(np.arange(1.0, 6.0)).high == math.inf  # five values of one median
    assert not quantile(np.arange(1.0, 6.0)).known
    assert quantile(np.arange(1.0, 59.0), 0.95, 0.9).high == math.inf  # 0.95 ** 58 > 0.05
    assert quantile(np.arange(1.0, 60.0), 0.95, 0.9).high == 59
    assert quantile(np.array([])).queries == quantile(np.array([math.nan])).queries == 0


def test_a_ratio_is_of_the_same_query() -> None:
    """Queries differ tenfold, the two arms by 5 on each of them: the ratio does not hear of the former."""
    rng = np.random.default_rng(1)
    base = rng.uniform(10, 100, 60)
    found = ratio(5 * base * rng.uniform(0.98, 1.02, 60), base)
    assert found.low < 5 < found.high
    assert found.width < 0.01
    assert ratio(base, np.full(60, math.nan)).queries == 0


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.floats(0.01, 1e4), min_size=6, max_size=80), st.floats(0.1, 10))
def test_intervals_scale_with_their_unit(values: list[float], factor: float) -> None:
    one, other = quantile(np.array(values)), quantile(np.array(values) * factor)
    np.testing.assert_allclose(other[:3], np.array(one[:3]) * factor, rtol=1e-9)


def test_noise_is_what_repeats_differ_by_and_not_what_queries_do() -> None:
    queries = np.array([1.0, 10.0, 100.0])[:, None]
    assert noise(queries) == math.inf  # without repeats nobody knows
    assert noise(np.tile(queries, 4)) == 0
    rng = np.random.default_rng(0)
    spread_of = rng.lognormal(0, 0.1, (60, 4))
    # the median of 240 normal values of deviation 0.1 has a standard error of 1.2533 * 0.1 / sqrt(240)
    assert noise(spread_of) == pytest.approx(1.96 * 1.2533 * 0.1 / math.sqrt(240), rel=0.15)
    np.testing.assert_array_equal(typical(np.array([[1.0, 3.0, math.nan], [math.nan] * 3])), [2.0, math.nan])


# turns, on a clock of their own


@dataclass
class Machine:
    """A clock that only moves when somebody computes, and how slow the machine is at a time."""

    now: float = 0.0
    slow: Sequence[tuple[float, float]] = ()  # stretches of time in which everything takes twice as long

    def spend(self, ms: float) -> float:
        factor = 2.0 if any(start <= self.now < end for start, end in self.slow) else 1.0
        self.now += ms * factor / 1000
        return ms * factor

    def product(self) -> tuple[float, ...]:
        return (self.spend(20.0),)


@dataclass
class Runner:
    """Takes `ms` for a query, some queries' longer by `spread`; dies at a turn."""

    machine: Machine
    cell: Cell
    ms: float
    spread: float = 0.0
    heavy: bool = False
    dies_at: int = 10**9
    turns: list[int] = field(default_factory=list)

    key = ""

    def wanted(self) -> tuple[Cell, ...]:
        return (self.cell,) if len(self.turns) <= self.dies_at else ()

    def turn(self, query: int, until: float) -> Turn:
        self.turns.append(query)
        if len(self.turns) > self.dies_at:
            return Turn()
        return Turn({self.cell: self.machine.spend(self.ms * (1 + self.spread * math.sin(1 + 7 * query)))})

    def ready(self, pairs: int, seconds: float) -> bool:
        return True


def turns(machine: Machine, racers: Sequence[Runner], queries: int = 60, until: float = 120.0) -> Turns:
    names = [f"q{i}" for i in range(queries)]
    return Turns(racers, machine.product, names, until, width=0.05, clock=lambda: machine.now)


def test_each_round_asks_all_the_same_query_and_begins_with_another_one() -> None:
    machine = Machine()
    asked: list[tuple[int, str]] = []

    class Told(Runner):
        def turn(self, query: int, until: float) -> Turn:
            asked.append((query, self.cell.stage))
            return super().turn(query, until)

    racers = [Told(machine, Cell(name), 10.0) for name in "abc"]
    race = turns(machine, racers)
    race.run()
    firsts = ["".join(name for query, name in asked if query == number) for number in range(4)]
    assert firsts == ["abc", "bca", "cab", "abc"]


def test_a_race_ends_where_its_medians_are_sharp_and_not_before() -> None:
    machine = Machine()
    race = turns(machine, [Runner(machine, Cell("a"), 50.0), Runner(machine, Cell("b"), 10.0)])
    assert race.run() == "sharp"
    assert len(race.rounds) == 12
    varied = turns(Machine(), [], 2000)
    varied.racers = [Runner(machine, Cell("a"), 50.0, spread=0.5)]
    varied.clock, varied.product, varied.until = lambda: machine.now, machine.product, math.inf
    assert varied.run() == "sharp"
    assert len(varied.rounds) > 100
    values = typical(record.timings(varied.rounds, [r.query for r in varied.rounds], Cell("a")))
    assert quantile(values).width <= 0.05


def test_when_all_queries_were_asked_twice_queries_that_differ_do_not_keep_it_going() -> None:
    machine = Machine()
    race = turns(machine, [Runner(machine, Cell("a"), 50.0, spread=0.5)], queries=20, until=math.inf)
    assert race.run() == "all queries"
    assert 40 <= len(race.rounds) <= 42


def test_a_race_never_goes_on_beyond_its_time() -> None:
    machine = Machine()
    race = turns(machine, [Runner(machine, Cell("a"), 900.0, spread=0.9)], queries=10**4, until=10.0)
    assert race.run() == "time"
    assert machine.now < 10 + 1 * 1.9
    assert 5 < len(race.rounds) < 12


def test_rounds_in_which_the_machine_drifts_are_repeated_and_then_flagged() -> None:
    """Twice as slow for a while: what was timed then does not count, and its queries come again."""
    machine = Machine(slow=[(1.0, 2.0)])
    race = turns(machine, [Runner(machine, Cell("a"), 50.0, spread=0.1)], queries=40)
    assert race.run() in ("sharp", "all queries")
    busy = [each for each in race.rounds if not each.calm]
    assert 5 <= len(busy) <= 12
    assert {each.query for each in busy} <= {each.query for each in race.rounds if each.calm}
    values = record.timings(race.rounds, [f"q{i}" for i in range(40)], Cell("a"))
    assert np.nanmax(values) < 56


def test_a_machine_that_is_busy_to_the_end_leaves_flags() -> None:
    machine = Machine(slow=[(0.5, math.inf)])
    race = turns(machine, [Runner(machine, Cell("a"), 50.0)], queries=10**4, until=30.0)
    assert race.run() == "sharp" or not race.rounds[-1].calm
    assert sum(not each.calm for each in race.rounds) > 0


def rounds_of(disturbed: int) -> record.Record:
    """Ten queries of 1 to 10 ms, `disturbed` of them only while the machine took twice as long."""
    rounds = []
    for query in range(10):
        slower = 2.0 if query < disturbed else 1.0
        times = {CELL: (query + 1) * slower}
        rounds.append(Round(str(query), (1.0,), (1.0,), times, calm=slower == 1, slower=slower))
    return record.Record("", 1.0, 1.0, "time", 0.05, 10, {}, rounds=tuple(rounds))


def test_few_queries_count_by_disturbed_rounds_corrected_by_the_product() -> None:
    """Else the fastest queries would be missing from the median, or the slowest."""
    np.testing.assert_allclose(rounds_of(disturbed=2).values(CELL), np.arange(1.0, 11.0))
    left = rounds_of(disturbed=3).values(CELL)
    assert np.isnan(left[:3]).all()
    np.testing.assert_allclose(left[3:], np.arange(4.0, 11.0))


def test_a_machine_that_was_busy_for_a_third_of_the_race_is_too_busy() -> None:
    """By time, not by rounds: disturbed ones are few because they are long."""
    assert not rounds_of(disturbed=1).busy  # 2 of 56 ms
    assert not rounds_of(disturbed=4).busy  # 20 of 65 ms
    assert rounds_of(disturbed=5).busy  # 30 of 70 ms
    race = rounds_of(disturbed=5)
    assert "too busy" in " ".join(race_notes.drift_lines(race))
    assert "too busy" not in " ".join(race_notes.drift_lines(rounds_of(disturbed=4)))


def test_how_much_slower_a_round_was_is_that_of_its_slowest_device() -> None:
    assert drift.slower([(20.0, 1.0), (22.0, 3.0)], (20.0, 1.0)) == 2.0
    assert drift.slower([(18.0,), (19.0,)], (20.0,)) == 1.0  # faster than quiet is quiet
    rounds = [Round("q", (10.0,), (10.0,)), Round("q", (10.0,), (30.0,))]
    drift.mark(rounds)
    assert [(each.calm, each.slower) for each in rounds] == [(True, 1.0), (False, 2.0)]


def test_one_that_dies_stops_nobody() -> None:
    machine = Machine()
    racers = [Runner(machine, Cell("a"), 50.0, dies_at=3), Runner(machine, Cell("b"), 10.0)]
    race = turns(machine, racers, until=60.0)
    race.run()
    assert sum(Cell("a") in each.times for each in race.rounds) == 3
    assert sum(Cell("b") in each.times for each in race.rounds) >= 12


def test_those_that_died_neither_keep_it_going_nor_hold_the_last_one_up() -> None:
    machine = Machine()
    racers = [
        Runner(machine, Cell("s", n), 50.0, heavy=True, dies_at=d) for n, d in (("a", 1), ("b", 1), ("c", 99))
    ]
    race = turns(machine, racers)
    assert race.run() == "sharp"
    assert len(racers[2].turns) == len(race.rounds) == 12
    for racer in racers:
        racer.turns, racer.dies_at = [], 1
    assert turns(machine, racers, until=math.inf).run() == "nobody is left"


def test_a_slow_reranker_leaves_the_others_their_time() -> None:
    machine = Machine()
    racers = [
        Runner(machine, Cell("s", name), ms, spread=0.5, heavy=True)
        for name, ms in (("fast", 100.0), ("medium", 300.0), ("slow", 9000.0))
    ]
    turns(machine, racers, queries=1000, until=100.0).run()
    asked = [len(racer.turns) for racer in racers]
    assert asked[0] > 20
    assert asked[1] > 20
    assert 3 <= asked[2] < 12


def test_the_fastest_product_of_all_may_be_a_fluke() -> None:
    products = [(20.0,)] * 30 + [(10.0,)]
    assert drift.pace(products) == (20.0,)
    assert drift.calm([(21.9,)], (20.0,))
    assert not drift.calm([(20.0, 1.0), (20.0, 1.2)], (20.0, 1.0))  # one device of two is enough
    rounds = [Round("q", (20.0,), (20.0,)), Round("q", (20.0,), (25.0,)), Round("q", (math.nan,), (20.0,))]
    drift.mark(rounds[:2], products)
    assert [each.calm for each in rounds[:2]] == [True, False]


# what is written


def test_a_race_is_read_as_it_was_written(tmp_path: Path) -> None:
    times = proportional("stage", "m", (10, 50), 8) | {Cell("stage", "m", 3, 10): np.arange(1.0, 5.0)}
    race = write_race(tmp_path, times, calm=[True, False] * 4)
    again = record.read(tmp_path / record.FILE)
    assert again == race
    assert again is not None
    assert again.drifted == 4
    assert np.isnan(again.values(Cell("stage"))[1])
    assert json.loads((tmp_path / record.FILE).read_text())["schema"] == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "rounds": 3}'])
def test_what_is_no_race_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / record.FILE).write_text(text)
    assert record.read(tmp_path / record.FILE) is None
    assert record.read(tmp_path / "nowhere") is None


def test_races_are_never_put_together(tmp_path: Path) -> None:
    """Two of different times: the one that knows more of the arms, of equals the last."""
    files = [tmp_path / name / record.FILE for name in "abc"]
    for file, reranker, hour in zip(files, ("m", "m", "other"), (12, 13, 14), strict=True):
        file.parent.mkdir()
        write_race(file.parent, proportional("stage", reranker, (10,), 8), started=f"2026-01-31T{hour}")
    for order in itertools.permutations(files):
        found = record.fitting(order, {"stage", "m"})
        assert found is not None
        assert found.started == "2026-01-31T13"
    assert record.fitting(files, {"nobody"}) is None


@pytest.mark.parametrize(
    ("depths", "timed"),
    [
        ([10], [10]),
        ([100, 10, 20, 50], [10, 20, 50, 100]),
        ([10, 20, 50, 100, 200, 500, 1000], [10, 50, 200, 1000]),
    ],
)
def test_the_least_and_the_deepest_are_always_timed(depths: list[int], timed: list[int]) -> None:
    assert spread(depths) == timed


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=150), st.data())
def test_however_few_queries_are_timed_their_work_is_spread_as_that_of_all(
    work: list[int], data: st.DataObject
) -> None:
    places = evenly(work)
    assert sorted(places) == list(range(len(work)))
    taken = data.draw(st.integers(1, len(work)))
    ranks = np.argsort(np.argsort(work, kind="stable"), kind="stable")[places[:taken]]
    gaps = np.diff([-1, *sorted(ranks), len(work)])
    assert gaps.max() <= 2 * len(work) / taken + 2


# real ones


@pytest.fixture(scope="module")
def sweep(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two first stages and a tiny reranker over the sample's first queries, not raced yet."""
    folder = tmp_path_factory.mktemp("race")
    others = ("dataset", "cutoffs", "report.measure", "candidates")
    words = [word for word in tiny(models, folder) if not word.startswith(others)]
    words += ["dataset.limit_queries=8", "candidates=12", "cutoffs=[10]", "tracking=none"]
    model = ["reranker=base", f"reranker.model={models / 'base'}"]
    assert run("-m", "first_stage=bm25,dense", "depth=0,12", *model, *words) == 0
    return folder / "sweep"


@pytest.fixture(scope="module")
def raced(sweep: Path) -> dict[str, object]:
    """The report of that sweep after a real race, by the command."""
    from rerankbench.commands.report import main

    began = time.monotonic()
    assert main(["--race", str(sweep), "report.race.seconds=100"]) == 0
    assert time.monotonic() - began < 100 + 20  # the report itself takes a while on a busy machine
    return dict(json.loads((sweep / "report.json").read_text()))


def test_a_real_race_measures_every_arm(sweep: Path, raced: dict[str, object]) -> None:
    race = record.read(sweep / record.FILE)
    assert race is not None
    assert race.seconds < 102
    assert [(c.kind, c.label, c.why) for c in race.contestants if c.why] == []
    assert sorted(c.label for c in race.contestants) == ["base", "bm25", "dense"]
    stages = {c.key for c in race.contestants if c.kind == "first_stage"}
    assert {(c.stage, c.depth) for c in race.cells} == {(s, d) for s in stages for d in (0, 10, 12)}
    peaks = {c.label: c.memory_mb["peak_rss"] or 0.0 for c in race.contestants}
    assert all(100 < peak < 3000 for peak in peaks.values())
    assert peaks["bm25"] < peaks["dense"] < peaks["base"] * 2  # bm25 loads no model
    reranker = next(c.key for c in race.contestants if c.kind == "reranker")
    assert sum(each.portions.get(reranker, (0, 0.0))[0] for each in race.rounds) >= 256


def test_a_raced_report_goes_by_the_whole_query(raced: dict[str, object]) -> None:
    assert raced["cost_basis"] in ("raced whole-query latency", "compute")  # compute on a machine too busy
    race = raced["race"]
    assert isinstance(race, dict)
    assert race["rounds"] >= 8
    arms = raced["arms"]
    assert isinstance(arms, list)
    for arm in arms:
        cost = arm["cost"]
        assert cost["search_memory_mb"] > 100
        if cost["query_p50_ms"] is not None:
            low, high = cost["query_p50_interval"]
            assert 0 < low <= cost["query_p50_ms"] <= high


def test_a_contestant_ends_with_the_race_that_is_killed(sweep: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from rerankbench.report.race.process import Process\n"
        "child = Process('x', Path.cwd()); print(child.child.pid, flush=True); time.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    child = psutil.Process(int(driver.stdout.readline()))
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    child.wait(timeout=30)
    assert not child.is_running()


def test_one_that_hangs_or_dies_is_lost_with_the_reason(sweep: Path) -> None:
    process = Process("x", Path.cwd())
    os.kill(process.child.pid, signal.SIGSTOP)  # hangs
    with pytest.raises(Lost, match=r"did not answer within 0\.5 s"):
        process.ask({"kind": "product", "devices": ["cpu"], "threads": 1}, time.monotonic() + 0.5)
    assert process.child.poll() is not None
    dead = Process("x", Path.cwd())
    os.kill(dead.child.pid, signal.SIGKILL)
    with pytest.raises(Lost, match="killed by signal 9"):
        dead.ask({"kind": "product", "devices": ["cpu"], "threads": 1}, time.monotonic() + 30)


def test_what_cannot_be_loaded_again_says_why(sweep: Path) -> None:
    reranker = next(e for e in entrants(find([sweep])) if e.kind == "reranker")
    process = Process("base", reranker.run.command_folder)
    asked = {"kind": "reranker", "config": str(reranker.run.config), "key": "another one"}
    with pytest.raises(Lost, match="computed differently than in its run"):
        process.ask(asked, time.monotonic() + 120)
    process.kill()


def test_a_race_of_a_folder_runs_no_models_own_code(sweep: Path, tmp_path: Path) -> None:
    """A folder may be a stranger's, and so may be the key in its config."""
    shutil.copytree(sweep, tmp_path / "theirs")
    for config in (tmp_path / "theirs").glob("*/.hydra/config.yaml"):
        config.write_text(config.read_text().replace("trust_remote_code: false", "trust_remote_code: true"))
    with pytest.raises(UserError, match="trust_remote_code=true, which only the sweep's own command may"):
        hold(find([tmp_path / "theirs"]), Report(), tmp_path, trusted=False)


def test_runs_without_their_config_cannot_be_raced(sweep: Path, tmp_path: Path) -> None:
    """As those that were downloaded from MLflow."""
    shutil.copytree(sweep, tmp_path / "runs", ignore=shutil.ignore_patterns(".hydra"))
    with pytest.raises(UserError, match=r"its folder has no \.hydra/config\.yaml"):
        hold(find([tmp_path / "runs"]), Report(), tmp_path)


def test_a_sweep_of_nothing_to_compare_is_not_raced(sweep: Path) -> None:
    runs = find([sweep])
    assert worth_it(runs)
    assert not worth_it([run for run in runs if not run.result["identity"]["reranker"]][:1])
