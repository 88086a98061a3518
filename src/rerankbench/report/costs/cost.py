"""What an arm costs: latency, throughput, memory, size and price, measured in a race or said not to be.

Times come from `race.json`: medians over queries with 95% intervals. Those of the whole query are, on each
query, what searching took and what reranking took, added. A depth between two that were timed is interpolated
on each query. What a single run measured with latency=true only orders arms, where there is no race: it
carries no interval, and runs are made at different times.

What a server computes is timed as whoever asks it feels it. Its memory is not known here, and its price is
what it charges, or not known either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.experiment.tracking.precision import scored_in
from rerankbench.report.arms.arms import Arm
from rerankbench.report.costs.book import Book, Times
from rerankbench.report.race.intervals import UNKNOWN, Estimate, quantile, ratio
from rerankbench.report.race.record import Contestant, batch

QUERY = "raced whole-query latency"  # median of searching and reranking one query
RACED = "raced latency"  # median of reranking one query
MEASURED = "latency"  # p50 of reranking one query, by single runs with latency=true
COMPUTE = "compute"  # texts that the model reads, times parameters

NOT_MEASURED, ABOVE = "was not measured", "is above"  # why an arm is out of the budget
ENOUGH_PAIRS, ENOUGH_SECONDS = 256, 1.0  # by which a throughput means something; one pair's does not
P95_LEVEL = 0.90  # 5% on each side: what a budget may be wrong by
P95_QUERIES = 59  # of which the slowest is above the 95th percentile with 95% confidence
Span = tuple[float, float]


@dataclass(frozen=True)
class Cost:
    """One arm's costs; None: not measured, or not well enough.

    latency in ms of reranking one query, query in ms of searching and reranking it, each with its interval
    (95%; of p95, 90%, an open end is infinite) and the number of `queries` it rests on; `interpolated`
    between depths or layers that were timed; `bound` where it is at most so much. Throughput rests on `pairs`
    in `pair_seconds`. `ms_per_query` of a machine that is kept busy, and its price per 1,000 queries. Memory
    in MB (10^6 bytes): the peak of the reranker's process, and of the first stage's, on the device if there
    is one. `why` says why there are no times.
    """

    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    bound: bool = False
    pairs_per_second: float | None = None
    ms_per_query: float | None = None
    memory_mb: float | None = None
    parameters_m: float | None = None
    load_seconds: float | None = None
    price_per_1k: float | None = None
    latency_p50_interval: Span | None = None
    latency_p95_interval: Span | None = None
    query_p50_ms: float | None = None
    query_p50_interval: Span | None = None
    query_p95_ms: float | None = None
    query_p95_interval: Span | None = None
    search_memory_mb: float | None = None
    queries: int = 0
    interpolated: bool = False
    pairs: int = 0
    pair_seconds: float = 0.0
    why: str = ""


def of(arm: Arm, book: Book) -> Cost:
    """The costs of an arm."""
    model = arm.run.result.get("model", {})
    reranker = book.contestant("reranker", arm.reranker)
    stage = book.contestant("first_stage", arm.stage)
    values, interpolated = book.reranking(arm)
    times = raced(values if arm.reranks else None, book.query(arm)) if book.race else single(arm)
    if not arm.reranks:
        times |= {"latency_p50_ms": 0.0, "latency_p95_ms": 0.0}
    (pairs, seconds), share = pairs_of(arm, book), layer_share(arm, book)
    enough = pairs >= ENOUGH_PAIRS and seconds >= ENOUGH_SECONDS
    rate = pairs / seconds / share if share and enough else None
    busy = 1000.0 * arm.depth / rate if rate else (None if arm.reranks else 0.0)
    parameters = model.get("parameters")
    return Cost(
        **times,
        bound=arm.layer != arm.top_layer,
        pairs_per_second=rate,
        ms_per_query=busy,
        # of one behind a server it would be that of asking
        memory_mb=None if served(arm) else peak(reranker if arm.reranks else stage),
        parameters_m=(parameters / 1e6 if parameters else None) if arm.reranks else 0.0,
        load_seconds=loading(model, reranker) if arm.reranks else 0.0,
        price_per_1k=charged(arm) if served(arm) else price(kept_busy(busy, book, arm), book.price_per_hour),
        search_memory_mb=peak(stage),
        queries=int(np.isfinite(values).sum()) if values is not None else 0,
        interpolated=interpolated,
        pairs=pairs,
        pair_seconds=seconds,
        why=why(arm, book, reranker, stage),
    )


def raced(reranking: Times | None, query: Times | None) -> dict[str, Any]:
    """Latencies as `Cost` names them; nothing that is not known."""
    found: dict[str, Any] = {}
    for name, times in (("latency", reranking), ("query", query)):
        if times is not None:
            found |= span(name, quantile(times), quantile(times, 0.95, P95_LEVEL))
    return found


def span(name: str, middle: Estimate, high: Estimate) -> dict[str, Any]:
    """A median and a 95th percentile with their intervals, as `Cost` names them; none that is not known."""
    if not middle.known:
        return {}
    found = {f"{name}_p50_ms": middle.value, f"{name}_p50_interval": (middle.low, middle.high)}
    found |= {f"{name}_p95_ms": high.value} if math.isfinite(high.high) else {}
    return found | {f"{name}_p95_interval": (high.low, high.high)}


def why(arm: Arm, book: Book, reranker: Contestant | None, stage: Contestant | None) -> str:
    """Why an arm's times are not known, empty if they are."""
    race = book.race
    if race is None:
        return "there was no race"
    values = book.compared(arm)
    if values is None:
        if (arm.reranks and reranker is None) or stage is None:
            return "it took no part in the race"
        lost = [c.why for c in (reranker, stage) if c and c.why and (c is reranker or book.whole)]
        late = f"the race's {race.limit_seconds:g} s were too short for it"
        return lost[0] if lost else late
    found = quantile(values)
    if found.known or not (arm.reranks or book.whole):
        return ""
    if race.busy:
        return f"the machine was busy with something else in {race.drifted} of {len(race.rounds)} rounds"
    if not math.isfinite(found.high):
        return f"{found.queries} quer{'y' if found.queries == 1 else 'ies'} could be timed, which are too few"
    return f"{found.queries} queries leave its median between {found.low:,.3g} and {found.high:,.3g} ms"


