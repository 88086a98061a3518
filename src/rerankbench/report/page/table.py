"""The table of arms: its columns, said once for the page, the Markdown and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rerankbench.evaluation.measures import display_name
from rerankbench.report.claims.comparison import ArmComparison
from rerankbench.report.findings import Findings
from rerankbench.report.wording import if_known, p_value, signed


@dataclass(frozen=True)
class Column:
    """A heading, what a cell shows, and whether it is known of a row; `short` columns fit on a terminal."""

    heading: str
    text: Callable[[Findings, int], str]
    known: Callable[[Findings, int], bool]
    hint: str = ""
    short: bool = False


def columns(findings: Findings) -> list[Column]:
    """All columns of which something is known in some row, the arm's name aside."""
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
    return [column for column in found if any(column.known(findings, i) for i in rows)]


def gain_columns(findings: Findings) -> list[Column]:
    """The mean, and what reranking adds to it."""
    level = f"{100 * findings.comparison.level:g}%"
    several, against = findings.contest.several, findings.contest.baselines
    mean, gain = f"mean and {level} interval", f"difference to {against} and {level} interval"
    claim = f"of the claim that the mean differs from {against}, corrected over all claims"
    versus = "vs. own first stage" if several else "vs. no reranking"
    return [
        Column(findings.measure, mean_text, lambda f, i: True, mean, True),
        changed(versus, lambda arm: difference(arm.gain), gain, True),
        changed("p", lambda arm: p_value(arm.gain_p), claim, True),
    ]


def win_columns() -> list[Column]:
    """How many queries reranking changes, and the worst of it."""
    return [
        changed("helped", lambda arm: f"{arm.wins.helped:,}", "queries that reranking helped"),
        changed("hurt", lambda arm: f"{arm.wins.hurt:,}", "queries that reranking hurt"),
        changed("worst loss", lambda arm: f"{arm.largest_loss:.3f}", "largest loss of a query"),
        changed("same", lambda arm: f"{arm.wins.unchanged:,}", "queries that reranking left unchanged"),
    ]


def changed(heading: str, text: Callable[[ArmComparison], str], hint: str, short: bool = False) -> Column:
    """What reranking changed; empty where nothing reranks."""

    def known(f: Findings, i: int) -> bool:
        return f.contest.arms[i].reranks

    return Column(heading, lambda f, i: text(f.comparison.arms[i]) if known(f, i) else "", known, hint, short)


def choice_columns(findings: Findings) -> list[Column]:
    """How far an arm is from the best, and whether it is shown to be as good."""
    level, delta = f"{100 * findings.comparison.level:g}%", f"{findings.comparison.delta:g}"
    best = f"difference to the arm that came out on top and {level} interval"
    good = (
        f"shown to be within {delta} of the best and better than {findings.contest.every_baseline}: "
        "corrected p-value"
    )
    return [
        Column("vs. best", best_text, lambda f, i: True, best),
        Column("as good", good_text, lambda f, i: f.comparison.arms[i].deploy_p >= 0, good, True),
    ]


def latency_columns(name: str, what: str, short: bool) -> list[Column]:
    """Median and 95th percentile of one kind of latency."""
    heading = "query " if name == "query" else ""
    figures = (("p50", "median and 95%", short), ("p95", "95th percentile and 90%", False))
    return [
        Column(
            f"{heading}{which} ms",
            latency_text(f"{name}_{which}"),
            costed(f"{name}_{which}_ms"),
            f"{figure} interval {what}, raced; ≈: interpolated",
            fits,
        )
        for which, figure, fits in figures
    ]


def cost_columns() -> list[Column]:
    """Throughput, memory, size and price."""
    busy = "pairs per query over pairs per second, of a machine that is kept busy"
    batch = "scored as a batch job does, and how many pairs that rests on"
    own = "own process, on the device if there is one"
    search = costed("search_memory_mb")
    return [
        cost_column("batch ms/query", "ms_per_query", "{:,.1f}", busy),
        Column("pairs/s", throughput_text, costed("pairs_per_second"), batch),
        cost_column("memory MB", "memory_mb", "{:,.0f}", f"peak of the reranker's {own}"),
        Column("search MB", search_memory_text, search, f"peak of the first stage's {own}"),
        cost_column("parameters", "parameters_m", "{:,.0f}M"),
        cost_column("load s", "load_seconds", "{:.1f}", "time to load the model"),
        cost_column("price/1k", "price_per_1k", "{:.3g}", "price of 1,000 queries", short=True),
    ]


def cost_column(heading: str, name: str, form: str, hint: str = "", short: bool = False) -> Column:
    """One figure of an arm's cost; empty where nothing reranks."""

    def text(f: Findings, i: int) -> str:
        return if_known(getattr(f.costs[i], name), form) if f.contest.arms[i].reranks else ""

    return Column(heading, text, costed(name), hint, short)


def costed(name: str) -> Callable[[Findings, int], bool]:
    """Whether a figure of an arm's cost is known."""
    return lambda f, i: getattr(f.costs[i], name) is not None


def mean_text(f: Findings, i: int) -> str:
    mean, low, high = f.comparison.arms[i].mean
    return f"{mean:.4f} [{low:.3f}, {high:.3f}]"


def difference(interval: tuple[float, float, float]) -> str:
    return signed(interval, "+.3f")


def best_text(f: Findings, i: int) -> str:
    return "best" if i == f.comparison.best else difference(f.comparison.arms[i].to_best)


def good_text(f: Findings, i: int) -> str:
    """Yes, or not shown, with the p-value; why not where the budget forbids the arm."""
    if f.excluded[i]:
        return f"excluded: {f.excluded[i]}"
    shown = "yes" if f.comparison.certified(i) else "not shown"
    return f"{shown} ({p_value(f.comparison.arms[i].deploy_p)})"


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


def search_memory_text(f: Findings, i: int) -> str:
    return if_known(f.costs[i].search_memory_mb, "{:,.0f}")


MOST_MEASURED = 200  # arms whose measures are listed; report.json has those of all


def measure_table(findings: Findings) -> tuple[list[str], list[dict[str, Any]]]:
    """Every measure of every arm, best first: headings and rows; first stages always."""
    found = {display_name(name): means for name, means in findings.contest.means.items()}
    found |= findings.more
    arms, chosen = findings.contest.arms, findings.verdict.arm
    rows = [
        {"arm": arms[i].name, "chosen": i == chosen, "values": [float(means[i]) for means in found.values()]}
        for place, i in enumerate(findings.ranked())
        if place < MOST_MEASURED or not arms[i].reranks
    ]
    return list(found), rows
