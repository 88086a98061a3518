"""A race from start to end: processes are started, loaded, timed in turns and ended; a record is left."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rerankbench.collection import Collection
from rerankbench.errors import UserError
from rerankbench.masking import masked
from rerankbench.race.entrants import FIRST_STAGE, RERANKER, Entrant, entrants
from rerankbench.race.process import Lost, Process
from rerankbench.race.record import Cell, Contestant, Record, Round
from rerankbench.race.turns import LEAST, Turn, Turns
from rerankbench.report.runs import SCORES, Run
from rerankbench.report_settings import Report

log = logging.getLogger(__name__)

SEED = 0  # of the order in which queries are taken
WARM_UP, WARM_SECONDS = 3, 5.0  # queries before anything counts, fewer where they take longer
PATIENCE = 10.0  # times the longest turn so far, after which a contestant is taken to hang
LEAST_PATIENCE = 0.25  # of the race's seconds
ROUNDS, FEW_ROUNDS = (
    20,
    8,
)  # that there should be time for: else the depths between, or the deepest, are left out
ENOUGH_PAIRS, ENOUGH_SECONDS = 512, 4.0  # scored as a batch job would, in portions of a second
PORTION_SECONDS, LEAST_PORTION, MOST_PORTION = 1.0, 64, 4096
P95_QUERIES = 59  # by which the 95th percentile has an upper bound: 0.95 ** 59 < 0.05
SPARE_MB = 800.0  # of a process beside its weights
TOLD_SECONDS = 30.0


@dataclass
class Texts:
    """The queries' texts and, by first stage, each query's candidates as the runs had them."""

    collection: Collection
    rows: Mapping[str, Mapping[str, list[str]]]
    order: tuple[int, ...]

    @property
    def ids(self) -> list[str]:
        """Query ids in the order of the race."""
        return [self.collection.query_ids[number] for number in self.order]

    def query(self, place: int) -> str:
        return self.collection.query_texts[self.order[place]]

    def documents(self, stage: str, place: int, depth: int) -> list[str]:
        """The texts of a query's first candidates."""
        ids = self.rows[stage].get(self.collection.query_ids[self.order[place]], [])[:depth]
        rows = self.collection.corpus.rows(ids)
        return self.collection.corpus.texts(rows[rows >= 0])


def texts_of(found: Sequence[Entrant]) -> Texts:
    """Raises UserError where the collection is not there any more, or another one now."""
    from rerankbench.race.contestant import settings

    usable = [entrant for entrant in found if not entrant.why]
    if not usable:
        raise UserError(sorted({entrant.why for entrant in found}))
    first = usable[0]
    with inside(first.folder):
        experiment = settings(first.config)
        collection = experiment.dataset.load(experiment.cache_dir)
    if collection.fingerprint() != first.run.dataset.get("fingerprint"):
        raise UserError(f"{first.run.place}: the collection is another one now than when the run was made")
    rows = {e.key: candidates(e.run) for e in found if e.kind == FIRST_STAGE}
    order = np.random.default_rng(SEED).permutation(len(collection.query_ids))
    return Texts(collection, rows, tuple(order.tolist()))


