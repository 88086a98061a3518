"""What an arm costs: latency, throughput, memory, size and price, measured in a race or said not to be.

Times come from `race.json`: medians over queries with 95% intervals. Those of the whole query are, on each
query and in the same round, what searching took and what reranking took, added. A depth between two that were
timed is interpolated on each query. What a single run measured with latency=true only orders arms, where there
is no race: it carries no interval, and runs are made at different times.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.race.intervals import LEVEL, UNKNOWN, Estimate, quantile, ratio
from rerankbench.race.record import Cell, Contestant, Record
from rerankbench.report.arms import Arm
from rerankbench.report_settings import Budget

QUERY = "whole-query latency"  # median of searching and reranking one query, raced
RACED = "latency"  # median of reranking one query, raced
MEASURED = "latency of single runs"  # p50 of reranking one query, by runs with latency=true
COMPUTE = "compute"  # depth times parameters

NOT_MEASURED, ABOVE = "was not measured", "is above"  # why an arm is out of the budget
ENOUGH_PAIRS, ENOUGH_SECONDS = 256, 3.0  # by which a throughput means something
P95_LEVEL = 0.90  # 5% on each side: what a budget may be wrong by
P95_QUERIES = 59  # of which the slowest is above the 95th percentile with 95% confidence
Span = tuple[float, float]
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """One arm's costs; None: not measured, or not well enough.

    latency in ms of reranking one query, query in ms of searching and reranking it, each with its interval
    (95%; of p95, 90%, an open end is infinite) and the number of `queries` it rests on; `interpolated` between
    depths or layers that were timed; `bound` where it is at most so much. Throughput rests on `pairs` in
    `pair_seconds`. `ms_per_query` of a machine that is kept busy, and its price per 1,000 queries. Memory in
    MB (10^6 bytes): the peak of the reranker's process, and of the first stage's, on the device if there is
    one. `why` says why there are no times.
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


@dataclass(frozen=True)
class Book:
    """Where costs are looked up. `whole`: whether arms are compared by the whole query's cost."""

    race: Record | None = None
    whole: bool = False
    price_per_hour: float | None = None
    cure: str = ""

    def reranking(self, arm: Arm) -> tuple[Times | None, bool]:
        """Milliseconds [queries] of reranking, None where it was not timed, and whether interpolated."""
        if self.race is None:
            return None, False
        if not arm.reranks:
            return np.zeros(len(self.race.ids)), False
        mine = [c for c in self.race.cells if (c.stage, c.reranker) == (arm.stage, arm.reranker)]
        layers = sorted({cell.layer for cell in mine}, key=lambda layer: layer or 0)

        def at_layer(layer: int | None) -> tuple[Times | None, bool]:
            depths = sorted(cell.depth for cell in mine if cell.layer == layer)
            return between(depths, arm.depth, lambda depth: (self.cell(arm, layer, depth), False))

        if arm.layer is None or arm.layer in layers:
            return at_layer(arm.layer)
        return between([layer for layer in layers if layer is not None], arm.layer, at_layer)

    def cell(self, arm: Arm, layer: int | None, depth: int) -> Times:
        assert self.race
        return self.race.values(Cell(arm.stage, arm.reranker, layer, depth))

    def searching(self, arm: Arm) -> Times | None:
        """Milliseconds [queries] of the first stage."""
        cell = Cell(arm.stage)
        return self.race.values(cell) if self.race and cell in self.race.cells else None

    def query(self, arm: Arm) -> Times | None:
        """Milliseconds [queries] of the whole query."""
        searching, (reranking, _) = self.searching(arm), self.reranking(arm)
        return None if searching is None or reranking is None else searching + reranking

    def compared(self, arm: Arm) -> Times | None:
        """What arms are compared by."""
        return self.query(arm) if self.whole else self.reranking(arm)[0]

    def contestant(self, kind: str, key: str) -> Contestant | None:
        return self.race.contestant(kind, key) if self.race and key else None

    @property
    def raced(self) -> bool:
        return self.race is not None and bool(self.race.rounds)


def between(
    known: Sequence[int], wanted: int, at: Callable[[int], tuple[Times | None, bool]]
) -> tuple[Times | None, bool]:
    """The values at `wanted`, or on the line between the nearest known ones; never beyond them."""
    if wanted in known:
        return at(wanted)
    below, above = [k for k in known if k < wanted], [k for k in known if k > wanted]
    if not below or not above:
        return None, False
    (low, _), (high, _) = at(below[-1]), at(above[0])
    if low is None or high is None:
        return None, False
    return low + (wanted - below[-1]) / (above[0] - below[-1]) * (high - low), True


