"""The one scheduler behind embedding and scoring: windows, batches by tokens, flushes, out of memory.

Sequences are prepared window by window in a thread ahead of the model, so memory stays bounded however
many there are. Inside a window the longest go first and batches are filled by tokens, so padding is small
and a batch that does not fit shows at once.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rerankbench.errors import UserError
from rerankbench.hardware import Hardware
from rerankbench.progress import Progress
from rerankbench.store import Keys, RowStore

log = logging.getLogger(__name__)

FLUSH_SECONDS = 20.0
IN_FLIGHT = 4  # batches queued on an accelerator before their results are fetched


@dataclass
class Budget:
    """How much one forward pass may hold: `sequences` of them, `tokens` including padding."""

    sequences: int
    tokens: int

    def fit(self, longest: int) -> int:
        """How many sequences, none longer than `longest` tokens, go into one batch."""
        return max(1, min(self.sequences, self.tokens // max(1, longest)))

    def halve(self, used: int) -> None:
        """Out of memory with `used` tokens: allow half of that from now on."""
        self.tokens = max(1, min(self.tokens, used) // 2)


@dataclass
class Meter:
    """What was computed and how long it took; loading the model is apart."""

    sequences: int = 0
    tokens: int = 0
    padding: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0

    def add(self, lengths: NDArray[np.int64]) -> None:
        self.sequences += len(lengths)
        self.tokens += int(lengths.sum())
        self.padding += int(lengths.max() * len(lengths) - lengths.sum())

    def extend(self, other: Meter) -> None:
        """Add what somebody else computed; models load side by side."""
        for name in ("sequences", "tokens", "padding", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.load_seconds = max(self.load_seconds, other.load_seconds)

    def cost(self) -> dict[str, float]:
        seconds = self.seconds or float("inf")
        padded = self.tokens + self.padding
        return {
            "pairs_per_second": self.sequences / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding_share": self.padding / padded if padded else 0.0,
            "load_seconds": self.load_seconds,
        }


Batch = tuple[NDArray[np.int64], NDArray[np.float32]]  # positions [n] and their values [n, columns]


class Window(Protocol):
    """A stretch of prepared sequences; one or more of them make a row."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""

    def collate(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Padded arrays of the sequences in `index`, for one forward pass."""

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Turn values of sequences into values of rows."""

    def sequences(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which sequences make up the marked rows."""


@dataclass
class Loop:
    """Runs `forward` over windows on `hardware`, within `budget`."""

    forward: Callable[[dict[str, torch.Tensor]], torch.Tensor]
    hardware: Hardware
    budget: Budget
    meter: Meter = field(default_factory=Meter)

    def run(self, window: Window, wanted: NDArray[np.bool_] | None = None) -> Iterator[Batch]:
        """Yield the values of the window's sequences, batch by batch, until all are done.

        Batches without a `wanted` sequence are left out. The others stay as they are: what is computed after
        an interruption is, to the last bit, what would have been computed without it.
        """
        order = np.argsort(-window.lengths, kind="stable")
        flying: deque[tuple[NDArray[np.int64], torch.Tensor]] = deque()
        start = 0
        while start < len(order):
            longest = int(window.lengths[order[start]])
            index = order[start : start + self.budget.fit(longest)]
            if wanted is not None and not wanted[index].any():
                start += len(index)
                continue
            values = self.attempt(window, index, longest)
            if values is None:
                continue
            start += len(index)
            self.meter.add(window.lengths[index])
            flying.append((index, values))
            while len(flying) > (0 if self.hardware.device == "cpu" else IN_FLIGHT):
                yield fetch(*flying.popleft())
        yield from (fetch(*batch) for batch in flying)

    def attempt(self, window: Window, index: NDArray[np.int64], longest: int) -> torch.Tensor | None:
        """One forward pass, or None after making the budget smaller because memory ran out."""
        try:
            arrays = window.collate(index)
            with torch.inference_mode():
                return self.forward(to_device(arrays, self.hardware.device))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self.shrink(len(index), longest, error)
            return None

    def shrink(self, sequences: int, longest: int, error: BaseException) -> None:
        if sequences == 1:
            raise UserError(
                f"out of memory on {self.hardware.device} with a single sequence of {longest} tokens; "
                "use a smaller reranker.max_length (or embedder.max_length), precision=bf16, or a "
                "smaller model"
            ) from error
        self.budget.halve(sequences * longest)
        log.warning("out of memory: going on with batch_tokens=%d", self.budget.tokens)
        if self.hardware.device.startswith("cuda"):
            torch.cuda.empty_cache()


def to_device(arrays: dict[str, NDArray[np.int64]], device: str) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}


def fetch(index: NDArray[np.int64], values: torch.Tensor) -> Batch:
    return index, values.float().cpu().numpy()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; every other RuntimeError is shown as it is."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # torch's allocators for CPUs and for Apple's GPUs have no error class of their own
    signs = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory")
    return any(sign in str(error) for sign in signs)


def fill(
    store: RowStore,
    keys: Keys,
    columns: Sequence[int],
    todo: NDArray[np.int64],
    window_size: int,
    prepare: Callable[[NDArray[np.int64]], Window],
    loop: Loop,
    progress: Progress,
    found: NDArray[np.bool_] | None = None,
) -> None:
    """Compute the rows `todo` of `keys` and append them to the store as the work goes.

    found: which rows of `keys` the store holds already. They are not computed again, but they keep their
    places in windows and batches.
    """
    buffer = Buffer(store, keys, columns)
    missing = np.ones(len(keys), bool) if found is None else ~found
    try:
        for window_rows, window in ahead(prepare, windows(todo, window_size, missing)):
            started, fresh = time.perf_counter(), missing[window_rows]
            wanted = None if fresh.all() else window.sequences(fresh)
            for index, values in window.rows(loop.run(window, wanted)):
                index, values = index[fresh[index]], values[fresh[index]]
                buffer.add(window_rows[index], values)
                progress.advance(len(index))
            loop.meter.seconds += time.perf_counter() - started
    finally:  # also after Ctrl-C: what was computed is kept
        buffer.flush()


def windows(todo: NDArray[np.int64], size: int, missing: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Stretches of `todo` with something missing in them; their ends depend on `todo` and `size` alone."""
    stretches = (todo[start : start + size] for start in range(0, len(todo), size))
    return [stretch for stretch in stretches if missing[stretch].any()]


def ahead(prepare: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield (item, prepare(item)), preparing the next one in a thread while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(prepare, items[0]) if items else None
        for position, item in enumerate(items):
            assert future is not None
            prepared = future.result()
            if position + 1 < len(items):
                future = thread.submit(prepare, items[position + 1])
            yield item, prepared


class Buffer:
    """Collects rows and writes them as a shard every `FLUSH_SECONDS`."""

    def __init__(self, store: RowStore, keys: Keys, columns: Sequence[int]) -> None:
        self.store, self.keys, self.columns = store, keys, columns
        self.rows: list[NDArray[np.int64]] = []
        self.values: list[NDArray[np.float32]] = []
        self.flushed = time.monotonic()

    def add(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self.rows.append(rows)
        self.values.append(values)
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            rows, values = np.concatenate(self.rows), np.concatenate(self.values)
            self.store.append(self.keys[rows], values, self.columns)
        self.rows, self.values, self.flushed = [], [], time.monotonic()
