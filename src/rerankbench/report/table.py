"""The table of arms: its columns, said once for the page, the Markdown, the JSON and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rerankbench.report.findings import Findings
from rerankbench.report.verdict import p_value

Number = float | None


@dataclass(frozen=True)
class Column:
    """A heading, what a cell shows, and the number it is sorted by; `short` columns fit on a terminal."""

    heading: str
    text: Callable[[Findings, int], str]
    value: Callable[[Findings, int], Number]
    hint: str = ""
    short: bool = False


def columns(findings: Findings) -> list[Column]:
    """All columns that have a value in some row, the arm's name aside."""
    whole, arms = findings.book.whole, findings.contest.arms
    found = [
        *gain_columns(findings),
        *win_columns(),
        *choice_columns(findings),
        *latency_columns("query", "of the whole query: embedding, search, reranking", whole),
        *latency_columns("latency", "of reranking one query", not whole),
        *cost_columns(),
    ]
    rows = [i for i, arm in enumerate(arms) if arm.reranks] or range(len(arms))
    return [column for column in found if any(column.value(findings, i) is not None for i in rows)]


def gain_columns(findings: Findings) -> list[Column]:
    """The mean, and what reranking adds to it."""
    level = f"{100 * findings.comparison.level:g}%"
    several, against = findings.contest.several, findings.contest.baselines
    mean, gain = f"mean and {level} interval", f"difference to {against} and {level} interval"
    claim = f"of the claim that the mean differs from {against}, corrected over all claims"
    versus = "vs. own first stage" if several else "vs. no reranking"
    return [
        Column(findings.measure, mean_text, lambda f, i: f.comparison.arms[i].mean.mean, mean, True),
        Column(versus, gain_text, gain_value, gain, True),
        Column("p", gain_p_text, lambda f, i: number(f.comparison.arms[i].gain_p), claim, True),
    ]


def win_columns() -> list[Column]:
    """How many queries reranking changes, and the worst of it."""
    return [
        Column("helped", wins_text(0), wins_value(0), "queries that reranking helped"),
        Column("hurt", wins_text(1), wins_value(1), "queries that reranking hurt"),
        Column("worst loss", loss_text, loss_value, "largest loss of a query"),
        Column("same", wins_text(2), wins_value(2), "queries that reranking left unchanged"),
    ]


def choice_columns(findings: Findings) -> list[Column]:
    """How far an arm is from the best, and whether it is shown to be as good."""
    level, delta = f"{100 * findings.comparison.level:g}%", f"{findings.comparison.delta:g}"
    best = f"difference to the arm that came out on top and {level} interval"
    good = (
        f"shown to be within {delta} of the best and better than {findings.contest.every_baseline}: "
        "corrected p-value"
    )
    return [
        Column("vs. best", best_text, lambda f, i: f.comparison.arms[i].to_best.mean, best),
        Column("as good", good_text, lambda f, i: number(f.comparison.arms[i].deploy_p), good, True),
    ]


def cost_columns() -> list[Column]:
    """Throughput, memory, size and price."""
    busy = "pairs per query over pairs per second, of a machine that is kept busy"
    batch = "scored as a batch job does, and how many pairs that rests on"
    own = "own process, on the device if there is one"
    return [
        cost_column("batch ms/query", "ms_per_query", "{:,.1f}", busy),
        Column("pairs/s", throughput_text, lambda f, i: f.costs[i].pairs_per_second, batch),
        cost_column("memory MB", "memory_mb", "{:,.0f}", f"peak of the reranker's {own}"),
        cost_column(
            "search MB", "search_memory_mb", "{:,.0f}", f"peak of the first stage's {own}", always=True
        ),
        cost_column("parameters", "parameters_m", "{:,.0f}M"),
        cost_column("load s", "load_seconds", "{:.1f}", "time to load the model"),
        cost_column("price/1k", "price_per_1k", "{:.3g}", "price of 1,000 queries", short=True),
    ]


def cost_column(
    heading: str, name: str, form: str, hint: str = "", *, short: bool = False, always: bool = False
) -> Column:
    """One figure of an arm's cost, left out where nothing reranks unless it is `always` there."""
    return Column(heading, plain(name, form, always), lambda f, i: getattr(f.costs[i], name), hint, short)


def number(value: float) -> Number:
    return None if math.isnan(value) else value


def mean_text(f: Findings, i: int) -> str:
    mean, low, high = f.comparison.arms[i].mean
    return f"{mean:.4f} [{low:.3f}, {high:.3f}]"


def gain_value(f: Findings, i: int) -> Number:
    return f.comparison.arms[i].gain.mean if f.contest.arms[i].reranks else None


