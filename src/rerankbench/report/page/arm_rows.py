"""Every arm as the page lists it, plain ones and arrangements alike: what decides, and what folds out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rerankbench.evaluation.measures import display_name
from rerankbench.report import document
from rerankbench.report.costs import cost
from rerankbench.report.findings import Findings
from rerankbench.report.page import table
from rerankbench.report.wording import if_known

MOST = 600  # rows of a page; a phone has to lay them out
DECIDING = {
    cost.QUERY: "query p50 ms",
    cost.RACED: "p50 ms",
    cost.MEASURED: "p50 ms",
    cost.COMPUTE: "compute",
}
KINDS = {
    "cascade": "each reranker orders the best of the one before it",
    "fusion": "the scores of the first stage and a reranker, or of two rerankers, are combined",
    "early exit": "queries whose top two scores are far apart skip the last reranker",
}


@dataclass(frozen=True)
class ArmRow:
    """One arm. `mean` and `gain`: mean, low and high, `gain` None where nothing is reranked.

    `cost`: what arms are ordered by, None where it is not known; `good`: yes, not shown, or excluded;
    `more`: headings and texts of what else is known.
    """

    name: str
    kind: str
    stage: str
    reranker: str
    depth: int
    layer: int | None
    mean: tuple[float, ...]
    gain: tuple[float, ...] | None
    cost: float | None
    cost_text: str
    good: str
    chosen: bool
    excluded: str
    more: tuple[tuple[str, str], ...]


def rows(findings: Findings, most: int = MOST) -> list[ArmRow]:
    """The best arms; always with the first stages, the recommended arm and those that some answer names."""
    found = [*plain(findings), *arranged(findings)]
    found.sort(key=lambda row: (-round(row.mean[0], 12), math.inf if row.cost is None else row.cost))
    if len(found) <= most:
        return found
    named = {name for answer in document.answers(findings) for name in (answer["arm"], answer["choice"])}
    kept = [i for i, row in enumerate(found) if row.chosen or not row.reranker or row.name in named]
    room = max(0, most - len(kept))
    kept += [i for i in range(len(found)) if i not in set(kept)][:room]
    return [found[i] for i in sorted(kept)]


def plain(f: Findings) -> Iterator[ArmRow]:
    columns, heading = table.columns(f), cost_heading(f)
    deciding = [c for c in columns if c.heading == heading and f.order.basis in (cost.QUERY, cost.RACED)]
    for i in range(len(f.contest.arms)):
        made = document.arm(f, i)
        text = (deciding[0].text(f, i) or "0") if deciding else figure(made["relative_cost"])
        yield row(f, made, text, ((column.heading, column.text(f, i)) for column in columns[2:]))


def arranged(f: Findings) -> Iterator[ArmRow]:
    """The arrangements; where a plain arm has a figure that they lack, nothing is said."""
    for made in f.arranged_arms:
        yield row(f, made, figure(made["relative_cost"]), arranged_more(made))


def row(f: Findings, made: Mapping[str, Any], cost_text: str, more: Iterable[tuple[str, str]]) -> ArmRow:
    """An arm by what report.json says of it."""
    known, shown = made["relative_cost"], made["as_good_as_the_best"]["shown"]
    reranker = made["reranker"] or ""
    return ArmRow(
        name=made["name"],
        kind=made["kind"],
        stage=made["first_stage"],
        reranker=reranker.removeprefix(f"{made['first_stage']} + "),
        depth=made["depth"],
        layer=made["layer"],
        mean=interval(made["mean"]),
        gain=interval(made["against_first_stage"]) if reranker else None,
        cost=known if math.isfinite(known) else None,
        cost_text=cost_text,
        good="excluded" if made["excluded"] else "yes" if shown else "not shown",
        chosen=made["name"] == document.recommended(f),
        excluded=made["excluded"] or "",
        more=tuple((heading, text) for heading, text in more if text),
    )


def interval(found: Mapping[str, float]) -> tuple[float, float, float]:
    return found["mean"], found["low"], found["high"]


def cost_heading(findings: Findings) -> str:
    """The heading of what arms are ordered by."""
    return DECIDING.get(findings.order.basis, "cost")


def figure(value: float) -> str:
    """A cost to three figures or so: 0, 0.31, 12.4, 1,240."""
    if not math.isfinite(value):
        return "not known"
    return table.ms(value) if value else "0"


def arranged_more(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of an arrangement beside what decides."""
    gain, paid = made["against_first_stage"], made["cost"]
    yield made["kind"], KINDS[made["kind"]]
    yield "vs. best", table.difference(interval(made["against_best"]))
    yield "helped", f"{gain['helped']:,}"
    yield "hurt", f"{gain['hurt']:,}"
    yield "worst loss", f"{gain['largest_loss']:.3f}"
    for name, heading in (("query_p95_ms", "query p95 ms"), ("latency_p95_ms", "p95 ms")):
        yield heading, "" if paid[name] is None else table.ms(paid[name])
    yield "memory MB", if_known(paid["memory_mb"], "{:,.0f}")
    yield "price/1k", if_known(paid["price_per_1k"], "{:.3g}")


def terms(f: Findings) -> list[tuple[str, str]]:
    """What each heading means: of the table, then of what folds out."""
    hints = {column.heading: column.hint for column in table.columns(f) if column.hint}
    (name, mean), (versus, gain) = list(hints.items())[:2]
    shown = {name: mean, versus: gain, cost_heading(f): f.order.unit, "as good": hints.get("as good", "")}
    folded = [(heading, hint) for heading, hint in hints.items() if heading not in shown]
    return [*shown.items(), *folded, *measure_terms(f.contest.measure)]


MEANINGS = {
    "ndcg": "the discounted gain of the first {k} results, as a share of the best order's",
    "recall": "the share of the relevant documents that is among the first {k} results",
    "mrr": "1 over the rank of the first relevant document, 0 where it is not among the first {k}",
    "success": "1 where a relevant document is among the first {k} results, else 0",
    "judged": "the share of the first {k} results that has a judgement",
}


def measure_terms(name: str) -> list[tuple[str, str]]:
    """What the measure means that arms are compared by; nothing of one that is not known here."""
    kind, _, cutoff = name.rpartition("_at_")
    meaning = MEANINGS.get(kind)
    return [(display_name(name), meaning.format(k=cutoff))] if meaning else []
