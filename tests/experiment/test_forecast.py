"""Forecasts: what is stored, what a short pilot says, and when people are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rerankbench.experiment import estimate
from rerankbench.experiment.estimate import Step, duration, pilot, spread
from rerankbench.experiment.forecast import Forecast
from rerankbench.rerankers.scoring.sequences import SEQUENCE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (119, "119 s"),
        (180, "3.0 min"),
        (7200, "2.0 h"),
        (86_400 * 2.1, "2.1 days"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_step_is_missing_over_rate() -> None:
    step = Step("pairs", total=1000, missing=600, rate=20.0, mb=0.5)
    assert step.seconds == 600 / 20
    assert (
        step.line()
        == "600 pairs to compute (400 of 1,000 pairs stored), measured 20.0/s: 30 s, 0.5 MB of disk"
    )
    done = Step("pairs", 1000, 0, 0.0, 0.0)
    assert done.seconds == 0
    assert done.line() == "1,000 of 1,000 pairs stored: nothing to do"
    assert Forecast("a", (step, done), 100.0).seconds == 30


def test_rows_are_spread_over_all() -> None:
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(101, 5).tolist() == [0, 25, 50, 75, 100]


@dataclass
class Clockwork:
    """A loop that takes a millisecond of pretended time for every token, one sequence at a time."""

    now: float = 0.0
    meter: Any = field(default_factory=lambda: SimpleNamespace(tokens=0))

    def run(self, window: Any) -> Any:
        for length in -np.sort(-window.lengths):
            self.now += length / 1000
            self.meter.tokens += int(length)
            yield length


@pytest.mark.parametrize("limit", [1e9, 2.0])
def test_a_pilot_counts_tokens_so_that_cutting_it_short_does_not_mislead(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, lengths = Clockwork(), np.arange(10, 110)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: loop.now)
    monkeypatch.setattr(estimate, "PILOT_SECONDS", limit)
    rate = pilot(loop, lambda numbers: SimpleNamespace(lengths=lengths[numbers]), 100)  # type: ignore[arg-type, return-value]
    assert rate == pytest.approx(1000 / lengths[8:].mean())


@pytest.mark.parametrize(
    ("pairs", "stored_rate", "told"), [(999, 0.1, False), (5000, 1000.0, False), (5000, 10.0, True)]
)
def test_people_are_told_before_long_scoring(
    pairs: int,
    stored_rate: float,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    work: Any = SimpleNamespace(
        context=SimpleNamespace(reuse=True),
        pairs=range(pairs),
        layers=(1,),
        missing=lambda: np.arange(pairs),
        unscored=lambda numbers: np.array([(number, 0, b"") for number in numbers], SEQUENCE),
    )
    known = {"pairs_per_second": stored_rate, "pairs": 5000, "seconds": 10.0}
    monkeypatch.setattr(estimate, "read_cost", lambda _: known)
    with caplog.at_level(logging.INFO, "rerankbench"):
        estimate.announce(work)
    assert ("5,000 pairs to compute" in caplog.text) is told


def test_growth_is_linear_and_costs_the_same() -> None:
    step = Step("pairs", total=720_000, missing=720_000, rate=25.0, mb=1.0)  # 8 hours
    _, _, columns, *rows, assumed = Forecast("a", (step,), 100.0, price_per_hour=2.5).lines()
    assert columns.split() == ["workers", "time", "price"]
    assert [row.split() for row in rows] == [
        ["1", "8.0", "h", "20.00"], ["8", "60.0", "min", "20.00"], ["64", "7.5", "min", "20.00"]
    ]  # fmt: skip
    assert "assumed" in assumed
    assert "price" not in "".join(Forecast("a", (step,), 100.0).growth()[:1])
    assert Forecast("a", (Step("pairs", 10, 0, 0.0, 0.0),), 100.0).growth() == []
