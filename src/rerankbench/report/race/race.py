"""A race from start to end: processes are started, loaded, timed in turns and ended; a record is left."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rerankbench.basics.masking import masked
from rerankbench.experiment.tracking.precision import scored_in
from rerankbench.report.arms.runs import Run
from rerankbench.report.race.contestant import settings as settings_of
from rerankbench.report.race.entrants import RERANKER, Entrant, entrants
from rerankbench.report.race.process import Lost, Process
from rerankbench.report.race.record import Record, Round
from rerankbench.report.race.seat import Seat
from rerankbench.report.race.texts import Texts, texts_of
from rerankbench.report.race.turns import LEAST, Turns
from rerankbench.report.settings import Report
from rerankbench.rerankers.served.address import stays_here

log = logging.getLogger(__name__)

WARM_UP = 3  # queries before anything counts
P95_QUERIES = 59  # by which the 95th percentile has an upper bound: 0.95 ** 59 < 0.05
SPARE_MB = 800.0  # of a process beside its weights
TOLD_SECONDS = 30.0


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
    found = entrants(runs, settings.race.paid)
    found = found if trusted else [without_code(without_sending(entrant)) for entrant in found]
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
    took, people = round(time.monotonic() - began, 1), tuple(seat.result() for seat in seats)
    asked = (settings.race.width, len(texts.order))
    return Record(started, took, limit, stopped, *asked, machine, people, rounds)


def without_code(entrant: Entrant) -> Entrant:
    """The entrant, kept out where its config lets a model's own code run: a folder may be a stranger's."""
    text = entrant.run.config.read_text(encoding="utf-8")
    found = [key for key in ("trust_remote_code", "allow_code") if f"{key}: true" in text]
    if entrant.why or not found:
        return entrant
    why = f"its config has {found[0]}=true, which only the sweep's own command may; run the sweep again"
    return replace(entrant, why=why)


def without_sending(entrant: Entrant) -> Entrant:
    """The entrant, kept out where its config has texts or a key sent away: a folder may be a stranger's."""
    if entrant.why or entrant.kind != RERANKER:
        return entrant
    served = settings_of(entrant.run.config).reranker.served
    if not served or (stays_here(served["url"]) and not served["key_variable"]):
        return entrant
    sent = "a key" if served["key_variable"] else "texts"
    why = f"its config sends {sent} to {served['url']}, which only the sweep's own command may; run it again"
    return replace(entrant, why=masked(why))


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
    size = 2 if scored_in(result) in ("fp16", "bf16", "int8") else 4
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
