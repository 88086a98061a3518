"""Every arm as the page lists it, plain ones and arrangements alike: what decides, and what folds out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankbench.evaluation.measures import display_name
from rerankbench.report import cost, table
from rerankbench.report.arrangements import document as arranging
from rerankbench.report.findings import Findings

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
    `more`: headings and texts of what else is known; `run`: where its run's files are.
    """

    name: str
    kind: str
    stage: str
    reranker: str
    depth: int
    layer: int | None
    mean: tuple[float, float, float]
    gain: tuple[float, float, float] | None
    cost: float | None
    cost_text: str
    good: str
    chosen: bool
    excluded: str
    more: tuple[tuple[str, str], ...]
    run: str = ""


def rows(findings: Findings, most: int = MOST) -> list[ArmRow]:
    """The best arms; always with the first stages, the recommended arm and those that some answer names."""
    columns = table.columns(findings)
    found = [plain(findings, i, columns) for i in range(len(findings.contest.arms))]
    found += arranged(findings)
    found.sort(key=lambda row: (-round(row.mean[0], 12), math.inf if row.cost is None else row.cost))
    if len(found) <= most:
        return found
    named = {name for answer in answers(findings) for name in (answer["arm"], answer["choice"])}
    kept = [i for i, row in enumerate(found) if row.chosen or not row.reranker or row.name in named]
    room = max(0, most - len(kept))
    kept += [i for i in range(len(found)) if i not in set(kept)][:room]
    return [found[i] for i in sorted(kept)]


def answers(findings: Findings) -> list[dict[str, Any]]:
    return arranging.answers(findings.answered, findings.settings.delta)


def cost_heading(findings: Findings) -> str:
    """The heading of what arms are ordered by."""
    return DECIDING.get(findings.order.basis, "cost")


def plain(f: Findings, i: int, columns: Sequence[table.Column]) -> ArmRow:
    arm, compared = f.contest.arms[i], f.comparison.arms[i]
    known = float(f.order.values[i])
    more = ((c.heading, c.text(f, i)) for c in columns[2:])
    return ArmRow(
        name=arm.name,
        kind="plain",
        stage=arm.stage_name,
        reranker=arm.curve.rpartition(" + ")[2] if arm.reranks else "",
        depth=arm.depth,
        layer=arm.layer,
        mean=interval(*compared.mean),
        gain=interval(*compared.gain) if arm.reranks else None,
        cost=known if math.isfinite(known) else None,
        cost_text=deciding_cost(f, i, columns),
        good=good(f.excluded[i], f.comparison.certified(i)),
        chosen=i == f.verdict.arm,
        excluded=f.excluded[i],
        more=tuple((heading, text) for heading, text in more if text),
        run=arm.run.place,
    )


def deciding_cost(f: Findings, i: int, columns: Sequence[table.Column]) -> str:
    """The cost that orders arms, with its interval where it was raced."""
    heading = cost_heading(f)
    found = next((column for column in columns if column.heading == heading), None)
    if found is not None and f.order.basis in (cost.QUERY, cost.RACED):
        return found.text(f, i) or "0"
    return figure(float(f.order.values[i]))


def figure(value: float) -> str:
    """A cost to three figures or so: 0, 0.31, 12.4, 1,240."""
    if not math.isfinite(value):
        return "not known"
    return table.ms(value) if value else "0"


def good(excluded: str, shown: bool) -> str:
    return "excluded" if excluded else "yes" if shown else "not shown"


def arranged(f: Findings) -> Iterator[ArmRow]:
    """The arrangements; where a plain arm has a figure that they lack, nothing is said."""
    if f.arranged is None:
        return
    chosen = None if f.verdict.arrangement is None else f.arranged.field.name(f.verdict.arrangement)
    for made in f.arranged_arms:
        known = made["relative_cost"]
        yield ArmRow(
            name=made["name"],
            kind=made["kind"],
            stage=made["first_stage"],
            reranker=made["reranker"],
            depth=made["depth"],
            layer=None,
            mean=triple(made["mean"]),
            gain=triple(made["against_first_stage"]),
            cost=known if math.isfinite(known) else None,
            cost_text=figure(known),
            good=good(made["excluded"] or "", made["as_good_as_the_best"]["shown"]),
            chosen=made["name"] == chosen,
            excluded=made["excluded"] or "",
            more=tuple(arranged_more(made)),
        )


def interval(mean: float, low: float, high: float) -> tuple[float, float, float]:
    return mean, low, high


def triple(found: Mapping[str, float]) -> tuple[float, float, float]:
    return interval(found["mean"], found["low"], found["high"])


def arranged_more(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of an arrangement beside what decides."""
    yield made["kind"], KINDS[made["kind"]]
    gain, paid = made["against_first_stage"], made["cost"]
    yield "vs. best", table.difference(*triple(made["against_best"]))
    yield "helped", f"{gain['helped']:,}"
    yield "hurt", f"{gain['hurt']:,}"
    yield "worst loss", f"{gain['largest_loss']:.3f}"
    for name, heading in (("query_p95_ms", "query p95 ms"), ("latency_p95_ms", "p95 ms")):
        if paid[name] is not None:
            yield heading, table.ms(paid[name])
    if paid["memory_mb"] is not None:
        yield "memory MB", f"{paid['memory_mb']:,.0f}"
    if paid["price_per_1k"] is not None:
        yield "price/1k", f"{paid['price_per_1k']:.3g}"


def terms(f: Findings) -> list[tuple[str, str]]:
    """What each heading means: of the table, then of what folds out."""
    unit = f.order.unit
    heading = cost_heading(f)
    found = [(column.heading, column.hint) for column in table.columns(f) if column.hint]
    first = found[:2]
    last = [each for each in found[2:] if each[0] != heading]
    asked = ("as good", dict(found).get("as good", ""))
    told = [*first, (heading, unit), asked, *(each for each in last if each[0] != "as good")]
    return [*told, *measure_terms(f.contest.measure)]


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