def single(arm: Arm) -> dict[str, Any]:
    """What a run with latency=true timed, of all its layers; without an interval."""
    found = (arm.run.result.get("latency_ms") or {}).get(str(arm.depth), {}) if arm.reranks else {}
    return {"latency_p50_ms": found.get("p50"), "latency_p95_ms": found.get("p95")}


def pairs_of(arm: Arm, book: Book) -> tuple[int, float]:
    """Pairs by which throughput is known, and the seconds they took; a run's where there is no race."""
    if not arm.reranks:
        return 0, 0.0
    if book.race is None:
        found = arm.run.result.get("throughput") or {}
        return int(found.get("pairs") or 0), float(found.get("seconds") or 0.0)
    return batch(book.race.rounds, arm.reranker)


def layer_share(arm: Arm, book: Book) -> float | None:
    """What the arm's layer takes of the time of all layers, by the race; 1 where it is at most so much."""
    if arm.layer == arm.top_layer or book.race is None:
        return 1.0
    own, top = (book.reranking(each)[0] for each in (arm, replace(arm, layer=arm.top_layer)))
    found = ratio(own, top) if own is not None and top is not None else UNKNOWN
    return found.value if found.known else None


def kept_busy(ms: float | None, book: Book, arm: Arm) -> float | None:
    """Milliseconds that a query takes of a busy machine, with searching where first stages compete."""
    if ms is None or not book.whole:
        return ms
    searching = book.searching(arm)
    found = quantile(searching) if searching is not None else UNKNOWN
    return ms + found.value if found.known else None


def loading(model: dict[str, Any], reranker: Contestant | None) -> float | None:
    """Seconds to load the model, by its run; in the race several are loaded at a time."""
    return model.get("load_seconds") or (reranker.load_seconds if reranker else None)


