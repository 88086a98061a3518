"""What a reader has to know of how costs were measured: on what, how calm it was, what was not measured."""

from __future__ import annotations

from collections.abc import Sequence

from rerankbench.report.arms.arms import Arm
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import MEASURED, QUERY, RACED, Cost, Ordering, charged, served
from rerankbench.report.race.intervals import LEVEL
from rerankbench.report.race.record import Record
from rerankbench.report.wording import first_of


def cost_line(order: Ordering) -> str:
    """How arms are ordered, as a sentence."""
    words = {
        QUERY: "whose median latency of the whole query (embedding, search, reranking) is lower, raced.",
        RACED: "whose median latency of reranking one query is lower, raced.",
        MEASURED: "whose median latency of reranking one query was lower in runs with latency=true; they "
        "were made at different times, so no ratio is given.",
    }
    fallback = (
        "that computes less: its parameters times the texts that it reads for a query (each pair; the query "
        "alone where documents' vectors are kept), whatever its precision, as latency was not measured for "
        "all arms."
    )
    return f"The cheaper of two arms is the one {words.get(order.basis, fallback)}"


def race_lines(arms: Sequence[Arm], costs: Sequence[Cost], book: Book) -> list[str]:
    """What a reader has to know of the race: what it ran on, how calm it was, what it did not measure."""
    race = book.race
    if race is None:
        more = f" To measure them: {book.cure}" if book.cure else ""
        return [f"There was no race, so latency, throughput, memory and price were not measured.{more}"]
    return [
        ran_line(race),
        *drift_lines(race),
        f"Intervals of latency are {100 * LEVEL:g}% intervals of the median over queries; a ratio is the "
        "median over queries of both times on the same query. The time of a whole query is that of "
        "searching plus that of reranking it, each measured in its own process.",
        *served_lines(arms),
        *interpolated_lines(arms, costs),
        *missing_lines(arms, costs, book),
    ]


def ran_line(race: Record) -> str:
    machine = race.machine
    where = f" on {machine.get('device_name')} with {machine.get('threads')} threads" if machine else ""
    ends = {
        "sharp": f"and ended when each median was known within {100 * race.width:g}%",
        "all queries": "and ended when every query had been timed often enough",
        "nobody is left": "and ended when no contestant was left",
        "time": f"and ended when its {race.limit_seconds:g} s were up",
    }
    return (
        f"Costs were raced{where}: {len(race.rounds):,} rounds over {len(race.ids):,} of {race.queries:,} "
        f"queries in {race.seconds:.0f} s, each model and first stage in a process of its own, in turns; "
        f"the race started {race.started} {ends.get(race.stopped, 'and could not begin: ' + race.stopped)}."
    )


def served_lines(arms: Sequence[Arm]) -> list[str]:
    """How servers were asked, which is part of what their times mean."""
    found: dict[str, None] = {}
    for arm in arms:
        if how := served(arm):
            found[
                f"{arm.run.params.get('reranker')} is a server, {how.get('url')}: its times include the "
                f"network, with at most {how.get('concurrency')} requests at once, of "
                f"{how.get('documents_per_request')} documents at most; its memory is not known here."
            ] = None
    return list(found)


def price_lines(arms: Sequence[Arm], price_per_hour: float | None) -> list[str]:
    """What prices rest on."""
    lines = []
    if price_per_hour:
        lines.append(f"Prices assume a machine at {price_per_hour:g} per hour that is kept busy.")
    services = dict.fromkeys(str(arm.run.params.get("reranker")) for arm in arms if charged(arm) is not None)
    if services:
        lines.append(
            f"Prices of {', '.join(services)} are what these queries cost at the prices in "
            "the config and an estimate of the tokens; they leave out the machine that asks."
        )
    return lines


def drift_lines(race: Record) -> list[str]:
    if not race.drifted:
        return []
    busy = f"{race.drifted:,} of {len(race.rounds):,} rounds"
    too = (
        " For more than a third of the race the machine was too busy for costs to be relied on, also where "
        "they are given: repeat the race while it is quiet."
        if race.busy
        else ""
    )
    return [
        f"In {busy} the machine ran a fixed computation more than {100 * race.tolerance:g}% slower than when "
        "quiet; they were repeated where there was time. A few queries without a quiet round count by their "
        f"times divided by that slowdown; otherwise times of such rounds are left out.{too}"
    ]


def interpolated_lines(arms: Sequence[Arm], costs: Sequence[Cost]) -> list[str]:
    known = [(arm, cost) for arm, cost in zip(arms, costs, strict=True) if cost.latency_p50_ms is not None]
    names = [arm.name for arm, cost in known if cost.interpolated]
    line = f"Interpolated between depths or layers that were timed: {first_of(names, 8)}."
    return [line] if names else []


def missing_lines(arms: Sequence[Arm], costs: Sequence[Cost], book: Book) -> list[str]:
    """Whose times are not known, with why, and how to have them."""
    groups: dict[str, list[str]] = {}
    for arm, cost in zip(arms, costs, strict=True):
        if cost.why:
            groups.setdefault(cost.why, []).append(arm.name)
    lines = [f"Not measured: {', '.join(names[:8])}: {reason}." for reason, names in groups.items()]
    when = " while the machine is quiet" if book.race and book.race.busy else ""
    return lines + ([f"To measure them{when}: {book.cure}"] if groups and book.cure else [])