def gain_text(f: Findings, i: int) -> str:
    return difference(*f.comparison.arms[i].gain) if f.contest.arms[i].reranks else ""


def difference(mean: float, low: float, high: float) -> str:
    return f"{mean:+.4f} [{low:+.3f}, {high:+.3f}]"


def gain_p_text(f: Findings, i: int) -> str:
    p = f.comparison.arms[i].gain_p
    return "" if math.isnan(p) else p_value(p)


def wins_value(part: int) -> Callable[[Findings, int], Number]:
    return lambda f, i: f.comparison.arms[i].wins[part] if f.contest.arms[i].reranks else None


def wins_text(part: int) -> Callable[[Findings, int], str]:
    return lambda f, i: f"{f.comparison.arms[i].wins[part]:,}" if f.contest.arms[i].reranks else ""


def loss_value(f: Findings, i: int) -> Number:
    return f.comparison.arms[i].largest_loss if f.contest.arms[i].reranks else None


def loss_text(f: Findings, i: int) -> str:
    loss = loss_value(f, i)
    return "" if loss is None else f"{loss:.3f}"


def best_text(f: Findings, i: int) -> str:
    return "best" if i == f.comparison.best else difference(*f.comparison.arms[i].to_best)


def good_text(f: Findings, i: int) -> str:
    """Yes, or not shown, with the p-value; why not where the budget forbids the arm."""
    if f.excluded[i]:
        return f"excluded: {f.excluded[i]}"
    shown = "yes" if f.comparison.certified(i) else "not shown"
    return f"{shown} ({p_value(f.comparison.arms[i].deploy_p)})"


def latency_columns(name: str, what: str, short: bool) -> list[Column]:
    """Median and 95th percentile of one kind of latency."""
    heading = "query " if name == "query" else ""
    return [
        Column(
            f"{heading}p50 ms",
            latency_text(f"{name}_p50"),
            lambda f, i: getattr(f.costs[i], f"{name}_p50_ms"),
            f"median and 95% interval {what}, raced; ≈: interpolated",
            short,
        ),
        Column(
            f"{heading}p95 ms",
            latency_text(f"{name}_p95"),
            lambda f, i: getattr(f.costs[i], f"{name}_p95_ms"),
            f"95th percentile and 90% interval {what}, raced; ≈: interpolated",
        ),
    ]


def latency_text(name: str) -> Callable[[Findings, int], str]:
    """A figure with its interval, or that it was not measured; nothing of reranking that does not happen."""

    def text(f: Findings, i: int) -> str:
        cost, reranks = f.costs[i], f.contest.arms[i].reranks
        value, span = getattr(cost, f"{name}_ms"), getattr(cost, f"{name}_interval")
        if not reranks and name.startswith("latency"):
            return ""
        if value is None or span is None:
            return "not measured"
        mark = "≤ " if cost.bound else "≈ " if cost.interpolated else ""
        return f"{mark}{ms(value)} [{ms(span[0])}, {ms(span[1])}]"

    return text


def ms(value: float) -> str:
    """Milliseconds to three figures or so."""
    if not math.isfinite(value):
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def throughput_text(f: Findings, i: int) -> str:
    cost = f.costs[i]
    if not f.contest.arms[i].reranks:
        return ""
    if cost.pairs_per_second is None:
        return "not measured"
    return f"{cost.pairs_per_second:,.0f} [{cost.pairs:,} pairs]"


def plain(name: str, form: str, always: bool) -> Callable[[Findings, int], str]:
    def text(f: Findings, i: int) -> str:
        value = getattr(f.costs[i], name)
        return "" if value is None or not (always or f.contest.arms[i].reranks) else form.format(value)

    return text


@dataclass(frozen=True)
class MeasureRow:
    """One arm's means of every measure."""

    arm: str
    chosen: bool
    values: tuple[float, ...]


MOST_MEASURED = 200  # arms whose measures are listed; report.json has those of all


def measure_table(findings: Findings) -> tuple[list[str], list[MeasureRow]]:
    """Every measure of every arm, best first: headings and rows; first stages always."""
    from rerankbench.evaluation.measures import display_name

    named = {display_name(name): means for name, means in findings.contest.means.items()}
    found, arms = named | dict(findings.more), findings.contest.arms
    chosen = findings.verdict.arm
    ranked = findings.ranked()
    kept = [i for place, i in enumerate(ranked) if place < MOST_MEASURED or not arms[i].reranks]
    rows = [
        MeasureRow(arms[i].name, i == chosen, tuple(float(means[i]) for means in found.values()))
        for i in kept
    ]
    return list(found), rows