def peak(contestant: Contestant | None) -> float | None:
    """Peak MB on the device, of the process where there is none."""
    found = contestant.memory_mb if contestant else {}
    return found.get("peak_cuda") or found.get("peak_rss")


def served(arm: Arm) -> dict[str, Any]:
    """How a server is asked for the arm's scores, as its run says; empty where none is."""
    return dict(arm.run.result.get("model", {}).get("served") or {}) if arm.reranks else {}


def charged(arm: Arm) -> float | None:
    """What the arm's service charges for reranking 1,000 queries, by the prices of its config."""
    return (arm.run.result.get("price_per_1k") or {}).get(str(arm.depth))


def price(ms_per_query: float | None, price_per_hour: float | None) -> float | None:
    """Price of 1,000 queries in the currency of `price_per_hour`."""
    if ms_per_query is None or price_per_hour is None:
        return None
    return ms_per_query * 1000 / 3_600_000 * price_per_hour


@dataclass(frozen=True)
class Ratio:
    """One arm's cost by another's with its interval: of 0 width if counted, not measured. NaN: unknown."""

    value: float
    low: float
    high: float
    what: str

    @property
    def known(self) -> bool:
        return math.isfinite(self.value) and self.value > 0 and math.isfinite(self.high)

    @property
    def less(self) -> bool:
        """Whether the arm is shown to cost less than the other."""
        return self.high < 1

    @property
    def more(self) -> bool:
        return self.low > 1

    def times(self) -> str:
        """5.1 [4.8, 5.4] times the latency."""
        return f"{self.said('{:.2g}'.format)} times the {self.what}"

    def share(self) -> str:
        """25% [24%, 26%] of its latency."""
        return f"{self.said(percent)} of its {self.what}"

    def said(self, form: Callable[[float], str]) -> str:
        if self.low == self.high:
            return form(self.value)
        return f"{form(self.value)} [{form(self.low)}, {form(self.high)}]"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


@dataclass(frozen=True)
class Ordering:
    """What arms are ordered by from cheap to dear [arms], one basis for all of them; NaN: not known.

    `times`: the milliseconds [queries] behind each value, None where values were counted or single runs'.
    `stages`: each arm's first stage, where its own cost is not in the values.
    """

    basis: str
    values: NDArray[np.float64]
    times: tuple[Times | None, ...] = ()
    stages: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The basis, as a sentence names it."""
        return self.basis.removeprefix("raced ")

    @property
    def unit(self) -> str:
        return {
            QUERY: "median ms per query, searching and reranking",
            RACED: "median ms per query",
            MEASURED: "p50 ms per query, by single runs",
        }.get(self.basis, "billion parameters x texts read per query")

    def ratio(self, arm: int, other: int) -> Ratio:
        """The arm's cost as a share of the other's, unknown where one of them is, or nothing is raced.

        Raced times are compared on the same queries, so that neither the query nor the hour counts. Compute
        is counted, so that its interval is a point; it says nothing across first stages.
        """
        values = self.values[[arm, other]]
        unknown = Ratio(math.nan, -math.inf, math.inf, self.what)
        if not np.isfinite(values).all() or self.basis == MEASURED or not values[1]:
            return unknown
        if not values[0] and not self.apart(arm, other):
            return Ratio(0.0, 0.0, 0.0, self.what)
        if self.basis == COMPUTE:
            share = float(values[0] / values[1])
            return unknown if self.apart(arm, other) else Ratio(share, share, share, self.what)
        mine, theirs = (self.times[i] for i in (arm, other)) if self.times else (None, None)
        found = ratio(mine, theirs) if mine is not None and theirs is not None else UNKNOWN
        return Ratio(*found[:3], self.what) if found.known else unknown

    def apart(self, arm: int, other: int) -> bool:
        """Whether compute says nothing, since what the arms' first stages cost is not in it."""
        return self.basis == COMPUTE and bool(self.stages) and self.stages[arm] != self.stages[other]

    def cheaper(self, arm: int, other: int) -> bool:
        """Whether the arm is known to cost less; measured, that its whole interval lies below."""
        found = self.ratio(arm, other)
        if math.isfinite(found.value):
            return found.less
        return bool(self.values[arm] < self.values[other]) and not self.apart(arm, other)  # false of NaN


