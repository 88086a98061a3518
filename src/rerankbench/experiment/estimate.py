"""How long scoring is going to take: what is not stored is counted, and a short pilot is timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.loop import Loop, Window
from rerankbench.rerankers.scoring.pair_scoring import PairPreparer, Work, read_cost, rests_on_enough
from rerankbench.rerankers.scoring.sequences import first_of_each
from rerankbench.rerankers.scoring.text_scoring import TextWork, pilot_rate
from rerankbench.rerankers.scoring.vector_scoring import VectorWork

log = logging.getLogger(__name__)

PILOT = 64  # sequences timed
PILOT_SECONDS = 15.0  # at most, in all but the first batch
LONG_SECONDS = 60.0  # of scoring, from which on people want to know beforehand
FEW = 1000  # pairs that are scored without asking how long it takes
WARM_UP = 8
KEY_BYTES = 32
UNKEPT = "without reranker.name and reranker.version no score is kept"
UNUSED = "reuse=false uses nothing that is stored"
UNTIMED = "how long is not known: asking costs money, so a forecast asks nothing"
UNKNOWN = "at most: how many are stored is known once the candidates are"


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


def to_score(work: Work | TextWork, drawn: bool, unkept: str = "") -> tuple[NDArray[np.int64], str]:
    """The pairs to score, and why nothing counts as stored, if so."""
    why = (unkept or (UNKNOWN if drawn else "")) if work.context.reuse else UNUSED
    return np.arange(len(work.pairs)) if why else work.missing(), why


def scoring_step(work: Work, drawn: bool = False) -> Step:
    """What the reranker has to score; of pairs `drawn` at random, it does not matter what is stored."""
    todo, why = to_score(work, drawn)
    if drawn or not len(todo):
        rate = pair_rate(work, todo) if len(todo) else 0.0
        return Step("pairs", len(work.pairs), len(todo), rate, len(todo) * pair_mb(work), why)
    return counted_step(work, todo, why)


def text_step(work: TextWork, drawn: bool = False) -> Step:
    """What a scorer has to score: where asking costs money only counted, else timed by a pilot."""
    todo, why = to_score(work, drawn, "" if work.reranker.keeps else UNKEPT)
    rate, bill = text_rate(work, todo), work.reranker.bill(*work.texts(todo)) if len(todo) else ""
    mb = len(todo) * (KEY_BYTES + 4 * len(work.layers)) / 1e6
    return Step("pairs", len(work.pairs), len(todo), rate, mb, why, bill=bill)


def vector_steps(work: VectorWork, drawn: bool = False, embedded: bool = False) -> list[Step]:
    """What there is to embed, and to compare; a pilot times both.

    embedded: whether the first stage is going to embed the same documents in the same way.
    """
    (todo, why), total = to_score(work, drawn), len(work.pairs)
    documents = len(np.unique(work.pairs.documents))
    if not len(todo):
        return [Step("documents", documents, 0, 0.0, 0.0), Step("pairs", total, 0, 0.0, 0.0)]
    rows = work.lacking(todo)
    rows = rows[:0] if embedded else rows
    rates, size = vector_rates(work, todo)
    return [
        Step("documents", documents, len(rows), rates[0], len(rows) * size, why),
        Step("pairs", total, len(todo), rates[1], 2 * len(todo) * (KEY_BYTES + 4) / 1e6, why),
    ]


def vector_rates(work: VectorWork, todo: NDArray[np.int64]) -> tuple[tuple[float, float], float]:
    """(documents per second, pairs per second) of a short pilot, and the MB of a document's vectors."""
    some = todo[spread(len(todo), PILOT + WARM_UP)]
    queries, texts = work.texts(some)
    warm = min(WARM_UP, len(some) // 2)
    work.documents.fresh(texts[:warm])
    asked = work.queries.fresh(queries[:1])
    started = time.perf_counter()
    found = work.documents.fresh(texts[warm:])
    embedding = time.perf_counter() - started
    started = time.perf_counter()
    for document in found:
        work.reranker.compare(asked[0], document)
    comparing = time.perf_counter() - started
    size = sum(document.nbytes for document in found) / len(found) / 1e6
    return (len(set(texts[warm:])) / embedding, len(found) / comparing), size


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
    sequences = work.unscored(todo) if work.context.reuse else first_of_each(work.preparer.sequences(todo))
    own = np.unique(sequences["pair"])
    alike, total = len(todo) - len(own), len(work.pairs)
    rate = rate or (pair_rate(work, own) if len(own) else 0.0)
    return Step("pairs", total, len(own), rate, len(todo) * pair_mb(work), why, alike)


def pair_mb(work: Work) -> float:
    """Disk that a new pair takes: a row for its text, and one for its tokens."""
    return 2 * (KEY_BYTES + 4 * len(work.layers)) / 1e6


def announce(work: Work | TextWork) -> None:
    """Log how long scoring is going to take, where that is long."""
    todo, why = to_score(work, drawn=False)
    if len(todo) < FEW:
        return
    if isinstance(work, VectorWork):
        steps = vector_steps(work)
    elif isinstance(work, TextWork):
        steps = [text_step(work)]
    else:
        known = read_cost(work)
        rate = known["pairs_per_second"] if rests_on_enough(known) else None
        steps = [counted_step(work, todo, why, rate)]
    for step in steps:
        if step.seconds > LONG_SECONDS or step.bill:
            log.info("%s", step.line())


def pair_rate(work: Work, todo: NDArray[np.int64]) -> float:
    """Pairs per second of a short pilot; its scores are not kept."""
    chosen = todo[spread(len(todo), PILOT + WARM_UP)]
    prepare = PairPreparer(work.model, work.collection, work.pairs)
    machine = work.context.hardware
    loop = Loop(work.model.forward, machine, work.context.budget(work.model.enough), streams=machine.streams)
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
