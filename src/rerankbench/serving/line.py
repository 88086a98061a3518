"""The line in which requests wait: bounded, and worked off by one thread in batches that they share."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from rerankbench.basics.arrays import Floats
from rerankbench.report.arrangements.course import Asked
from rerankbench.serving.arm import Answering
from rerankbench.serving.models import Models
from rerankbench.serving.refusal import Refused

log = logging.getLogger(__name__)

TOGETHER = 64  # texts that requests which share batches have at most, unless one alone has more
MEMORY = 20  # groups by whose speed it is told how long a full line takes


@dataclass(eq=False)
class Job:
    """A request on its way. Nothing is computed for it after `until`, a time of the monotonic clock."""

    course: Answering
    until: float
    asked: Asked | None = None
    future: Future[Any] = field(default_factory=Future)

    def go_on(self, scores: Floats | None = None) -> None:
        """Take its next step; `asked` is what has to be scored then, None where it is done."""
        try:
            self.asked = next(self.course) if scores is None else self.course.send(scores)
        except StopIteration as end:
            self.asked = None
            self.future.set_result(end.value)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        self.asked = None
        if not self.future.done():
            self.future.set_exception(error)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.future.cancelled() and time.monotonic() < self.until


class Line:
    """Takes jobs, first come first served. Models are used by its thread alone."""

    def __init__(self, models: Models, most: int) -> None:
        self.models, self.most = models, most
        self.waiting: deque[Job] = deque()
        self.open, self.at_work = True, 0
        self.seconds: deque[float] = deque(maxlen=MEMORY)  # that single jobs took lately
        self.shared: deque[int] = deque(maxlen=1000)  # how many requests were scored together
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.work, name="line", daemon=True)
        self.thread.start()

    def __len__(self) -> int:
        """Requests that are not answered yet."""
        return len(self.waiting) + self.at_work

    def enter(self, job: Job) -> Future[Any]:
        """Wait for a turn. Raises Refused where there is no room, saying when there may be."""
        with self.changed:
            if not self.open:
                raise Refused(503, "the service is stopping")
            if len(self) >= self.most:
                seconds = self.patience()
                why = f"{len(self)} requests are waiting, no more are taken; try again in {seconds} s"
                raise Refused(429, why, {"Retry-After": str(seconds)})
            self.waiting.append(job)
            self.changed.notify()
        return job.future

    def patience(self) -> int:
        """Whole seconds after which half of the line should be gone."""
        each = sum(self.seconds) / len(self.seconds) if self.seconds else 0.1
        return min(60, max(1, math.ceil(each * len(self) / 2)))

    def work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or not self.open)
                if not self.waiting:
                    return
            self.group()

    def group(self) -> None:
        """Serve the requests at the head of the line together, until each has its answer."""
        started, jobs = time.perf_counter(), list(self.next_jobs())
        todo = [job for job in jobs if job.asked is not None]
        while todo:
            for group in alike(todo):
                self.score(group)
            todo = [job for job in todo if job.asked is not None]
        with self.changed:
            self.at_work = 0
        if jobs:
            self.shared.append(len(jobs))
            self.seconds.append((time.perf_counter() - started) / len(jobs))

    def next_jobs(self) -> Iterator[Job]:
        """Jobs as they come, each begun, as long as they have few enough texts together."""
        texts = 0
        while texts < TOGETHER:
            with self.changed:
                if not self.waiting:
                    return
                job = self.waiting.popleft()
                self.at_work += 1
            if not job.wanted:
                job.fail(TimeoutError())
                continue
            if job.future.set_running_or_notify_cancel():
                job.go_on()
                yield job
                texts += len(job.asked.documents) if job.asked else 0

    def score(self, group: Sequence[Job]) -> None:
        """Score what jobs ask of one reranker; where that fails, one by one, so that one fails alone."""
        late = [job for job in group if not time.monotonic() < job.until]
        for job in late:
            job.fail(TimeoutError())
        group = [job for job in group if job.asked is not None]
        if not group:
            return
        try:
            found = self.models.scores([job.asked for job in group if job.asked])
        except Exception as error:
            if len(group) == 1:
                group[0].fail(error)
                return
            for job in group:
                self.score([job])
            return
        for job, scores in zip(group, found, strict=True):
            job.go_on(scores)

    def close(self) -> None:
        """Take no more, answer those that wait, and end."""
        with self.changed:
            self.open = False
            self.changed.notify()
        self.thread.join()


def alike(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that ask the same reranker at the same layer, in the order in which they came."""
    groups: dict[tuple[str, int | None], list[Job]] = {}
    for job in jobs:
        assert job.asked is not None
        groups.setdefault((job.asked.step["key"], job.asked.step["layer"]), []).append(job)
    return list(groups.values())