def of(arm: Arm, book: Book) -> Cost:
    """The costs of an arm."""
    model = arm.run.result.get("model", {})
    reranker = book.contestant("reranker", arm.reranker)
    stage = book.contestant("first_stage", arm.stage)
    values, interpolated = book.reranking(arm)
    times = {**spans("latency", values, arm.reranks), **spans("query", book.query(arm), True)}
    if not arm.reranks:
        times |= {"latency_p50_ms": 0.0, "latency_p95_ms": 0.0}
    rate = throughput(arm, reranker, book)
    busy = 1000.0 * arm.depth / rate if rate else (None if arm.reranks else 0.0)
    parameters = model.get("parameters")
    return Cost(
        **times,
        bound=arm.layer != arm.top_layer and values is not None,
        pairs_per_second=rate,
        ms_per_query=busy,
        memory_mb=peak(reranker) if arm.reranks else peak(stage),
        parameters_m=(parameters / 1e6 if parameters else None) if arm.reranks else 0.0,
        load_seconds=loading(arm, reranker, model),
        price_per_1k=price(kept_busy(busy, book, arm), book.price_per_hour),
        search_memory_mb=peak(stage),
        queries=int(np.isfinite(values).sum()) if values is not None else 0,
        interpolated=interpolated,
        pairs=pairs_of(reranker)[0],
        pair_seconds=pairs_of(reranker)[1],
        why=why(arm, book, reranker, stage),
    )


def spans(name: str, values: Times | None, measured: bool) -> dict[str, Any]:
    """Median and 95th percentile with their intervals, as `Cost` names them; nothing that is not known."""
    if values is None or not measured:
        return {}
    middle, high = quantile(values), quantile(values, 0.95, P95_LEVEL)
    found: dict[str, Any] = {}
    if middle.known:
        found |= {f"{name}_p50_ms": middle.value, f"{name}_p50_interval": (middle.low, middle.high)}
        found |= {f"{name}_p95_interval": (high.low, high.high)}
        if math.isfinite(high.high):
            found[f"{name}_p95_ms"] = high.value
    return found


def why(arm: Arm, book: Book, reranker: Contestant | None, stage: Contestant | None) -> str:
    """Why an arm's times are not known, empty if they are."""
    race = book.race
    if race is None:
        return "there was no race"
    values = book.compared(arm)
    if values is None:
        if arm.reranks and reranker is None or stage is None:
            return "it took no part in the race"
        lost = [c.why for c in (reranker, stage) if c and c.why and (c is reranker or book.whole)]
        late = f"the race's {race.limit_seconds:g} s were too short for it"
        return lost[0] if lost else late
    found = quantile(values)
    if found.known or not (arm.reranks or book.whole):
        return ""
    if race.drifted > len(race.rounds) / 2:
        return f"the machine was busy with something else in {race.drifted} of {len(race.rounds)} rounds"
    if not math.isfinite(found.high):
        return f"{found.queries} quer{'y' if found.queries == 1 else 'ies'} could be timed, which are too few"
    return f"{found.queries} queries leave its median between {found.low:,.3g} and {found.high:,.3g} ms"


def pairs_of(reranker: Contestant | None) -> tuple[int, float]:
    """Pairs that were scored to know the throughput, and in how many seconds."""
    portions = reranker.portions if reranker else []
    return sum(pairs for pairs, _ in portions), sum(seconds for _, seconds in portions)


def throughput(arm: Arm, reranker: Contestant | None, book: Book) -> float | None:
    """Pairs per second at the arm's layer; None where it rests on too little."""
    pairs, seconds = pairs_of(reranker)
    if pairs < ENOUGH_PAIRS or seconds < ENOUGH_SECONDS or not arm.reranks:
        return None
    share = layer_share(arm, book)
    return pairs / seconds / share if share else None


def layer_share(arm: Arm, book: Book) -> float | None:
    """What the arm's layer takes of the time of all layers, by latencies at its depth; 1 where it is the last."""
    if arm.layer == arm.top_layer:
        return 1.0
    own, top = (book.reranking(at)[0] for at in (arm, at_layer(arm, arm.top_layer)))
    found = ratio(own, top) if own is not None and top is not None else UNKNOWN
    return found.value if found.known else None


def at_layer(arm: Arm, layer: int | None) -> Arm:
    from dataclasses import replace

    return replace(arm, layer=layer)


