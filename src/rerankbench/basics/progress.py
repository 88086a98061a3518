"""Progress of long work: a bar with rate and forecast on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from rerankbench.basics.visible import Console

log = logging.getLogger(__name__)

LOG_SECONDS = 30.0
TOLD_SECONDS = 10.0

Listener = Callable[[str, int, int], None]
listeners: list[Listener] = []  # are told now and then: what is done, how many items of how many


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell how far work in this process has come; a listener that fails is not told again."""
    listeners.append(listener)
    try:
        yield
    finally:
        with suppress(ValueError):
            listeners.remove(listener)


class Rate(ProgressColumn):
    """Finished items per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "", style="progress.data.speed")


class Progress:
    """`with Progress("scoring", 1000, "pairs") as progress: progress.advance(20)`; shown on stderr."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0
        self.started = self.logged = self.told = time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), Rate())
        left = (TextColumn("left"), TimeRemainingColumn())
        self.bar = Bar(*columns, *left, console=console, refresh_per_second=4)
        self.bar.disable = not console.is_terminal
        self.task = self.bar.add_task(description, total=total, unit=unit)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.bar.stop()
        if self.bar.disable and kind is None:
            log.info("%s: %s", self.description, self.line())

    def advance(self, items: int) -> None:
        self.done += items
        self.bar.update(self.task, advance=items)
        if self.bar.disable and time.monotonic() - self.logged > LOG_SECONDS:
            self.logged = time.monotonic()
            log.info("%s: %s", self.description, self.line())

        if listeners and time.monotonic() - self.told > TOLD_SECONDS:
            self.told = time.monotonic()
            self.tell()

    def tell(self) -> None:
        for listener in list(listeners):
            try:
                listener(self.description, self.done, self.total)
            except Exception as error:
                log.debug("progress is no longer shown: %s", error)
                listeners.remove(listener)

    def line(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else 0.0
        return f"{self.done:,} of {self.total:,} {self.unit}, {rate:,.1f}/s, {left:,.0f} s left"
