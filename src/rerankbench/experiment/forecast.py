"""What an experiment would compute, how long it would take and what it would need, without doing it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.collection import Collection
from rerankbench.commands.config import Experiment
from rerankbench.engine import hardware
from rerankbench.engine.bench import Bench
from rerankbench.engine.loop import Loop, Window
from rerankbench.experiment.pipeline import load, make_bench, plan
from rerankbench.first_stages.dense import embedding
from rerankbench.first_stages.embedding import text_window
from rerankbench.rerankers.listed import Listed, ListWork
from rerankbench.rerankers.scoring import PairPreparer, Work, read_cost, rests_on_enough
from rerankbench.rerankers.sequences import first_of_each
from rerankbench.rerankers.text_scoring import TextWork, pilot_rate
from rerankbench.tracking.outputs import arm

log = logging.getLogger(__name__)

PILOT = 64  # sequences timed
PILOT_SECONDS = 15.0  # at most, in all but the first batch
LONG_SECONDS = 60.0  # of scoring, from which on people want to know beforehand
FEW = 1000  # pairs that are scored without asking how long it takes
WARM_UP = 8
WORKERS = (1, 8, 64)  # for which a forecast is printed
KEY_BYTES = 32
UNKEPT = "without reranker.name and reranker.version no score is kept"
UNUSED = "reuse=false uses nothing that is stored"
UNTIMED = "how long is not known, since asking costs money and nothing is asked for a forecast"
UNKNOWN = "at most: which of them are stored shows when the candidates are found"


@dataclass(frozen=True)
class Step:
    """One kind of work: `missing` of `total` items to compute at `rate` items per second, `mb` of disk.

    A rate of 0 is one that nobody has measured; `bill` says what the work costs besides time.

    `why` says, where not even a stored item counts, for what reason. `alike` more are to the model the same
    as one of those, or as a stored one.
    """

    what: str
    total: int
    missing: int
    rate: float
    mb: float
    why: str = ""
    alike: int = 0
    bill: str = ""

    @property
    def seconds(self) -> float:
        return self.missing / self.rate if self.missing and self.rate else 0.0

    @property
    def timed(self) -> bool:
        """Whether `seconds` is all that it takes."""
        return not self.missing or self.rate > 0

    def line(self) -> str:
        stored = f"{self.total - self.missing - self.alike:,} of {self.total:,} {self.what} stored"
        if self.alike:
            stored += f", {self.alike:,} the same tokens as others"
        if not self.missing:
            return f"{stored}: nothing to do"
        speed = f"measured {self.rate:,.1f}/s: {duration(self.seconds)}" if self.timed else UNTIMED
        what = f"{self.missing:,} {self.what} to compute ({self.why or stored})"
        return f"{what}, {speed}, {self.mb:,.1f} MB of disk{'; ' * bool(self.bill)}{self.bill}"


@dataclass(frozen=True)
class Forecast:
    """The steps of one experiment and the peak memory of its pilots in MB."""

    arm: str
    steps: tuple[Step, ...]
    memory_mb: float
    price_per_hour: float | None = None

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def lines(self) -> list[str]:
        untimed = "" if all(step.timed for step in self.steps) else " and what is not known below"
        head = f"{self.arm}: {duration(self.seconds)}{untimed}, about {self.memory_mb:,.0f} MB of memory"
        return [head, *(f"  {step.line()}" for step in self.steps), *(f"  {line}" for line in self.growth())]

    def growth(self) -> list[str]:
        """What more machines or GPUs would make of it, as a table; empty where there is nothing to do."""
        if not self.seconds or not all(step.timed for step in self.steps):
            return []
        rows = [("workers", "time", "price")]
        rows += [(str(workers), duration(self.seconds / workers), self.price()) for workers in WORKERS]
        kept = [row if self.price_per_hour else row[:2] for row in rows]
        lines = ["".join(f"{cell:>12}" for cell in row) for row in kept]
        worker = "a worker is this machine, or one GPU like its own, as measured by the pilot"
        return [*lines, f"{worker}; that they share the work evenly is assumed, loading models is left out"]

    def price(self) -> str:
        """Every worker is paid while it works, so more of them cost the same."""
        return f"{self.seconds / 3600 * (self.price_per_hour or 0):,.2f}"


def forecast(experiment: Experiment) -> Forecast:
    """Count what is stored, time a short pilot of what is not."""
    bench, collection = make_bench(experiment), load(experiment)
    steps = [step for step in (embedding_step(experiment, collection, bench),) if step]
    rows, drawn = likely_rows(experiment, collection, bench)
    listed = isinstance(experiment.reranker, Listed)  # then there is nothing to score
    work = None if listed else plan(experiment, collection, rows, bench)
    if work is not None and not isinstance(work, ListWork):
        steps.append(text_step(work, drawn) if isinstance(work, TextWork) else scoring_step(work, drawn))
    memory, price = hardware.peak_memory_mb(bench.hardware), experiment.report.price_per_hour
    return Forecast(arm(experiment), tuple(steps), memory["peak_cuda"] or memory["peak_rss"] or 0.0, price)


def likely_rows(
    experiment: Experiment, collection: Collection, bench: Bench
) -> tuple[NDArray[np.int64], bool]:
    """Candidates [queries, candidates] where they are stored or cheap, else as many rows at random, and True.

    Random rows have about the lengths that candidates will have, and as many pairs.
    """
    stage, depth = experiment.first_stage, experiment.candidates
    stored = stage.stored(collection, depth, bench)
    if stored is not None or not stage.embeds():
        return (stored or stage.find(collection, depth, bench)).rows, False
    total = len(collection.corpus)
    starts = np.random.default_rng(bench.seed).integers(0, total, (len(collection.query_ids), 1))
    return (starts + np.arange(min(depth, total))) % total, True  # neighbours: no document twice for a query


def embedding_step(experiment: Experiment, collection: Collection, bench: Bench) -> Step | None:
    """What the first stage has to embed, None if it embeds nothing."""
    stage = experiment.first_stage
    if not stage.embeds():
        return None
    total = len(collection.corpus)
    if stage.stored(collection, experiment.candidates, bench) is not None:
        return Step("documents", total, 0, 0.0, 0.0)
    embedder = embedding(bench)
    missing = embedder.missing(collection.corpus.texts, total) if bench.reuse else total
    if not missing:
        return Step("documents", total, 0, 0.0, 0.0)
    rows = spread(total, PILOT + WARM_UP)

    def window(numbers: NDArray[np.int64]) -> Window:
        return text_window(embedder.model, collection.corpus.texts(rows[numbers]), embedder.settings)

    rate = pilot(
        Loop(embedder.model.forward, bench.hardware, bench.budget(), streams=bench.hardware.streams),
        window,
        len(rows),
    )
    size = missing * embedder.model.dimensions * 4 / 1e6
    return Step("documents", total, missing, rate, size, "" if bench.reuse else UNUSED)


def scoring_step(work: Work, drawn: bool = False) -> Step:
    """What the reranker has to score; of pairs `drawn` at random, it does not matter what is stored."""
    why = UNKNOWN if drawn else ""
    why = why if work.bench.reuse else UNUSED
    total = len(work.pairs)
    todo = np.arange(total) if why else work.missing()
    if drawn or not len(todo):
        rate = pair_rate(work, todo) if len(todo) else 0.0
        return Step("pairs", total, len(todo), rate, len(todo) * pair_mb(work), why)
    return counted_step(work, todo, why)


def text_step(work: TextWork, drawn: bool = False) -> Step:
    """What a scorer has to score: where asking costs money only counted, else timed by a pilot."""
    why = UNKNOWN if drawn else ""
    why = UNUSED if not work.bench.reuse else why if work.reranker.keeps else UNKEPT
    todo = np.arange(len(work.pairs)) if why else work.missing()
    rate, bill = text_rate(work, todo), work.reranker.bill(*work.texts(todo)) if len(todo) else ""
    mb = len(todo) * (KEY_BYTES + 4 * len(work.layers)) / 1e6
    return Step("pairs", len(work.pairs), len(todo), rate, mb, why, bill=bill)


def text_rate(work: TextWork, todo: NDArray[np.int64]) -> float:
    """Pairs per second, as last measured or in a pilot; 0 where there are none or asking is paid for."""
    known = read_cost(work)
    if rests_on_enough(known) or not len(todo):
        return known["pairs_per_second"] if len(todo) else 0.0
    if work.reranker.paid:
        return 0.0
    return pilot_rate(work, todo[spread(len(todo), 2 * max(PILOT, work.model.batch))], PILOT_SECONDS)


def counted_step(work: Work, todo: NDArray[np.int64], why: str, rate: float | None = None) -> Step:
    """What is to be scored of the pairs `todo`, whose texts are new; a pilot tells the rate if need be."""
    sequences = work.unscored(todo) if work.bench.reuse else first_of_each(work.preparer.sequences(todo))
    own = np.unique(sequences["pair"])
    alike, total = len(todo) - len(own), len(work.pairs)
    rate = rate or (pair_rate(work, own) if len(own) else 0.0)
    return Step("pairs", total, len(own), rate, len(todo) * pair_mb(work), why, alike)


def pair_mb(work: Work) -> float:
    """Disk that a new pair takes: a row for its text, and one for its tokens."""
    return 2 * (KEY_BYTES + 4 * len(work.layers)) / 1e6


def announce(work: Work | TextWork) -> None:
    """Log how long scoring is going to take, where that is long."""
    todo = work.missing() if work.bench.reuse else np.arange(len(work.pairs))
    if len(todo) < FEW:
        return
    if isinstance(work, TextWork):
        step = text_step(work)
        if step.seconds > LONG_SECONDS or step.bill:
            log.info("%s", step.line())
        return
    known = read_cost(work)
    rate = known["pairs_per_second"] if rests_on_enough(known) else None
    step = counted_step(work, todo, "" if work.bench.reuse else UNUSED, rate)
    if step.seconds > LONG_SECONDS:
        log.info("%s", step.line())


def pair_rate(work: Work, todo: NDArray[np.int64]) -> float:
    """Pairs per second of a short pilot; its scores are not kept."""
    chosen = todo[spread(len(todo), PILOT + WARM_UP)]
    prepare = PairPreparer(work.model, work.collection, work.pairs)
    machine = work.bench.hardware
    loop = Loop(work.model.forward, machine, work.bench.budget(work.model.enough), streams=machine.streams)
    return pilot(loop, lambda numbers: prepare(chosen[numbers]), len(chosen))


def pilot(loop: Loop, window: Callable[[NDArray[np.int64]], Window], count: int) -> float:
    """Items per second over some of `count` items, the first few left out.

    The longest go first, so a pilot that is cut short counts tokens: items per second are tokens per second
    over the mean tokens of an item.
    """
    warm = min(WARM_UP, count // 2)
    if warm:
        list(loop.run(window(np.arange(warm))))
    timed = window(np.arange(warm, count))
    before, started = loop.meter.tokens, time.perf_counter()
    for _ in loop.run(timed):
        if time.perf_counter() - started > PILOT_SECONDS:
            break
    speed = (loop.meter.tokens - before) / (time.perf_counter() - started)
    return speed * (count - warm) / max(1, int(timed.lengths.sum()))


def spread(total: int, count: int) -> NDArray[np.int64]:
    """Up to `count` row numbers, evenly spaced over `total`."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).astype(np.int64))


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 3 min, 5.2 h, 2.1 days."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