def ordering(arms: Sequence[Arm], costs: Sequence[Cost], book: Book | None = None) -> Ordering:
    """Raced medians where there was a race; else single runs' p50 where all have it; else compute."""
    book = book or Book()
    stages = tuple(arm.stage for arm in arms)
    if book.raced:
        name = "query_p50_ms" if book.whole else "latency_p50_ms"
        values = np.array([unknown_as_nan(getattr(cost, name)) for cost in costs])
        if np.isfinite(values[[arm.reranks or book.whole for arm in arms]]).any():
            return Ordering(QUERY if book.whole else RACED, values, tuple(map(book.compared, arms)))
    single = np.array([single_p50(arm) for arm in arms])
    if np.isfinite(single).all() and len(machines(arms)) <= 1 and len(set(stages)) == 1:
        return Ordering(MEASURED, single)
    compute = [
        texts_read(arm) * unknown_as_nan(cost.parameters_m) / 1000 * depth_share(arm)
        for arm, cost in zip(arms, costs, strict=True)
    ]
    return Ordering(COMPUTE, np.array(compute), stages=stages)


def texts_read(arm: Arm) -> int:
    """What the model reads for a query: each pair, or the query alone where vectors are compared."""
    return 1 if arm.reranks and arm.run.result.get("model", {}).get("compares_vectors") else arm.depth


def depth_share(arm: Arm) -> float:
    """The share of the layers that the arm computes, all of which have about as many parameters."""
    return arm.layer / arm.top_layer if arm.layer and arm.top_layer else 1.0


def unknown_as_nan(value: float | None) -> float:
    return math.nan if value is None else value


def single_p50(arm: Arm) -> float:
    """p50 of a run with latency=true, at the arm's share of the layers."""
    if not arm.reranks:
        return 0.0
    return unknown_as_nan(single(arm)["latency_p50_ms"]) * depth_share(arm)


def machines(arms: Sequence[Arm]) -> list[str]:
    """The devices that the reranking arms ran on, and the precisions of those that go by the machine's."""
    found: dict[str, set[str]] = {}
    for result in (arm.run.result for arm in arms if arm.reranks):
        e, precision = result.get("environment", {}), scored_in(result)
        own = {precision} if precision == e.get("precision") else set()
        found.setdefault(str(e.get("device_name", "")), set()).update(own)
    return sorted(
        f"{device} in {precision}" if precision else device
        for device, precisions in found.items()
        for precision in precisions or {""}
    )


def price_words(order: Ordering, arm: int, best: int) -> str:
    """What the arm costs of the best one: `at 25% [24%, 26%] of its latency`."""
    found = order.ratio(arm, best)
    if found.known and found.less:
        return f"at {found.share()}"
    if found.known:
        more = "more" if found.more else "about the same"
        return f"at {more} {order.what} ({found.said(percent)} of the best arm's)"
    mine, its = order.values[arm], order.values[best]
    if not np.isfinite([mine, its]).all() or order.apart(arm, best):
        return "at a cost that was not measured"
    by = " by single runs" if order.basis == MEASURED else ""
    return f"at {'less' if mine < its else 'more' if mine > its else 'the same'} {order.what}{by}"


def deeper_price_words(order: Ordering, arm: int, deepest: int, depth: int) -> str:
    """What the deepest arm of the same curve would cost more; empty where that is not shown."""
    found = order.ratio(deepest, arm)
    return f", and depth {depth} would take {found.times()}" if found.known and found.more else ""


def front(quality: NDArray[np.float64], cost: NDArray[np.float64]) -> list[int]:
    """The Pareto front, cheapest first: each is better than all cheaper ones; unknown costs are left out."""
    kept: list[int] = []
    for arm in np.lexsort((-quality, cost)):
        if np.isfinite(cost[arm]) and (not kept or quality[arm] > quality[kept[-1]]):
            kept.append(int(arm))
    return kept
