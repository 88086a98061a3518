"""A contestant's place in the race: its process, what it is asked in a turn, what is made of the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankbench.report.race.entrants import RERANKER, Entrant
from rerankbench.report.race.process import Lost, Process
from rerankbench.report.race.record import Cell, Contestant
from rerankbench.report.race.texts import Texts
from rerankbench.report.race.turns import Turn

WARM_SECONDS = 5.0  # of queries before anything counts
PATIENCE = 10.0  # times the longest turn so far, after which a contestant is taken to hang
LEAST_PATIENCE = 0.25  # of the race's seconds
ROUNDS = 20  # that there should be time for: else the depths between are left out,
FEW_ROUNDS = 8  # and where there is no time for these, the deepest
ENOUGH_PAIRS, ENOUGH_SECONDS = 512, 4.0  # scored as a batch job would, in portions of a second
PORTION_SECONDS, LEAST_PORTION, MOST_PORTION = 1.0, 64, 4096


@dataclass
class Seat:
    """An entrant with its process; `lost` says why it has none."""

    entrant: Entrant
    texts: Texts
    seconds: float
    end: float
    process: Process | None = None
    lost: str = ""
    over: bool = False
    greeting: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    slowest: float = 0.0
    rate: float = 0.0
    offset: int = 0
    enough: bool = False
    longer: float | None = None

    @property
    def heavy(self) -> bool:
        return self.entrant.kind == RERANKER

    @property
    def raced(self) -> bool:
        return self.process is not None and not self.lost and not self.over

    def begin(self) -> None:
        """Start the process and let it load, without waiting for it."""
        self.cells = self.entrant.cells
        self.process = Process(self.entrant.label, self.entrant.run.command_folder)
        e = self.entrant
        self.try_to(lambda p: p.tell({"kind": e.kind, "config": str(e.run.config), "key": e.key}))

    def loaded(self, until: float) -> None:
        """Wait until it is loaded."""
        if found := self.try_to(lambda process: process.answer(until)):
            self.greeting = found
        elif self.over:
            self.lost = f"it was not loaded when the race's {self.seconds:g} s were over"

    def try_to(self, step: Callable[[Process], Any]) -> Any:
        """What a step with the process gives; None from a contestant that is lost, now or before."""
        if not self.raced:
            return None
        assert self.process
        try:
            return step(self.process)
        except Lost as loss:
            self.over = time.monotonic() >= self.end  # nobody's fault
            self.lost = "" if self.over else str(loss)
            self.process.kill()
            return None

    def ask(self, message: dict[str, Any], until: float) -> Any:
        """The answer, None from a contestant that is lost."""
        return self.try_to(lambda process: process.ask(message, until))

    def wanted(self) -> tuple[Cell, ...]:
        return self.cells if self.raced else ()

    @property
    def key(self) -> str:
        return self.entrant.key

    def turn(self, query: int, until: float) -> Turn:
        """One query: everything that is timed of this contestant, the order turning with the rounds."""
        times = self.timed(query, until)
        if not self.heavy or not times or self.enough:
            return Turn(times)
        return Turn(times, self.bulk(min(self.end, time.monotonic() + self.patience())))

    def timed(self, query: int, until: float) -> dict[Cell, float]:
        """What is timed on a query, within the patience that there is with this contestant."""
        began = time.monotonic()
        until = min(until, began + self.patience())
        times = self.rerank(query, until) if self.heavy else self.search(query, until)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return times

    def patience(self) -> float:
        """Seconds that a turn may take before it is taken to hang."""
        return max(self.seconds * LEAST_PATIENCE, PATIENCE * self.slowest)

    def search(self, query: int, until: float) -> dict[Cell, float]:
        found = self.ask({"do": "search", "query": self.texts.query(query)}, until)
        return {self.cells[0]: found["ms"]} if found else {}

    def rerank(self, query: int, until: float) -> dict[Cell, float]:
        times: dict[Cell, float] = {}
        for stage in sorted({cell.stage for cell in self.cells}):
            cells = [cell for cell in self.cells if cell.stage == stage]
            cells = cells[query % len(cells) :] + cells[: query % len(cells)]
            documents = self.texts.documents(stage, query, max(cell.depth for cell in cells))
            message = {"do": "rerank", "query": self.texts.query(query), "documents": documents}
            found = self.ask(message | {"asked": [(cell.layer, cell.depth) for cell in cells]}, until)
            times |= dict(zip(cells, found["ms"], strict=True)) if found else {}
        return times

    def bulk(self, until: float) -> tuple[int, float] | None:
        """A stretch of pairs scored as a batch job would, so that throughput means something."""
        pairs = self.stretch(int(min(MOST_PORTION, max(LEAST_PORTION, self.rate * PORTION_SECONDS))))
        found = self.ask({"do": "bulk", "pairs": pairs}, until) if pairs else None
        if not found:
            return None
        self.rate = found["pairs"] / found["seconds"]
        return found["pairs"], found["seconds"]

    def stretch(self, count: int) -> list[tuple[str, str]]:
        """The next pairs of the first stages' candidates, query by query."""
        pairs: list[tuple[str, str]] = []
        stages = sorted({cell.stage for cell in self.entrant.cells})
        depth = max(cell.depth for cell in self.entrant.cells)
        idle = 0  # queries without candidates, one after the other
        while len(pairs) < count and idle < len(stages) * len(self.texts.order):
            stage = stages[self.offset % len(stages)]
            place = self.offset // len(stages) % len(self.texts.order)
            query = self.texts.query(place)
            fresh = [(query, text) for text in self.texts.documents(stage, place, depth)]
            pairs, idle = pairs + fresh, 0 if fresh else idle + 1
            self.offset += 1
        return pairs[:count]

    def ready(self, pairs: int, seconds: float) -> bool:
        """Whether its throughput rests on enough; a first stage has none."""
        self.enough = pairs >= ENOUGH_PAIRS and seconds >= ENOUGH_SECONDS
        return not self.heavy or not self.raced or self.enough

    def warm_up(self, queries: Sequence[int], until: float) -> None:
        """Some queries that do not count, but tell how fast it is."""
        started = time.monotonic()
        for query in queries:
            times = self.timed(query, until)
            if self.heavy and times:
                self.rate = sum(cell.depth for cell in times) * 1000 / max(1e-6, sum(times.values()))
            if time.monotonic() - started > WARM_SECONDS:
                break

    def afford(self, seconds: float) -> None:
        """Leave out depths for which there is no time: those between two others first, then the deepest."""
        if not self.heavy or not self.rate:
            return
        whole = self.turn_seconds()
        while self.turn_seconds() * ROUNDS > seconds and len(self.depths) > 2:
            middle = self.depths[len(self.depths) // 2]
            self.cells = tuple(cell for cell in self.cells if cell.depth != middle)
        shallower = sorted({cell.depth for cell in self.entrant.cells})[:-1]
        while self.turn_seconds() * FEW_ROUNDS > seconds and shallower:
            self.cells = tuple(c for c in self.entrant.cells if c.depth in (shallower[0], shallower[-1]))
            shallower.pop()
        if self.depths[-1] < max(cell.depth for cell in self.entrant.cells):
            self.longer = rounded(self.seconds * whole * ROUNDS / max(seconds, 1.0))

    @property
    def depths(self) -> list[int]:
        return sorted({cell.depth for cell in self.cells})

    def turn_seconds(self) -> float:
        return sum(cell.depth for cell in self.cells) / self.rate

    def result(self) -> Contestant:
        e, told = self.entrant, self.greeting
        memory = self.process.memory if self.process and told else {}
        measured = (memory, told.get("load_seconds"), told.get("environment", {}))
        return Contestant(e.kind, e.key, e.label, e.why or self.lost, *measured, self.longer)


def rounded(seconds: float) -> float:
    """Seconds that people would type: two figures, upwards."""
    size = 10 ** max(1, int(math.log10(max(seconds, 1))) - 1)
    return math.ceil(seconds / size) * size
