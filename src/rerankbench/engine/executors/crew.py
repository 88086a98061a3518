"""Ray actors at work on a list of tasks: replaced when they die, and no task is tried for ever."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.basics.errors import UserError

if TYPE_CHECKING:
    from rerankbench.basics.progress import Progress
    from rerankbench.engine.loop import Meter

log = logging.getLogger(__name__)

ATTEMPTS = 3  # of one task, and of starting workers in a row
AHEAD = 2  # tasks that a worker holds: it computes one and tokenizes the other
POLL_SECONDS = 1.0
START_SECONDS = 1800.0  # without any worker that has its place in the cluster and its model
WAIT_SECONDS = 30.0  # between two lines that say that nothing has started yet


@dataclass(eq=False)
class Task:
    """`make` builds what a worker is sent, when it is sent; `items` are counted as progress."""

    make: Callable[[], Any]
    items: int
    label: str
    attempts: int = 0


@dataclass(eq=False)
class Member:
    """One actor: `tasks` by the reference of their answer, with the time at which they were sent."""

    actor: Any
    ready: bool = False
    tasks: dict[Any, tuple[Task, float]] = field(default_factory=dict)

    def has_room(self, task: Task) -> bool:
        """A task that failed before is alone with its worker, so that only it is blamed for another one."""
        held = [other for other, _ in self.tasks.values()]
        alone = task.attempts > 0 or any(other.attempts > 0 for other in held)
        return self.ready and len(held) < (1 if alone else AHEAD)


class Crew:
    """`size` workers, made by `hire`; `limit`: seconds after which a task is taken to hang."""

    def __init__(self, hire: Callable[[], Any], size: int, limit: float | None = None) -> None:
        from rerankbench.engine.loop import Meter

        self.hire, self.size, self.limit = hire, size, limit
        self.members: list[Member] = []
        self.starting: dict[Any, Member] = {}
        self.again: deque[Task] = deque()
        self.failed_starts = 0
        self.meter = Meter()

    def run(self, tasks: Iterator[Task], progress: Progress) -> Meter:
        """Do all tasks; returns what was computed. Raises the cause of a task that keeps failing."""
        try:
            self.tasks, self.progress = tasks, progress
            self.following: Task | None = next(tasks, None)
            self.began = self.told = time.monotonic()
            while self.following or self.again or any(member.tasks for member in self.members):
                self.recruit()
                self.hand_out()
                self.collect()
            return self.meter
        finally:
            for member in self.members:
                self.dismiss(member)

    def recruit(self) -> None:
        while len(self.members) < self.size:
            member = Member(self.hire())
            self.members.append(member)
            self.starting[member.actor.load.remote()] = member

    def hand_out(self) -> None:
        """Give tasks to those who hold the fewest, failed ones first."""
        while task := self.again[0] if self.again else self.following:
            free = [member for member in self.members if member.has_room(task)]
            if not free:
                return
            if self.again:
                self.again.popleft()
            else:
                self.following = next(self.tasks, None)
            member = min(free, key=lambda member: len(member.tasks))
            answer = member.actor.work.remote(task.make(), task.attempts > 0)
            member.tasks[answer] = (task, time.monotonic())

    def collect(self) -> None:
        """Take what is done within a second, and look for what is late."""
        import ray

        flying = [*self.starting, *(answer for member in self.members for answer in member.tasks)]
        done, _ = ray.wait(flying, timeout=POLL_SECONDS)
        for answer in done:
            if answer in self.starting:
                self.started(answer, self.starting.pop(answer))
            else:  # a worker that died took its other task along
                held = [member for member in self.members if answer in member.tasks]
                if held:
                    self.finished(answer, held[0])
        self.check_time()

    def started(self, answer: Any, member: Member) -> None:
        import ray

        try:
            self.meter.load_seconds = max(self.meter.load_seconds, ray.get(answer))
            member.ready, self.failed_starts = True, 0
        except ray.exceptions.RayError as error:
            raise_users(error)
            self.leave(member)
            self.failed_starts += 1
            log.warning("a worker could not start: %s", summary(error))
            if self.failed_starts >= ATTEMPTS:
                raise RuntimeError(
                    f"workers could not start {ATTEMPTS} times in a row; the last time:\n{error}"
                ) from error

    def finished(self, answer: Any, member: Member) -> None:
        import ray

        try:
            self.meter.extend(ray.get(answer))
            task, _ = member.tasks.pop(answer)
            self.progress.advance(task.items)
        except ray.exceptions.RayTaskError as error:  # raised by the task: the worker is well
            raise_users(error)
            self.retry(member.tasks.pop(answer)[0], error)
        except ray.exceptions.RayError as error:  # the worker is gone
            self.lost(member, error)

    def lost(self, member: Member, error: Exception) -> None:
        """Replace a worker; its tasks are done again."""
        self.leave(member)
        for task, _ in member.tasks.values():
            self.retry(task, error)

    def retry(self, task: Task, error: Exception) -> None:
        task.attempts += 1
        if task.attempts >= ATTEMPTS:
            raise RuntimeError(f"{task.label} failed {ATTEMPTS} times; the last time:\n{error}") from error
        log.warning("%s: trying again (%s)", task.label, summary(error))
        self.again.append(task)

    def leave(self, member: Member) -> None:
        self.dismiss(member)
        self.members.remove(member)

    def dismiss(self, member: Member) -> None:
        import ray

        ray.kill(member.actor, no_restart=True)

    def check_time(self) -> None:
        """Stop what hangs; say what is waited for."""
        now = time.monotonic()
        for member in list(self.members):
            since = min((sent for _, sent in member.tasks.values()), default=now)
            if self.limit is not None and now - since > self.limit * len(member.tasks):
                self.lost(member, TimeoutError(f"no answer within executor.task_seconds={self.limit:g}"))
        if any(member.ready for member in self.members):
            self.began = self.told = now
            return
        if now - self.began > START_SECONDS:
            raise RuntimeError(f"no worker started within {START_SECONDS:.0f} s; {resources()}")
        if now - self.told > WAIT_SECONDS:
            self.told = now
            log.info("waiting for Ray to start %d workers; %s", self.size, resources())


def raise_users(error: Exception) -> None:
    """A user's mistake is shown as such, wherever it was found."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, UserError):
        raise UserError(cause.problems) from error


def summary(error: Exception) -> str:
    """The last line of an error, which says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def resources() -> str:
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    return ", ".join(
        f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU")
    )
