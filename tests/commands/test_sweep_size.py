"""Sweeps that nobody could wait for are refused with their number of jobs, in no time."""

from __future__ import annotations

import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import as_typed, config, preflight

numbers = st.integers(-50, 50) | st.floats(-50, 50).map(lambda value: round(value, 2))


@given(numbers, numbers, (numbers).filter(lambda step: abs(step) > 0.01))
@settings(max_examples=200, deadline=None)
def test_a_range_has_as_many_values_as_it_gives(start: float, stop: float, step: float) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"depth=range({start},{stop},{step})"])
    assert as_typed.values(override) == list(override.sweep_string_iterator())
    assert as_typed.count(override) == len(list(override.sweep_iterator()))


EIGHT = [f"{key}=range(10)" for key in ("depth", "seed", "threads", "batch_size", "candidates")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["depth=range(0,100000000)"], "the sweep has 100,000,000 jobs"),
        (["depth=range(0,1e30)"], "the sweep has 1,000,000,000,000,000,000,000,000,000,000 jobs"),
        (["depth=range(0,1,1e-9)"], "the sweep has 1,000,000,000 jobs"),
        (["depth=range(0,inf)"], "the sweep has infinitely many jobs"),
        (["depth=range(0,nan)"], "lists no values to sweep over"),
        (["depth=range(1,5,0)"], "lists no values to sweep over"),
        (["depth=shuffle(range(0,100000000))"], "the sweep has 100,000,000 jobs"),
        (["depth=sort(range(0,100000000))"], "the sweep has 100,000,000 jobs"),
        (["reranker=range(0,100000000)"], "the sweep has 100,000,000 jobs"),
        (["hydra/sweeper=optuna", "depth=range(0,100000000)"], "the sweep has 100,000,000 jobs"),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=100000000"],
            "n_trials=100000000: give a whole number, at most 10,000",
        ),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=many"], "n_trials"),
        (["cutoffs=[1]", *EIGHT], "the sweep has 100,000 jobs"),
        (["reranker=glob(*)", "depth=range(0,5000)"], "of reranker × 5,000 of depth"),
    ],
)
def test_a_sweep_beyond_all_bounds_is_refused_with_its_count(words: list[str], said: str) -> None:
    config.register_schemas()
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        preflight.check(["-m", *words])
    assert any(said in line for line in error.value.problems), error.value.problems
    assert len(error.value.problems) == 1
    assert time.monotonic() - started < 10
