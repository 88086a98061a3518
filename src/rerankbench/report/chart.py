"""The interactive plot: every arm by cost and quality, as a Vega-Lite specification and its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rerankbench.report.arm_rows import ArmRow
from rerankbench.report.findings import Findings
from rerankbench.report.plots import series

SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "stroke", "triangle-right")
COLOURS = 8  # of the page's series
SEEN = "datum.cost > 0"
MANY = 60  # points from which intervals hide each other


def points(rows: Sequence[ArmRow]) -> list[dict[str, Any]]:
    """What the page knows of each row: for the plot, the filters, the tips and the CSV."""
    return [
        {
            "id": number,
            "name": row.name,
            "kind": row.kind,
            "stage": row.stage,
            "reranker": row.reranker,
            "group": group(row),
            "depth": row.depth,
            "layer": row.layer,
            "mean": row.mean[0],
            "low": row.mean[1],
            "high": row.mean[2],
            "gain": row.gain and row.gain[0],
            "gain_low": row.gain and row.gain[1],
            "gain_high": row.gain and row.gain[2],
            "cost": row.cost,
            "cost_text": row.cost_text,
            "good": row.good,
        }
        for number, row in enumerate(rows)
    ]


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
    colour = {"field": "group", "type": "nominal", "scale": colours(groups), "legend": legend(groups)}
    shape = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": groups, "range": [SHAPES[i % len(SHAPES)] for i in range(len(groups))]},
        "legend": legend(groups),
    }
    return {
        "width": "container",
        "height": 340,
        "autosize": {"type": "fit", "contains": "padding", "resize": True},
        "data": {"name": "arms"},
        "params": [{"name": "marked", "value": -1}, {"name": "deployed", "value": ""}],
        "layer": [
            first_stages(y),
            *([whiskers(x, y, colour)] if len(drawn) <= MANY else []),
            # below the points, which would not feel the pointer otherwise
            ring("deployed", "datum.name === deployed", x, y, "var(--accent)", 330),
            ring("marked", "datum.id === marked", x, y, "var(--ink)", 200),
            dots(x, y, colour, shape),
        ],
        "config": look(),
    }


def whiskers(x: dict[str, Any], y: dict[str, Any], colour: dict[str, Any]) -> dict[str, Any]:
    """The intervals."""
    return {
        "transform": [{"filter": SEEN}],
        "mark": {"type": "rule", "strokeWidth": 1.4, "opacity": 0.35},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
    }


def dots(
    x: dict[str, Any], y: dict[str, Any], colour: dict[str, Any], shape: dict[str, Any]
) -> dict[str, Any]:
    """The arms."""
    dot = {"type": "point", "filled": True, "size": 75, "opacity": 0.95, "cursor": "pointer"}
    return {
        "name": "points",
        "transform": [{"filter": SEEN}],
        "mark": dot | {"tooltip": {"content": "data"}},
        "encoding": {"x": x, "y": {**y, "field": "mean"}, "color": colour, "shape": shape},
    }


def ordered(findings: Findings, groups: set[str]) -> list[str]:
    """Rerankers as in the other plots, so that they have the same colours; then kinds of arrangements."""
    known = [name.rpartition(" + ")[2] if findings.contest.several else name for name in series(findings)]
    return [*dict.fromkeys(name for name in known if name in groups), *sorted(groups - set(known))]


def first_stages(y: dict[str, Any]) -> dict[str, Any]:
    """Arms without a cost of their own, as lines from side to side."""
    return {
        "transform": [{"filter": "datum.cost === 0"}],
        "mark": {
            "type": "rule",
            "strokeDash": [5, 3],
            "strokeWidth": 1.5,
            "color": "var(--soft)",
            "cursor": "pointer",
            "tooltip": {"content": "data"},
        },
        "encoding": {"y": {**y, "field": "mean"}},
    }


def ring(
    name: str, which: str, x: dict[str, Any], y: dict[str, Any], colour: str, size: int
) -> dict[str, Any]:
    """A circle around one arm: the one that the answer names, or the one that the reader chose."""
    mark = {"type": "point", "filled": False, "size": size, "strokeWidth": 2.2, "stroke": colour}
    return {
        "name": f"{name}_ring",
        "transform": [{"filter": f"{SEEN} && {which}"}],
        "mark": mark | {"shape": "circle", "opacity": 1},
        "encoding": {"x": x, "y": {**y, "field": "mean"}},
    }


def colours(groups: Sequence[str]) -> dict[str, Any]:
    return {"domain": list(groups), "range": [f"var(--series-{i % COLOURS})" for i in range(len(groups))]}


def legend(groups: Sequence[str]) -> dict[str, Any] | None:
    if not groups:
        return None
    longest = max(map(len, groups))
    columns = 1 if longest > 24 else 2 if longest > 12 else 3
    return {"orient": "bottom", "title": None, "columns": columns, "labelLimit": 300, "symbolOpacity": 1}


def x_scale(drawn: Sequence[ArmRow]) -> dict[str, Any]:
    """Logarithmic, around the costs."""
    costs = [row.cost for row in drawn if row.cost]
    if not costs:
        return {"type": "linear", "domain": [0, 1]}
    return {"type": "log", "domain": [min(costs) / 1.25, max(costs) * 1.25], "nice": False}


def ticks(drawn: Sequence[ArmRow]) -> list[float]:
    """1, 2 and 5 times the powers of ten within the costs; powers alone where those would be many."""
    costs = [row.cost for row in drawn if row.cost]
    if not costs:
        return []
    low, high = min(costs) / 1.25, max(costs) * 1.25
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


def look() -> dict[str, Any]:
    """Fonts and lines as on the rest of the page."""
    text = {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    lines = {"gridColor": "var(--line)", "domainColor": "var(--soft)", "tickColor": "var(--soft)"}
    return {
        "background": None,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": text | lines | {"titleFontWeight": "normal", "titlePadding": 10},
        "legend": {"labelColor": "var(--ink)", "labelFontSize": 12, "symbolSize": 80},
    }