def kept_busy(ms: float | None, book: Book, arm: Arm) -> float | None:
    """Milliseconds that a query takes of a busy machine, with searching where first stages compete."""
    if ms is None or not book.whole:
        return ms
    searching = book.searching(arm)
    found = quantile(searching) if searching is not None else UNKNOWN
    return ms + found.value if found.known else None


def loading(arm: Arm, reranker: Contestant | None, model: dict[str, Any]) -> float | None:
    """Seconds to load the model, by its run; in the race several are loaded at a time."""
    if not arm.reranks:
        return 0.0
    return model.get("load_seconds") or (reranker.load_seconds if reranker else None)


def peak(contestant: Contestant | None) -> float | None:
    """Peak MB on the device, of the process where there is none."""
    found = contestant.memory_mb if contestant else {}
    return found.get("peak_cuda") or found.get("peak_rss")


def price(ms_per_query: float | None, price_per_hour: float | None) -> float | None:
    """Price of 1,000 queries in the currency of `price_per_hour`."""
    if ms_per_query is None or price_per_hour is None:
        return None
    return ms_per_query * 1000 / 3_600_000 * price_per_hour


@dataclass(frozen=True)
class Ratio:
    """One arm's cost by another's with its interval: one of 0 width is counted, not measured. NaN: unknown."""

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
        return f"{self.said(lambda share: f'{share:.2g}')} times the {self.what}"

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
    def unit(self) -> str:
        return {
            QUERY: "median ms per query, searching and reranking",
            RACED: "median ms per query",
            MEASURED: "p50 ms per query, by single runs",
        }.get(self.basis, "billion parameters x pairs per query")

    def ratio(self, arm: int, other: int) -> Ratio:
        """The arm's cost as a share of the other's, unknown where one of them is, or nothing is raced.

        Raced times are compared on the same queries, so that neither the query nor the hour counts. Compute
        is counted, so that its interval is a point; it says nothing across first stages.
        """
        values = self.values[[arm, other]]
        unknown = Ratio(math.nan, -math.inf, math.inf, self.basis)
        if not np.isfinite(values).all() or self.basis == MEASURED or not values[1]:
            return unknown
        if not values[0]:
            return Ratio(0.0, 0.0, 0.0, self.basis)
        if self.basis == COMPUTE:
            same = not self.stages or self.stages[arm] == self.stages[other]
            share = float(values[0] / values[1])
            return Ratio(share, share, share, self.basis) if same else unknown
        mine, theirs = (self.times[i] for i in (arm, other)) if self.times else (None, None)
        found = ratio(mine, theirs) if mine is not None and theirs is not None else UNKNOWN
        return Ratio(*found[:3], self.basis) if found.known else unknown

    def cheaper(self, arm: int, other: int) -> bool:
        """Whether the arm is known to cost less; measured, that its whole interval lies below."""
        found = self.ratio(arm, other)
        if self.basis == MEASURED or not math.isfinite(found.value):
            return bool(self.values[arm] < self.values[other])  # never true of NaN
        return found.less


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
    if np.isfinite(single).all() and one_machine(arms) and len(set(stages)) == 1:
        return Ordering(MEASURED, single)
    compute = [
        arm.depth * unknown_as_nan(cost.parameters_m) / 1000 * depth_share(arm)
        for arm, cost in zip(arms, costs, strict=True)
    ]
    return Ordering(COMPUTE, np.array(compute), stages=stages)


def depth_share(arm: Arm) -> float:
    """The share of the layers that the arm computes, all of which have about as many parameters."""
    return arm.layer / arm.top_layer if arm.layer and arm.top_layer else 1.0


def unknown_as_nan(value: float | None) -> float:
    return math.nan if value is None else value


def single_p50(arm: Arm) -> float:
    """p50 of a run with latency=true, at the arm's share of the layers."""
    if not arm.reranks:
        return 0.0
    found = (arm.run.result.get("latency_ms") or {}).get(str(arm.depth), {}).get("p50")
    return unknown_as_nan(found) * depth_share(arm)


def one_machine(arms: Sequence[Arm]) -> bool:
    return len(machines(arms)) <= 1


def machines(arms: Sequence[Arm]) -> list[str]:
    """The devices and precisions that the reranking arms ran on."""
    found = [arm.run.result.get("environment", {}) for arm in arms if arm.reranks]
    return sorted({f"{e.get('device_name', '')} in {e.get('precision', '')}" for e in found})


