"""The loop: full batches within the budget, everything once, flushes, and what happens without memory."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from numbered_sequences import Sequences, numbers
from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.engine import loop as loop_module
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Batch, Budget, Loop, ahead, fill, out_of_memory
from rerankbench.engine.store.rows import RowStore, text_keys

CPU = Hardware("cpu", "fp32")


def run(
    window: Sequences, budget: Budget, forward: Callable[..., torch.Tensor] = numbers
) -> NDArray[np.float32]:
    values = np.full(len(window.lengths), -1, np.float32)
    for index, found in Loop(forward, CPU, budget).run(window):
        assert (values[index] == -1).all(), "a sequence came twice"
        values[index] = found[:, 0]
    return values


# --- batches ---


@given(
    st.lists(st.integers(1, 600), max_size=80),
    st.integers(1, 40),
    st.integers(1, 2000),
    st.none() | st.integers(1, 2000),
)
@settings(deadline=None, max_examples=150)
def test_every_sequence_once_within_the_budget(
    lengths: list[int], sequences: int, tokens: int, enough: int | None
) -> None:
    window = Sequences(np.array(lengths, np.int64))
    np.testing.assert_array_equal(run(window, Budget(sequences, tokens, enough)), np.arange(len(lengths)))
    for rows, width in window.batches:
        assert rows <= sequences
        assert rows * width <= tokens or rows == 1
    assert [width for _, width in window.batches] == sorted((w for _, w in window.batches), reverse=True)


def test_batches_are_as_full_as_they_can_be() -> None:
    window = Sequences(np.array([100] * 7 + [10] * 20))
    run(window, Budget(12, 400))
    assert window.batches == [(4, 100), (4, 100), (12, 10), (7, 10)]


def test_a_batch_with_enough_tokens_ends_before_it_is_padded_much() -> None:
    lengths = np.array([100] * 3 + [96] * 2 + [60] * 4 + [58] * 9)
    cut = {}
    for enough in (None, 700, 400, 1):
        window = Sequences(lengths)
        run(window, Budget(12, 1000, enough))
        cut[enough] = window.batches
    assert cut[None] == [(10, 100), (8, 58)]
    assert cut[700] == [(7, 100), (11, 60)]  # two of 60 tokens make it enough
    assert cut[400] == cut[1] == [(5, 100), (12, 60), (1, 58)]  # 58 is near 60


@pytest.mark.parametrize(("enough", "padding"), [(None, 0.1), (8192, 0.06), (4096, 0.04)])
def test_small_windows_of_an_accelerator_are_not_padded_much(enough: int | None, padding: float) -> None:
    loop = Loop(numbers, CPU, Budget(512, 32_768, enough))
    list(loop.run(Sequences(realistic_lengths(2048))))
    share = loop.meter.cost()["padding_share"]
    assert share > padding if enough is None else share < padding


def realistic_lengths(count: int) -> NDArray[np.int64]:
    """As ms-marco pairs: about 90 tokens, a long tail, cut at 512."""
    drawn = np.random.default_rng(0).lognormal(mean=4.4, sigma=0.5, size=count)
    return np.clip(drawn, 12, 512).astype(np.int64)


@pytest.mark.parametrize("tokens", [2048, 4096, 65536])
def test_little_is_padding(tokens: int) -> None:
    lengths = realistic_lengths(32_768)
    loop = Loop(lambda inputs: torch.zeros(len(inputs["input_ids"]), 1), CPU, Budget(512, tokens))
    assert sum(len(index) for index, _ in loop.run(Sequences(lengths))) == len(lengths)
    cost = loop.meter.cost()
    assert loop.meter.sequences == len(lengths)
    assert loop.meter.tokens == lengths.sum()
    assert cost["padding_share"] < 0.03


def test_padding_is_counted_as_it_is() -> None:
    loop = Loop(numbers, CPU, Budget(2, 1000))
    list(loop.run(Sequences(np.array([10, 4, 6]))))
    assert (loop.meter.tokens, loop.meter.padding) == (20, 4)
    assert loop.meter.cost()["padding_share"] == 4 / 24


# --- out of memory ---


def no_memory_of_the_cpu() -> RuntimeError:
    """The error that torch's own allocator raises, not one that we made up."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    return caught.value


NO_MEMORY = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": no_memory_of_the_cpu,
    "python": MemoryError,
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)"),
}


@pytest.mark.parametrize("kind", NO_MEMORY)
@pytest.mark.parametrize("limit", [120, 300, 5000])
def test_out_of_memory_goes_on_with_smaller_batches(kind: str, limit: int, caplog: Any) -> None:
    window, tried = Sequences(realistic_lengths(500).clip(max=100)), []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        tried.append(inputs["input_ids"].numel())
        if tried[-1] > limit:
            raise NO_MEMORY[kind]()
        return numbers(inputs)

    budget = Budget(512, 10_000)
    np.testing.assert_array_equal(run(window, budget, forward), np.arange(500))
    failures = [used for used in tried if used > limit]
    assert 1 <= len(failures) <= 8  # each one halves: never a long search
    assert budget.tokens <= limit
    assert len(caplog.messages) == len(failures)
    assert f"batch_tokens={budget.tokens}" in caplog.messages[-1]