def candidates(run: Run) -> dict[str, list[str]]:
    """Each query's documents in first-stage order. Raises UserError where the table cannot be read."""
    try:
        table = pq.read_table(run.folder / SCORES, columns=["query_id", "doc_id", "rank"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run.place}/{SCORES}: cannot be read ({error}); run it again") from None
    table = table.take(pc.sort_indices(table, [("query_id", "ascending"), ("rank", "ascending")]))
    found: dict[str, list[str]] = {}
    for query, document in zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
        found.setdefault(query, []).append(document)
    return found


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The run's folder as the current one, so that its relative paths lead where they led."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


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
        self.process = Process(self.entrant.label, self.entrant.folder)
        e = self.entrant
        self.try_to(lambda p: p.tell({"kind": e.kind, "config": str(e.config), "key": e.key}))

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
        began = time.monotonic()
        until = min(until, began + self.patience())
        times = self.search(query, until) if not self.heavy else self.rerank(query, until)
        self.slowest = max(self.slowest, time.monotonic() - began)
        if not self.heavy or not times or self.enough:
            return Turn(times)
        return Turn(times, self.bulk(min(self.end, time.monotonic() + self.patience())))

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
            message: dict[str, Any] = {
                "do": "rerank",
                "query": self.texts.query(query),
                "documents": documents,
            }
            message["asked"] = [(cell.layer, cell.depth) for cell in cells]
            found = self.ask(message, until)
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
            stage, place = (
                stages[self.offset % len(stages)],
                self.offset // len(stages) % len(self.texts.order),
            )
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
            began = time.monotonic()
            limit = min(until, began + self.patience())
            times = self.rerank(query, limit) if self.heavy else self.search(query, limit)
            self.slowest = max(self.slowest, time.monotonic() - began)
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
            self.leave_out(self.depths[len(self.depths) // 2])
        shallower = sorted({cell.depth for cell in self.entrant.cells})[:-1]
        while self.turn_seconds() * FEW_ROUNDS > seconds and shallower:
            self.cells = tuple(c for c in self.entrant.cells if c.depth in (shallower[0], shallower[-1]))
            shallower.pop()
        if self.depths[-1] < max(cell.depth for cell in self.entrant.cells):
            self.longer = rounded(self.seconds * whole * ROUNDS / max(seconds, 1.0))

    @property
    def depths(self) -> list[int]:
        return sorted({cell.depth for cell in self.cells})

    def leave_out(self, depth: int) -> None:
        self.cells = tuple(cell for cell in self.cells if cell.depth != depth)

    def turn_seconds(self) -> float:
        return sum(cell.depth for cell in self.cells) / self.rate

    def result(self) -> Contestant:
        greeting = self.greeting
        return Contestant(
            self.entrant.kind,
            self.entrant.key,
            self.entrant.label,
            self.entrant.why or self.lost,
            self.process.memory if self.process and greeting else {},
            greeting.get("load_seconds"),
            greeting.get("environment", {}),
            self.longer,
        )


def rounded(seconds: float) -> float:
    """Seconds that people would type: two figures, upwards."""
    size = 10 ** max(1, int(math.log10(max(seconds, 1))) - 1)
    return math.ceil(seconds / size) * size


def worth_it(runs: Sequence[Run]) -> bool:
    """Whether there is anything to compare: a reranker, or several first stages."""
    done = [run.result["identity"] for run in runs if not run.failed]
    return any(names["reranker"] for names in done) or len({names["candidates"] for names in done}) > 1


def hold(runs: Sequence[Run], settings: Report, folder: Path, trusted: bool = True) -> Record:
    """Race whatever the runs used, and keep what came out in `folder`. Raises UserError as `race`.

    trusted: whether the runs' configs are one's own, so that models may bring the code that they allow.
    """
    free_device()
    found = race(runs, settings, trusted)
    found.write(folder)
    return found


def free_device() -> None:
    """Let go of what the jobs of this process left on a device, which contestants have need of."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def race(runs: Sequence[Run], settings: Report, trusted: bool = True) -> Record:
    """Race whatever the runs used; ends by `settings.race.seconds` whatever happens.

    Raises UserError where nothing can be raced at all.
    """
    began, limit = time.monotonic(), settings.race.seconds
    until, started = began + limit, datetime.now(UTC).isoformat(timespec="seconds")
    found = entrants(runs) if trusted else [without_code(entrant) for entrant in entrants(runs)]
    texts = texts_of(found)
    seats = [Seat(entrant, texts, limit, until, lost=entrant.why) for entrant in found]
    log.info("%s", announcement(found, limit))
    yardstick = Process("product", Path.cwd())
    try:
        machine = greet(yardstick, found, until)
        load(seats, until)
        turns = run(seats, yardstick, texts, settings, until)
        stopped = turns.run()
        rounds = tuple(turns.rounds)
    except Lost as loss:
        machine, stopped, rounds = {}, f"the fixed product could not be timed: {loss}", ()
    finally:
        everyone = [yardstick, *(seat.process for seat in seats if seat.process)]
        for process in everyone:
            process.child.kill()  # all at once: each takes a moment to be gone
        for process in everyone:
            process.kill()
    return Record(
        started,
        round(time.monotonic() - began, 1),
        limit,
        stopped,
        settings.race.width,
        len(texts.order),
        machine,
        tuple(seat.result() for seat in seats),
        rounds,
    )


def without_code(entrant: Entrant) -> Entrant:
    """The entrant, kept out where its config lets a model's own code run: a folder may be a stranger's."""
    if entrant.why or "trust_remote_code: true" not in entrant.config.read_text(encoding="utf-8"):
        return entrant
    why = "its config has trust_remote_code=true, which only the sweep's own command may; run the sweep again"
    return replace(entrant, why=why)


def announcement(found: Sequence[Entrant], limit: float) -> str:
    names = ", ".join(dict.fromkeys(entrant.label for entrant in found if not entrant.why))
    return f"race: timing {names} in turns, for at most {limit:g} s (report.race.seconds=0: no race)"


def greet(yardstick: Process, found: Sequence[Entrant], until: float) -> dict[str, Any]:
    """Start the yardstick on the devices that are raced; returns the machine."""
    usable = [entrant.run.result for entrant in found if not entrant.why]
    devices = sorted({str(result.get("environment", {}).get("device", "cpu")) for result in usable} - {"cpu"})
    threads = max((int(result.get("environment", {}).get("threads") or 0) for result in usable), default=0)
    message = {"kind": "product", "devices": ["cpu", *devices], "threads": threads}
    return dict(yardstick.ask(message, until)["environment"])


def load(seats: Sequence[Seat], until: float) -> None:
    """Load all, as many at a time as there are cores, each only where memory is left for it."""
    waiting = [seat for seat in seats if not seat.lost]
    loading: list[Seat] = []
    while waiting or loading:
        while waiting and len(loading) < (os.cpu_count() or 1):
            seat = waiting.pop(0)
            if problem := no_room(seat.entrant, loading):
                seat.lost = problem
                continue
            seat.begin()
            loading.append(seat)
        if loading:
            loading.pop(0).loaded(until)


def no_room(entrant: Entrant, loading: Sequence[Seat]) -> str:
    """Why a contestant cannot be loaded beside the others; empty where there seems to be memory."""
    import psutil

    free = psutil.virtual_memory().available / 1e6 - sum(needed_mb(seat.entrant) for seat in loading)
    wanted = needed_mb(entrant)
    if wanted <= free:
        return ""
    return f"it needs about {wanted:,.0f} MB, and beside the others {max(0.0, free):,.0f} MB are free"


def needed_mb(entrant: Entrant) -> float:
    """Main memory that loading takes, about."""
    result = entrant.run.result
    size = 4 if result.get("environment", {}).get("precision") == "fp32" else 2
    parameters = (result.get("model") or {}).get("parameters") or 0
    return SPARE_MB + (1.5 * size * parameters / 1e6 if entrant.kind == RERANKER else 0.0)


def run(seats: Sequence[Seat], yardstick: Process, texts: Texts, settings: Report, until: float) -> Turns:
    """Warm everybody up, and get the turns ready."""
    racing = [seat for seat in seats if seat.raced]
    for seat in racing:
        seat.warm_up(range(min(WARM_UP, len(texts.order))), until)
    heavy = [seat for seat in racing if seat.heavy]
    for seat in heavy:
        seat.afford((until - time.monotonic()) / len(heavy))
    least = P95_QUERIES if settings.budget.latency_p95_ms is not None else LEAST
    told = Teller(settings.race.seconds)
    return Turns(
        racing, lambda: product(yardstick, until), texts.ids, until, settings.race.width, least, tell=told
    )


def product(yardstick: Process, until: float) -> tuple[float, ...]:
    """Milliseconds of the fixed product; NaN for a race that is over meanwhile."""
    try:
        return tuple(yardstick.ask({"do": "product"}, until)["ms"])
    except Lost:
        if time.monotonic() < until:
            raise
        return (math.nan,)


@dataclass
class Teller:
    """Says now and then how far a race has come."""

    limit: float
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def __call__(self, rounds: list[Round]) -> None:
        now = time.monotonic()
        if now - self.told > TOLD_SECONDS:
            self.told = now
            busy = sum(not each.calm for each in rounds)
            disturbed = f", {busy} of them while the machine was busy" if busy else ""
            log.info("race: %d rounds in %.0f s%s", len(rounds), now - self.began, masked(disturbed))