def over_budget(cost: Cost, arm: Arm, budget: Budget, book: Book | None = None) -> str:
    """Why the arm may not be deployed, empty if it may.

    Where several first stages compete, bounds are for the whole query, and for both processes' memory. An arm
    is within a bound only where that is shown: what is not known well enough is not within it.
    """
    book = book or Book()
    if not arm.reranks and not book.whole:
        return ""
    reasons = [p95_problem(cost, arm, budget.latency_p95_ms, book)]
    reasons.append(memory_problem(cost, arm, budget.memory_mb, book))
    if budget.price_per_1k is not None:
        reasons.append(price_problem(cost, budget.price_per_1k, book))
    return "; ".join(reason for reason in reasons if reason)


def p95_problem(cost: Cost, arm: Arm, bound: float | None, book: Book) -> str:
    """Why the 95th percentile of the latency is not within the bound."""
    if bound is None:
        return ""
    span = cost.query_p95_interval if book.whole else cost.latency_p95_interval
    cure = f"{book.cure} report.budget.latency_p95_ms={bound:g}" if book.cure else ""
    if span is None:
        if not book.raced and single_p50(arm) > bound:
            return f"p50 latency {single_p50(arm):,.4g} ms {ABOVE} {bound:,.4g}"
        return unmeasured("p95 latency", cost.why, cure)
    low, high = span
    what = f"p95 latency {said(low, high)} ms"
    if low > bound:
        return f"{what} {ABOVE} {bound:,.4g}"
    if high <= bound:
        return ""
    if math.isinf(high):
        more = cure if book.race and book.race.queries >= P95_QUERIES else ""
        few = f"{cost.queries} queries were timed, and it takes {P95_QUERIES}"
        return unmeasured("p95 latency", few, more, " well enough")
    return unmeasured("p95 latency", f"{said(low, high)} ms, the bound is {bound:,.4g}", "", " well enough")


def said(low: float, high: float) -> str:
    """An interval, or what is known of one."""
    if math.isinf(high):
        return f"of at least {low:,.4g}"
    return f"[{low:,.4g}, {high:,.4g}]" if math.isfinite(low) else f"of at most {high:,.4g}"


def memory_problem(cost: Cost, arm: Arm, bound: float | None, book: Book) -> str:
    if bound is None:
        return ""
    parts = [cost.search_memory_mb] if book.whole else []
    parts += [cost.memory_mb] if arm.reranks else []
    if any(part is None for part in parts):
        return unmeasured("peak memory", cost.why, book.cure)
    total = sum(part or 0.0 for part in parts)
    return f"peak memory {total:,.4g} MB {ABOVE} {bound:,.4g}" if total > bound else ""


def price_problem(cost: Cost, bound: float, book: Book) -> str:
    if book.price_per_hour is None:
        return unmeasured("price per 1,000 queries", "", "set report.price_per_hour")
    if cost.price_per_1k is None:
        few = f"throughput rests on {cost.pairs:,} pairs" if book.race else cost.why
        return unmeasured("price per 1,000 queries", few, book.cure)
    above = f"price per 1,000 queries {cost.price_per_1k:,.4g} {ABOVE} {bound:,.4g}"
    return above if cost.price_per_1k > bound else ""


def unmeasured(what: str, reason: str, cure: str, well: str = "") -> str:
    told = ": ".join(part for part in (reason, cure) if part)
    return f"{what} {NOT_MEASURED}{well}" + (f" ({told})" if told else "")


def cure(arms: Sequence[Arm], race: Record | None) -> str:
    """The command that measures what was not; empty where the runs' folders are not at hand."""
    folders = [Path(arm.run.place) for arm in arms]
    if not folders or not all(folder.is_dir() for folder in folders):
        return ""
    above = os.path.commonpath([folder.absolute() for folder in folders])
    wanted = [c.wanted_seconds for c in race.contestants if c.wanted_seconds] if race else []
    longer = max(wanted, default=2 * race.limit_seconds if race else 0)
    more = f" report.race.seconds={longer:g}" if longer else ""
    return f"rerankbench-report --race {shlex.quote(str(above))}{more}"


def price_words(order: Ordering, arm: int, best: int) -> str:
    """What the arm costs of the best one: `at 25% [24%, 26%] of its latency`."""
    found = order.ratio(arm, best)
    if found.known:
        return (
            f"at {found.share()}"
            if found.less
            else f"at about its {order.basis}, {found.said(percent)} of it"
        )
    if order.cheaper(arm, best):
        return f"at less {order.basis}"
    if not math.isfinite(order.values[arm]) or not math.isfinite(order.values[best]):
        return "at a cost that was not measured"
    return f"at more {order.basis}" if order.values[arm] > order.values[best] else f"at less {order.basis}"