def test_out_of_memory_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """Later windows start with what fitted, and nothing that was done is done again."""
    calls = []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        calls.append(inputs["input_ids"].shape)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return numbers(inputs)

    values = filled(tmp_path, forward, count=64, window_size=16, budget=Budget(8, 80))
    np.testing.assert_array_equal(values, np.arange(64))
    assert calls[4] == (8, 10)
    assert set(calls[5:]) == {(4, 10)}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        IndexError("index out of range"),
        ValueError("no"),
    ],
    ids=repr,
)
def test_any_other_error_comes_through_as_it_is(error: Exception) -> None:
    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        raise error

    assert not out_of_memory(error)
    with pytest.raises(type(error)) as caught:
        run(Sequences(np.array([3, 4])), Budget(8, 80), forward)
    assert caught.value is error


def test_one_sequence_that_does_not_fit_is_the_users_matter() -> None:
    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError) as caught:
        run(Sequences(np.array([3, 500, 4])), Budget(8, 80), forward)
    (line,) = caught.value.problems
    assert "out of memory on cpu with a single sequence of 500 tokens" in line
    assert "max_length" in line
    assert "precision=bf16" in line
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


# --- several batches at a time ---


def streamed(
    window: Sequences, budget: Budget, forward: Callable[..., torch.Tensor], streams: int
) -> list[Batch]:
    return list(Loop(forward, CPU, budget, streams=streams).run(window))


def test_streams_give_the_same_batches_in_the_same_order() -> None:
    lengths = realistic_lengths(300)

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        time.sleep(0.002 * (int(inputs["input_ids"].max()) % 3))  # they do not end in the order they began in
        return numbers(inputs)

    alone, beside = (streamed(Sequences(lengths), Budget(8, 600), forward, streams) for streams in (1, 3))
    for (index, values), (same_index, same_values) in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(index, same_index)
        np.testing.assert_array_equal(values, same_values)


def test_a_stream_is_one_thread_and_torch_gets_its_threads_back() -> None:
    before, used, at_work = torch.get_num_threads(), set(), threading.Barrier(3)

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        at_work.wait(10)  # passes when three batches are being computed at once
        used.add((threading.get_ident(), torch.get_num_threads()))
        return numbers(inputs)

    torch.set_num_threads(4)
    try:
        streamed(Sequences(np.full(12, 10)), Budget(1, 10), forward, 3)
        assert len(used) == 3
        assert {threads for _, threads in used} == {1}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_streams_of_a_later_loop_are_the_same_threads() -> None:
    used: list[set[int]] = []
    for _ in range(2):
        seen, at_work = set(), threading.Barrier(3)

        def forward(
            inputs: dict[str, torch.Tensor], seen: Any = seen, at_work: Any = at_work
        ) -> torch.Tensor:
            at_work.wait(10)
            seen.add(threading.get_ident())
            return numbers(inputs)

        streamed(Sequences(np.full(6, 10)), Budget(1, 10), forward, 3)
        used.append(seen)
    assert used[0] == used[1]
    assert threading.get_ident() not in used[0]


def test_what_is_being_computed_when_a_loop_is_given_up_is_waited_for() -> None:
    """Else a model could be let go of, or a file closed, under a batch."""
    begun, ended = [], []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        begun.append(1)
        time.sleep(0.02)
        ended.append(1)
        return numbers(inputs)

    batches = Loop(forward, CPU, Budget(1, 10), streams=3).run(Sequences(np.full(30, 10)))
    next(batches)
    batches.close()
    assert len(begun) == len(ended) < 10


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=40),
    tokens=st.integers(1, 2000),
    sequences=st.integers(1, 20),
    streams=st.integers(1, 5),
)
def test_a_shared_budget_makes_full_rounds_of_the_smallest_batches(
    lengths: list[int], tokens: int, sequences: int, streams: int
) -> None:
    budget, order = Budget(sequences, tokens), np.sort(lengths)[::-1]
    shared = budget.shared(np.array(lengths), streams)
    assert shared.tokens <= tokens
    assert shared.sequences == sequences
    rounds = -(-budget.batches(order) // streams)
    assert shared.batches(order) <= rounds * streams  # no more turns than without sharing
    if shared.tokens > 1:
        smaller = Budget(sequences, shared.tokens - 1)
        assert smaller.batches(order) > rounds * streams


def test_ten_documents_are_shared_by_two_streams_evenly() -> None:
    lengths = np.array([150, 120, 110, 95, 90, 80, 70, 60, 50, 40])
    window = Sequences(lengths)
    loop = Loop(numbers, CPU, Budget(512, 1024).shared(lengths, 2))
    assert [len(index) for index, _ in loop.run(window)] == [4, 6]  # 600 and 540 tokens with their padding


def test_streams_that_run_out_of_memory_together_shrink_once(caplog: Any) -> None:
    at_work = threading.Barrier(2)

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if inputs["input_ids"].numel() > 60:
            at_work.wait(10)
            raise MemoryError
        return numbers(inputs)

    window, budget = Sequences(np.full(20, 10)), Budget(512, 100)
    values = np.concatenate([found[:, 0] for _, found in streamed(window, budget, forward, 2)])
    assert sorted(values) == list(range(20))
    assert budget.tokens == 50
    assert len(caplog.messages) == 1


def test_an_error_in_a_stream_ends_the_run_and_what_came_before_is_kept(tmp_path: Path) -> None:
    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        if (inputs["input_ids"] == 25).any():
            raise ValueError("broken")
        return numbers(inputs)

    with pytest.raises(ValueError, match="broken"):
        filled(tmp_path, forward, 64, 64, Budget(4, 40), streams=3)
    _, found = RowStore(tmp_path, {}).lookup(text_keys(map(str, range(64))), [0])
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(24))


