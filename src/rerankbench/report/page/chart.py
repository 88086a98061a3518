"""The interactive plot: every arm by cost and quality, as a Vega-Lite specification and its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rerankbench.report.findings import Findings
from rerankbench.report.page.arm_rows import ArmRow
from rerankbench.report.page.plots import series

SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "stroke", "triangle-right")
COLOURS = 8  # of the page's series
SEEN = "datum.cost > 0"
MANY = 60  # points from which intervals hide each other

TIP = {"tooltip": {"content": "data"}}
DOT = {"type": "point", "filled": True, "size": 75, "opacity": 0.95, "cursor": "pointer", **TIP}
WHISKER = {"type": "rule", "strokeWidth": 1.4, "opacity": 0.35}  # an interval
STAGE = {"type": "rule", "strokeDash": [5, 3], "strokeWidth": 1.5, "color": "var(--soft)"}
STAGE |= {"cursor": "pointer", **TIP}  # an arm without a cost of its own, as a line from side to side
AXIS = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 12, "titleFontSize": 12}
AXIS |= {"gridColor": "var(--line)", "domainColor": "var(--soft)", "tickColor": "var(--soft)"}
LOOK = {  # fonts and lines as on the rest of the page
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": AXIS | {"titleFontWeight": "normal", "titlePadding": 10},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 12, "symbolSize": 80},
}


def points(rows: Sequence[ArmRow]) -> list[dict[str, Any]]:
    """What the page knows of each row: for the plot, the filters, the tips and the CSV."""
    return [
        {
            "id": number,
            **fields(row, "name", "kind", "stage", "reranker"),
            "group": group(row),
            **fields(row, "depth", "layer"),
            **dict(zip(("mean", "low", "high"), row.mean, strict=True)),
            **dict(zip(("gain", "gain_low", "gain_high"), row.gain or [None] * 3, strict=True)),
            **fields(row, "cost", "cost_text", "good"),
        }
        for number, row in enumerate(rows)
    ]


def fields(row: ArmRow, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def group(row: ArmRow) -> str:
    """What shares a colour: a reranker's arms, or arrangements of one kind."""
    if row.kind != "plain":
        return row.kind
    return row.reranker.rpartition(" layer ")[0] or row.reranker or "no reranking"


def specification(findings: Findings, rows: Sequence[ArmRow]) -> dict[str, Any]:
    """Vega-Lite, without its data, which the page puts in; colours are the page's variables."""
    drawn = [row for row in rows if row.cost]
    groups = ordered(findings, {group(row) for row in drawn})
    x = {"field": "cost", "type": "quantitative", "title": findings.order.unit, "scale": x_scale(drawn)}
    x["axis"] = {"values": ticks(drawn), "format": ",.4~r", "grid": False, "labelOverlap": True}
    y = {"type": "quantitative", "title": findings.measure, "scale": y_scale(rows)}
    mean = {**y, "field": "mean"}
    colour = grouped(groups, [f"var(--series-{i % COLOURS})" for i in range(len(groups))])
    shape = grouped(groups, [SHAPES[i % len(SHAPES)] for i in range(len(groups))])
    stages = layer("datum.cost === 0", STAGE, y=mean)
    whiskers = layer(SEEN, WHISKER, x=x, y={**y, "field": "low"}, y2={"field": "high"}, color=colour)
    dots = {"name": "points", **layer(SEEN, DOT, x=x, y=mean, color=colour, shape=shape)}
    return {
        "width": "container",
        "height": 340,
        "autosize": {"type": "fit", "contains": "padding", "resize": True},
        "data": {"name": "arms"},
        "params": [{"name": "marked", "value": -1}, {"name": "deployed", "value": ""}],
        "layer": [
            stages,
            *([whiskers] if len(drawn) <= MANY else []),
            # below the points, which would not feel the pointer otherwise
            ring("deployed", "datum.name === deployed", "var(--accent)", 330, x=x, y=mean),
            ring("marked", "datum.id === marked", "var(--ink)", 200, x=x, y=mean),
            dots,
        ],
        "config": LOOK,
    }


def layer(which: str, mark: dict[str, Any], **encoding: Any) -> dict[str, Any]:
    """One mark for each of the arms that a filter lets through."""
    return {"transform": [{"filter": which}], "mark": mark, "encoding": encoding}


def ring(name: str, which: str, colour: str, size: int, **encoding: Any) -> dict[str, Any]:
    """A circle around one arm: the one that the answer names, or the one that the reader chose."""
    mark = {"type": "point", "filled": False, "size": size, "strokeWidth": 2.2, "stroke": colour}
    mark |= {"shape": "circle", "opacity": 1}
    return {"name": f"{name}_ring", **layer(f"{SEEN} && {which}", mark, **encoding)}


def grouped(groups: Sequence[str], looks: Sequence[str]) -> dict[str, Any]:
    """A colour or a shape for each group."""
    scale = {"domain": groups, "range": looks}
    return {"field": "group", "type": "nominal", "scale": scale, "legend": legend(groups)}


def ordered(findings: Findings, groups: set[str]) -> list[str]:
    """Rerankers as in the other plots, so that they have the same colours; then kinds of arrangements."""
    known = [name.rpartition(" + ")[2] if findings.contest.several else name for name in series(findings)]
    return [*dict.fromkeys(name for name in known if name in groups), *sorted(groups - set(known))]


def legend(groups: Sequence[str]) -> dict[str, Any] | None:
    if not groups:
        return None
    longest = max(map(len, groups))
    columns = 1 if longest > 24 else 2 if longest > 12 else 3
    return {"orient": "bottom", "title": None, "columns": columns, "labelLimit": 300, "symbolOpacity": 1}


def reach(drawn: Sequence[ArmRow]) -> tuple[float, float]:
    """The ends of the axis of costs, a little beyond them."""
    costs = [row.cost for row in drawn if row.cost]
    return min(costs) / 1.25, max(costs) * 1.25


def x_scale(drawn: Sequence[ArmRow]) -> dict[str, Any]:
    """Logarithmic, around the costs."""
    if not drawn:
        return {"type": "linear", "domain": [0, 1]}
    return {"type": "log", "domain": list(reach(drawn)), "nice": False}


def ticks(drawn: Sequence[ArmRow]) -> list[float]:
    """1, 2 and 5 times the powers of ten within the costs; powers alone where those would be many."""
    if not drawn:
        return []
    low, high = reach(drawn)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    found = [step * 10.0**power for power in powers for step in steps]
    return [value for value in found if low <= value <= high]


def y_scale(rows: Sequence[ArmRow]) -> dict[str, Any]:
    """Around the intervals, never above what the measure can reach."""
    low, high = min(row.mean[1] for row in rows), max(row.mean[2] for row in rows)
    room = 0.06 * (high - low) or 0.02
    top = 1.0 if high <= 1 else math.inf
    return {"zero": False, "nice": False, "domain": [max(0.0, low - room), min(top, high + room)]}