def deeper_price_words(order: Ordering, arm: int, deepest: int, depth: int) -> str:
    """What the deepest arm of the same curve would cost more; empty where that is not shown."""
    found = order.ratio(deepest, arm)
    return f", and depth {depth} would take {found.times()}" if found.known and found.more else ""


def cost_line(order: Ordering) -> str:
    """How arms are ordered, as a sentence."""
    words = {
        QUERY: "whose median latency of the whole query (embedding, search, reranking) is lower, raced.",
        RACED: "whose median latency of reranking one query is lower, raced.",
        MEASURED: "whose median latency of reranking one query was lower in runs with latency=true; they were "
        "made at different times, so no ratio is said of them.",
    }
    fallback = "that computes less: its depth times its parameters, as latency was not measured for all arms."
    return f"The cheaper of two arms is the one {words.get(order.basis, fallback)}"


def race_lines(arms: Sequence[Arm], costs: Sequence[Cost], book: Book) -> list[str]:
    """What a reader has to know of the race: what it ran on, how calm it was, what it did not measure."""
    race = book.race
    if race is None:
        more = f" Measure them with {book.cure}." if book.cure else ""
        return [f"There was no race, so latency, throughput, memory and price were not measured.{more}"]
    return [
        ran_line(race),
        *drift_lines(race),
        f"Intervals of latency are {100 * LEVEL:g}% intervals of the median over queries; a ratio is the median "
        "over queries of both times on the same query. The whole query's time is searching and reranking "
        "in the same round, added, each in a process of its own.",
        *interpolated_lines(arms, costs),
        *missing_lines(arms, costs, book),
    ]


def ran_line(race: Record) -> str:
    machine = race.machine
    where = f" on {machine.get('device_name')} with {machine.get('threads')} threads" if machine else ""
    ends = {
        "sharp": f"and ended when each median was known within {100 * race.width:g}%",
        "all queries": "and ended when every query had been timed often enough",
        "time": f"and ended when its {race.limit_seconds:g} s were over",
    }
    return (
        f"Costs were raced{where}: {len(race.rounds):,} rounds over {len(race.ids):,} of {race.queries:,} queries "
        f"in {race.seconds:.0f} s, each model and first stage in a process of its own, in turns; "
        f"the race started {race.started} {ends.get(race.stopped, 'and could not begin: ' + race.stopped)}."
    )


def drift_lines(race: Record) -> list[str]:
    if not race.drifted:
        return []
    busy = f"{race.drifted:,} of {len(race.rounds):,} rounds"
    too = (
        " The machine was too busy to trust what is missing here."
        if race.drifted > len(race.rounds) / 2
        else ""
    )
    return [
        f"In {busy} the machine itself was more than {100 * race.tolerance:g}% slower than when it is quiet, by a "
        f"fixed product; their queries were asked again, and their times are left out.{too}"
    ]


def interpolated_lines(arms: Sequence[Arm], costs: Sequence[Cost]) -> list[str]:
    names = [arm.name for arm, cost in zip(arms, costs, strict=True) if cost.interpolated]
    line = f"Interpolated between depths or layers that were timed: {', '.join(names[:8])}"
    return [line + (f" and {len(names) - 8} more." if len(names) > 8 else ".")] if names else []


def missing_lines(arms: Sequence[Arm], costs: Sequence[Cost], book: Book) -> list[str]:
    """Whose times are not known, with why, and how to have them."""
    groups: dict[str, list[str]] = {}
    for arm, cost in zip(arms, costs, strict=True):
        if cost.why:
            groups.setdefault(cost.why, []).append(arm.name)
    lines = [f"Not measured: {', '.join(names[:8])}: {reason}." for reason, names in groups.items()]
    return lines + ([f"Measure them with {book.cure}."] if groups and book.cure else [])


def front(quality: NDArray[np.float64], cost: NDArray[np.float64]) -> list[int]:
    """The Pareto front, cheapest first: each arm is better than all cheaper ones; unknown costs are left out."""
    kept: list[int] = []
    for arm in np.lexsort((-quality, cost)):
        if np.isfinite(cost[arm]) and (not kept or quality[arm] > quality[kept[-1]]):
            kept.append(int(arm))
    return kept