# --- the store is filled as the work goes ---


def filled(
    folder: Path,
    forward: Callable[..., torch.Tensor],
    count: int,
    window_size: int,
    budget: Budget,
    streams: int = 1,
) -> NDArray[np.float32]:
    """Run `fill` over sequences 0 to count - 1 of 10 tokens and read the scores back."""
    keys = text_keys(map(str, range(count)))
    store, loop = RowStore(folder, {}), Loop(forward, CPU, budget, streams=streams)

    def prepare(rows: NDArray[np.int64]) -> Sequences:
        return Sequences(np.full(len(rows), 10), first=int(rows[0]))

    with Progress("test", count, "pairs") as progress:
        fill(store, keys, [0], np.zeros(count, bool), window_size, prepare, loop, progress)
    assert progress.done == count
    values, found = store.lookup(keys, [0])
    assert found.all()
    return values[:, 0]


class FakeClock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        fake = SimpleNamespace(monotonic=lambda: self.now, perf_counter=time.perf_counter)
        monkeypatch.setattr(loop_module, "time", fake)


def test_results_are_written_at_least_every_half_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = FakeClock(monkeypatch), []

    def slow(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        clock.now += 7
        written.append((clock.now, len(list(tmp_path.glob("*.shard")))))
        return numbers(inputs)

    np.testing.assert_array_equal(filled(tmp_path, slow, 40, 16, Budget(4, 1000)), np.arange(40))
    assert loop_module.FLUSH_SECONDS <= 30
    for seconds, shards in written:
        assert shards >= seconds // 30 - 1
    assert len(list(tmp_path.glob("*.shard"))) == 4  # 10 forwards of 7 s: after each third, and at the end


def test_quick_work_is_written_once(tmp_path: Path) -> None:
    filled(tmp_path, numbers, 400, 16, Budget(4, 1000))
    assert len(list(tmp_path.glob("*.shard"))) == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_what_was_computed_before_an_error_is_kept(tmp_path: Path, error: BaseException) -> None:
    calls = []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise error
        return numbers(inputs)

    with pytest.raises(type(error)):
        filled(tmp_path, forward, 64, 16, Budget(4, 1000))
    values, found = RowStore(tmp_path, {}).lookup(text_keys(map(str, range(64))), [0])
    np.testing.assert_array_equal(np.flatnonzero(found), np.arange(24))
    np.testing.assert_array_equal(values[:24, 0], np.arange(24))


def test_scores_that_are_no_numbers_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        filled(tmp_path, lambda inputs: numbers(inputs) / 0, 8, 16, Budget(4, 1000))


# --- windows ---


def test_one_window_is_prepared_ahead_and_no_more() -> None:
    prepared: list[int] = []
    for item, _ in ahead(lambda item: prepared.append(item), range(6)):
        time.sleep(0.02)
        assert prepared == list(range(min(item + 2, 6)))


def test_preparing_runs_in_another_thread_while_the_model_works() -> None:
    started, threads = threading.Event(), set()

    def prepare(item: int) -> int:
        threads.add(threading.get_ident())
        if item:
            started.set()
        return item * item

    for item, square in ahead(prepare, [0, 1]):
        assert square == item * item
        assert started.wait(5), "the next window was not begun while this one is in use"
    assert threading.get_ident() not in threads


def test_windows_are_let_go() -> None:
    """However many sequences there are, two windows are in memory, the one in use and the next."""
    alive: weakref.WeakSet[Sequences] = weakref.WeakSet()
    Sequences.__hash__ = object.__hash__  # type: ignore[method-assign]

    def prepare(rows: NDArray[np.int64]) -> Sequences:
        window = Sequences(np.full(len(rows), 4))
        alive.add(window)
        return window

    most = 0
    for _ in ahead(prepare, [np.arange(10)] * 20):
        time.sleep(0.002)
        most = max(most, len(alive))
    assert most <= 3  # the third only between two steps of the loop


def test_an_error_while_preparing_comes_through() -> None:
    def prepare(item: int) -> int:
        if item == 2:
            raise ValueError("cannot tokenize")
        return item

    seen = []
    with pytest.raises(ValueError, match="cannot tokenize"):
        seen += [item for item, _ in ahead(prepare, range(5))]
    assert list(ahead(prepare, [])) == []
