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
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Barrier
from typing import Any, Protocol

import numpy as np
import torch

from rerankbench.basics.arrays import Flags, Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason
from rerankbench.basics.progress import Progress
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.store.rows import Keys, RowStore

log = logging.getLogger(__name__)

FLUSH_SECONDS = 20.0
IN_FLIGHT = 3  # batches queued on an accelerator besides the one whose values are fetched


SLACK = 0.05  # how much shorter than the longest of its batch a sequence may be, once there are enough


@dataclass
class Budget:
    """How much one forward pass may hold: `sequences` of them, `tokens` including padding.

    What makes the width of a batch a multiple (of 8, for decoders on GPUs) is not counted.

    `enough` tokens keep the device busy: with so many in it, a batch ends before it would be padded much.
    """

    sequences: int
    tokens: int
    enough: int | None = None

    def fit(self, lengths: Ints) -> int:
        """How many of these sequences, the longest first, go into one batch."""
        longest = max(1, int(lengths[0]))
        size = min(self.sequences, self.tokens // longest)
        if self.enough is not None and size * longest > self.enough:
            near = int(np.searchsorted(-lengths, -longest * (1 - SLACK), "right"))
            size = min(size, max(near, self.enough // longest))
        return max(1, size)

    def shared(self, lengths: Ints, streams: int) -> Budget:
        """A smaller budget, in which these sequences are as many batches for each stream, of similar size."""
        lengths = np.sort(lengths)[::-1]
        most = -(-self.batches(lengths) // streams) * streams
        low, high = 1, self.tokens
        while low < high:  # fewer tokens never make fewer batches
            middle = (low + high) // 2
            if replace(self, tokens=middle).batches(lengths) <= most:
                high = middle
            else:
                low = middle + 1
        return replace(self, tokens=high)

    def batches(self, lengths: Ints) -> int:
        """How many batches these sequences are, the longest first."""
        place = count = 0
        while place < len(lengths):
            place, count = place + self.fit(lengths[place:]), count + 1
        return count


@dataclass
class Meter:
    """What was computed and how long it took; loading the model is apart."""

    sequences: int = 0
    tokens: int = 0
    padding: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0

    def add(self, lengths: Ints) -> None:
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
            "pairs": self.sequences,
            "seconds": self.seconds,
            "load_seconds": self.load_seconds,
        }


Batch = tuple[Ints, Floats]  # positions [n] and their values [n, columns]


class Window(Protocol):
    """A stretch of prepared sequences."""

    @property
    def lengths(self) -> Ints:
        """Tokens of each sequence."""

    def collate(self, index: Ints) -> dict[str, Ints]:
        """Padded arrays of the sequences in `index`, for one forward pass."""


@dataclass
class Loop:
    """Runs `forward` over windows on `hardware`, within `budget`, `streams` batches at a time.

    On a CPU each stream is one thread that computes whole batches by itself: no operator waits for the
    slowest of its parts, and a batch's values do not depend on how many threads there are.
    """

    forward: Callable[[dict[str, torch.Tensor]], torch.Tensor]
    hardware: Hardware
    budget: Budget
    meter: Meter = field(default_factory=Meter)
    streams: int = 1

    def run(self, window: Window, wanted: Flags | None = None) -> Iterator[Batch]:
        """Yield the values of the window's sequences, batch by batch, until all are done.

        Batches without a `wanted` sequence are left out. The others stay as they are: what is computed after
        an interruption is, to the last bit, what would have been computed without it.
        """
        order = np.argsort(-window.lengths, kind="stable")
        todo = deque([order] if len(order) else [])
        flying: deque[tuple[Ints, Future[torch.Tensor]]] = deque()
        workers: Executor = Inline() if self.streams == 1 else threads(self.streams)
        try:
            while todo or flying:
                while todo and len(flying) <= self.in_flight:
                    index = self.cut(window, todo)
                    if wanted is None or wanted[index].any():
                        flying.append((index, workers.submit(self.attempt, window, index)))
                if not flying:
                    break
                index, future = flying.popleft()
                try:
                    values = future.result().float().cpu().numpy()
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    self.shrink(window.lengths[index], error)
                    todo.appendleft(index)
                    continue
                self.meter.add(window.lengths[index])
                yield index, values
        finally:  # of an iteration that was given up, too
            wait([future for _, future in flying if not future.cancel()])

    @property
    def in_flight(self) -> int:
        """Batches that are begun besides the one whose values are waited for."""
        if self.hardware.device != "cpu":
            return IN_FLIGHT
        return self.streams if self.streams > 1 else 0

    def cut(self, window: Window, todo: deque[Ints]) -> Ints:
        """Take the next batch off `todo`, stretches of sequences whose longest come first."""
        stretch = todo.popleft()
        size = self.budget.fit(window.lengths[stretch[: self.budget.sequences]])
        if size < len(stretch):
            todo.appendleft(stretch[size:])
        return stretch[:size]

    def attempt(self, window: Window, index: Ints) -> torch.Tensor:
        """One forward pass."""
        arrays = window.collate(index)
        with torch.inference_mode():
            return self.forward(to_device(arrays, self.hardware.device))

    def shrink(self, lengths: Ints, error: BaseException) -> None:
        """Make the budget smaller after a batch of such sequences ran out of memory."""
        longest = int(lengths.max())
        if len(lengths) == 1:
            raise UserError(
                f"out of memory on {self.hardware.device} with a single sequence of {longest} tokens; "
                "use a smaller reranker.max_length (or embedder.max_length), precision=bf16, or a "
                "smaller model"
            ) from error
        if self.budget.tokens >= len(lengths) * longest:  # else another batch in flight has shrunk it already
            self.budget.tokens = max(1, len(lengths) * longest // 2)
            log.warning("out of memory: going on with batch_tokens=%d", self.budget.tokens)
        if self.hardware.device.startswith("cuda"):
            torch.cuda.empty_cache()


@cache
def threads(streams: int) -> ThreadPoolExecutor:
    """Threads that stay: a single query would wait longer for new ones than for some of its operators."""
    before, together = torch.get_num_threads(), Barrier(streams)
    pool = ThreadPoolExecutor(streams, "stream", alone)
    for future in [pool.submit(together.wait) for _ in range(streams)]:
        future.result()
    torch.set_num_threads(before)  # torch keeps one number for the threads to come
    return pool


def alone() -> None:
    """Let this thread compute by itself; torch settles that for good when it is asked."""
    torch.set_num_threads(1)
    torch.get_num_threads()


class Inline(Executor):
    """Runs what it is given at once, in the thread that asks."""

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def to_device(arrays: dict[str, Ints], device: str) -> dict[str, torch.Tensor]:
    """On a GPU through pinned memory: other copies would wait for all that it has been given before."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if device == "cpu":
        return tensors
    pinned = device.startswith("cuda")
    return {
        name: (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
        for name, tensor in tensors.items()
    }


def tried(
    forward: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    batches: Sequence[dict[str, Ints]],
    failing: str,
    length: str,
) -> list[torch.Tensor]:
    """What `forward` of a model of a kind that is not tested gives for batches, on the CPU.

    Raises UserError, which begins as `failing`.

    length: the key that helps where texts are too long.
    """
    try:
        with torch.inference_mode():
            return [forward(to_device(batch, "cpu")) for batch in batches]
    except UserError:
        raise  # which says itself what to do
    except Exception as error:  # whatever a model of any kind may raise
        raise UserError(
            f"{failing} ({type(error).__name__}: {reason(error)}); a smaller {length} helps where it has too "
            "few positions"
        ) from error


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
    found: Flags,
    window_size: int,
    prepare: Callable[[Ints], Window],
    loop: Loop,
    progress: Progress,
) -> None:
    """Compute the rows of `keys` and append them to the store as the work goes.

    found: which of them the store holds already. They are not computed again, but they keep their places in
    windows and batches.
    """
    buffer, missing = Buffer(store, keys, columns), ~found
    try:
        for window_rows, window in ahead(prepare, windows(missing, window_size)):
            started, fresh = time.perf_counter(), missing[window_rows]
            for index, values in loop.run(window, None if fresh.all() else fresh):
                index, values = index[fresh[index]], values[fresh[index]]
                buffer.add(window_rows[index], values)
                progress.advance(len(index))
            loop.meter.seconds += time.perf_counter() - started
    finally:  # also after Ctrl-C: what was computed is kept
        buffer.flush()


def windows(missing: Flags, size: int) -> list[Ints]:
    """Stretches of rows with something `missing` in them; their ends depend on `size` alone."""
    rows = np.arange(len(missing))
    stretches = (rows[start : start + size] for start in range(0, len(rows), size))
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
        self.rows: list[Ints] = []
        self.values: list[Floats] = []
        self.flushed = time.monotonic()

    def add(self, rows: Ints, values: Floats) -> None:
        self.rows.append(rows)
        self.values.append(values)
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            rows, values = np.concatenate(self.rows), np.concatenate(self.values)
            self.store.append(self.keys[rows], values, self.columns)
        self.rows, self.values, self.flushed = [], [], time.monotonic()
