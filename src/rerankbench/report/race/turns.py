"""The order of a race: rounds of one query each, everyone's turn in them, and when it is over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.race.drift import TOLERANCE, calm, mark, pace
from rerankbench.report.race.intervals import noise, quantile, typical
from rerankbench.report.race.record import Cell, Round, batch, timings

LEAST = 12  # queries, before anything is taken to be sharp
INTERVAL = 6  # queries without which a median has no interval at 95%
RESOLUTION = 0.1  # ms, to which nobody needs to know a latency
LOOK = 1.05  # times as many rounds as when it was last looked whether it is over
TRIES = 2  # of a query in rounds that the machine disturbs
SHARE = 1.5  # of the average, beyond which a slow contestant lets the others have their turns first


class Racer(Protocol):
    """Who takes turns."""

    @property
    def heavy(self) -> bool:
        """Whether its turns may be so long that they are to be shared out."""

    @property
    def key(self) -> str:
        """Which portions of rounds are its own."""

    def wanted(self) -> Collection[Cell]:
        """What is to be known of it; nothing of one that has given up."""

    def turn(self, query: int, until: float) -> Turn:
        """Its part of a round, empty from one that has given up."""

    def ready(self, pairs: int, seconds: float) -> bool:
        """Whether it has scored enough pairs as a batch job would, in calm rounds."""


class Turn(NamedTuple):
    """What one contestant gave in a round: milliseconds by cell, and (pairs, seconds) of a batch."""

    times: Mapping[Cell, float] = {}
    portion: tuple[int, float] | None = None


@dataclass
class Turns:
    """A race under way. `product` times the fixed product of each device; `clock` is in seconds."""

    racers: Sequence[Racer]
    product: Callable[[], tuple[float, ...]]
    queries: Sequence[str]
    until: float
    width: float
    least: int = LEAST
    clock: Callable[[], float] = time.monotonic
    tell: Callable[[list[Round]], None] = lambda rounds: None
    rounds: list[Round] = field(default_factory=list)
    used: dict[int, float] = field(default_factory=dict)
    looked: int = 0

    def run(self) -> str:
        """Take turns until it is over: `sharp`, `all queries` (repeats show nothing more), or `time`."""
        waiting, tries = deque(range(len(self.queries))), dict.fromkeys(range(len(self.queries)), 0)
        before = self.product()
        while self.clock() < self.until:
            if not waiting:  # every query once more, by which its own differences show from the machine's
                waiting, tries = deque(range(len(self.queries))), dict.fromkeys(tries, 0)
            query = waiting.popleft()
            held = Round(self.queries[query], before, before)
            self.round(query, held)
            before = held.after = self.product()
            if self.clock() > self.until:
                break  # whatever was cut short in it
            self.rounds.append(held)
            tries[query] += 1
            if self.disturbed(self.rounds[-1]) and tries[query] < TRIES:
                waiting.append(query)
            self.tell(self.rounds)
            if len(self.rounds) >= self.looked * LOOK and (over := self.over()):
                return over
        mark(self.rounds)
        return "time"

    def round(self, query: int, held: Round) -> None:
        """Everyone's turn on one query, each round beginning with another one."""
        start = len(self.rounds) % max(1, len(self.racers))
        sitting = self.sitting()
        for number in [*range(start, len(self.racers)), *range(start)]:
            if number in sitting:
                continue
            began = self.clock()
            times, portion = self.racers[number].turn(query, self.until)
            held.times |= times
            if portion is not None:
                held.portions[self.racers[number].key] = portion
            self.used[number] = self.used.get(number, 0.0) + self.clock() - began

    def sitting(self) -> set[int]:
        """Heavy contestants that had far more than their share of the time, while others need theirs."""
        heavy = [n for n, racer in enumerate(self.racers) if racer.heavy and racer.wanted()]
        if len(heavy) < 3:
            return set()
        used = {n: self.used.get(n, 0.0) for n in heavy}
        mean = sum(used.values()) / len(heavy)
        return {n for n in heavy if used[n] > SHARE * mean}

    def disturbed(self, last: Round) -> bool:
        """Whether the machine was slower than it can be, as far as is known by now."""
        known = [product for each in self.rounds for product in (each.before, each.after)]
        return not calm((last.before, last.after), pace(known), TOLERANCE)

    def over(self) -> str:
        """Why the race is over, by all rounds so far; empty while it is not."""
        self.looked = len(self.rounds)
        mark(self.rounds)
        ids = list(dict.fromkeys(each.query for each in self.rounds))
        ready = [racer.ready(*batch(self.rounds, racer.key)) for racer in self.racers]
        if len(ids) < min(self.least, len(self.queries)) or not all(ready):
            return ""
        cells = {cell for racer in self.racers for cell in racer.wanted()}
        found = [timings(self.rounds, ids, cell) for cell in cells]
        if not found:
            return "nobody is left"
        if len(ids) >= self.least and all(self.sharp(t) for t in found):
            return "sharp"
        twice = all(np.isfinite(t).sum(axis=1).min() > 1 for t in found)
        calm_enough = len(ids) < INTERVAL or all(noise(t) <= self.width for t in found)
        return "all queries" if len(ids) == len(self.queries) and twice and calm_enough else ""

    def sharp(self, times: NDArray[np.float64]) -> bool:
        """Whether a median's interval is narrow enough."""
        found = quantile(typical(times))
        return found.width <= self.width or (found.high - found.low) / 2 <= RESOLUTION
