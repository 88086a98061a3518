"""What befalls a command, in its own process: functions that `warm.Command` calls before it starts.

`at(n, act)` counts what the process does to files, and the batches of its models, and acts at the n-th: the
same moment in every repetition.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

STAGES = {
    "collection": "rerankbench.experiment.pipeline:load",
    "candidates": "rerankbench.experiment.pipeline:retrieve",
    "embedding": "rerankbench.engine.embedders.embedding:Embedding.embed",
    "scoring": "rerankbench.experiment.pipeline:score",
    "measures": "rerankbench.experiment.pipeline:measure",
    "files": "rerankbench.experiment.tracking.outputs:write",
    "tracking": "rerankbench.commands.job:track",
    "report": "rerankbench.commands.callbacks:report",
}
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")
SCORER = "rerankbench.rerankers.encoder:EncoderModel.forward"
EMBEDDER = "rerankbench.engine.embedders.embedder:EmbedderModel.forward"


def wrap(name: str, around: Callable[..., Any]) -> None:
    """Put `around(original, *arguments)` in place of `module:function` or `module:Class.method`."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, last)
    setattr(owner, last, lambda *args, **options: around(original, *args, **options))


def flush_at_once() -> None:
    """Every batch is written as soon as it is computed."""
    from rerankbench.engine import loop

    loop.FLUSH_SECONDS = 0.0


def hurry() -> None:
    """Every batch is written at once, and the lock of an owner that is gone is taken over within seconds.

    For one process at a time: beside others, on a busy machine, an owner may not get to touch its lock in
    three seconds.
    """
    from rerankbench.engine.store import lock

    flush_at_once()
    lock.LEASE, lock.WAIT_SECONDS, lock.NAMELESS_SECONDS = 3.0, 0.5, 1.0


# --- notes for the test ---


def note_stages(file: Path) -> None:
    """Keep in `file` which stage the command is in."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    inside = ["start"]

    def note(stage: str, original: Any, *args: Any, **options: Any) -> Any:
        inside.append(stage)
        os.pwrite(handle, inside[-1].ljust(12).encode(), 0)
        try:
            return original(*args, **options)
        finally:
            inside.pop()
            os.pwrite(handle, inside[-1].ljust(12).encode(), 0)

    os.pwrite(handle, b"start       ", 0)
    for stage, function in STAGES.items():
        wrap(function, partial(note, stage))


def note_scored(file: Path) -> None:
    """Add to `file` one byte for each pair that the model has scored."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def forward(original: Any, model: Any, inputs: Any) -> Any:
        values = original(model, inputs)
        os.write(handle, b"." * len(values))
        return values

    wrap(SCORER, forward)


# --- moments ---


class Moments:
    """Calls `act` at the n-th moment; `count` has a byte for each that has passed."""

    def __init__(self, n: int, act: Callable[[], None], count: Path) -> None:
        self.left, self.act = n, act
        self.count = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def passed(self) -> None:
        self.left -= 1
        os.write(self.count, b".")
        if self.left == 0:
            self.act()

    def audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS or (event == "open" and writes(arguments)):
            self.passed()

    def batch(self, original: Any, *args: Any) -> Any:
        self.passed()
        return original(*args)


def writes(arguments: tuple[Any, ...]) -> bool:
    """Whether an audited `open` is for writing."""
    return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def at(n: int, act: Callable[[], None], count: Path = Path(os.devnull)) -> None:
    """Act at the n-th moment of this process, counted from 1."""
    moments = Moments(n, act, count)
    for model in (SCORER, EMBEDDER):
        wrap(model, moments.batch)
    sys.addaudithook(moments.audited)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nothing() -> None:
    """For runs in which moments are only counted."""


def removed(folder: Path) -> None:
    """What `rm -rf` does to a cache that is in use."""
    shutil.rmtree(folder, ignore_errors=True)


# --- waiting ---


def wait_before(function: str, call: int, here: Path) -> None:
    """Before the given call of `function`, make the file `here` and wait until somebody removes it."""
    calls = 0

    def wait(original: Any, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            here.touch()
            while here.exists():
                time.sleep(0.01)
        return original(*args, **options)

    wrap(function, wait)


def slow(function: str, seconds: float) -> None:
    """Each call of `function` takes this much longer."""

    def wait(original: Any, *args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return original(*args, **options)

    wrap(function, wait)


# --- the machine ---


def little_memory(model: str, rows: int) -> None:
    """Batches of more than `rows` sequences do not fit."""

    def forward(original: Any, self: Any, inputs: Any) -> Any:
        if len(inputs["input_ids"]) > rows:
            raise MemoryError("injected")
        return original(self, inputs)

    wrap(model, forward)


def clock_runs_backwards() -> None:
    """`time.time` goes back by a minute at each call, as it never does, and may by once, when set right."""
    start, calls = time.time(), 0

    def backwards() -> float:
        nonlocal calls
        calls += 1
        return start - 60.0 * calls

    time.time = backwards
