"""The report's plots: depth curves, layer curves, quality against cost, headroom."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.engine.store.rows import write_atomic
from rerankbench.evaluation.significance import Interval
from rerankbench.report.claims.headroom import Headroom
from rerankbench.report.findings import Findings
from rerankbench.report.page.palette import LIGHT, MARKERS, PLACES, Palette, variables

SIZE = (5.6, 3.7)  # inches; 400 points wide, so that text stays readable on a phone
# Of first stages: dots first, each clearly another pattern, also in the short line of a legend.
DASHES = (":", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (2, 1)), (0, (1, 4)), (0, (4, 1, 1, 1, 1, 1)))
NAMES, KINDS = ("depth", "layer", "cost", "headroom", "queries"), ("png", "svg")
MOST_BANDS = 4  # more would hide each other
Draw = Callable[[Any, Findings, Palette], None]
Values = NDArray[np.float64]

STYLE = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the reader's font
    "text.parse_math": False,  # a model may have a $ in its name
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def plots(findings: Findings) -> dict[str, tuple[str, Draw]]:
    """File name to title and drawing, of the plots that the findings have something for."""
    name, wins = findings.measure, findings.comparison.arms[findings.shown].wins
    known = {
        "depth": (curves(findings), f"{name} by depth", draw_depth),
        "layer": (layered(findings), f"{name} by layer", draw_layers),
        "cost": (series(findings), f"{name} against cost", draw_cost),
        "headroom": (findings.rooms, f"Headroom in {name}", draw_headroom),
        # without a change the plot would be an empty frame
        "queries": (wins.helped or wins.hurt, f"Change in {name} per query", draw_queries),
    }
    return {name: (title, draw) for name, (some, title, draw) in known.items() if some}


def write(folder: Path, findings: Findings) -> None:
    """Every plot as PNG and SVG; an earlier report's that this one has not go."""
    if folder.is_symlink():
        raise UserError(f"{visible(folder)}: this is a link, and links are not followed; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    found = plots(findings)
    for name, kind in product(NAMES, KINDS):
        if name not in found:
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    for name, (title, draw) in found.items():
        for kind, content in zip(KINDS, rendered(draw, findings, LIGHT, KINDS, name, title), strict=True):
            write_atomic(folder / f"{name}.{kind}", content)


def file_names() -> list[str]:
    """All that `write` may leave in its folder."""
    return [f"{name}.{kind}" for name, kind in product(NAMES, KINDS)]


def inline(findings: Findings) -> dict[str, tuple[str, str]]:
    """Name to title and SVG element, for a page whose CSS has the palette's variables."""
    found = {}
    for name, (title, draw) in plots(findings).items():
        (svg,) = rendered(draw, findings, PLACES, ("svg",), name, "")
        found[name] = (title, embedded(svg.decode(), title))
    return found


def embedded(svg: str, title: str) -> str:
    """An SVG file as an element of a page: variables for colours, nothing that points elsewhere."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # it would apply to the whole page
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"|<svg height="[^"]*"', "<svg", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    for colour, variable in variables().items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def rendered(
    draw: Draw, findings: Findings, palette: Palette, kinds: Sequence[str], name: str, title: str
) -> list[bytes]:
    """One plot as the bytes of a file of each kind; laid out once for all."""
    import matplotlib
    from matplotlib.figure import Figure

    colours = {
        "text.color": palette.ink,
        "axes.edgecolor": palette.soft,
        "axes.labelcolor": palette.soft,
        "xtick.color": palette.soft,
        "ytick.color": palette.soft,
        "grid.color": palette.line,
    }
    with matplotlib.rc_context({**STYLE, **colours, "svg.hashsalt": name}):
        figure = Figure(figsize=SIZE, layout="constrained")
        figure.patch.set_facecolor(palette.paper if title else "none")
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        axes.grid(axis="y", linewidth=0.8)
        axes.set_title(title, fontsize=11, loc="left", color=palette.ink)
        draw(axes, findings, palette)
        if name not in ("headroom", "queries"):
            within_reach(axes)
        return [saved(figure, kind) for kind in kinds]


def saved(figure: Any, kind: str) -> bytes:
    """A figure as a file that says nothing of when and by what it was made."""
    sink = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(sink, format=kind, dpi=150, metadata=metadata)
    figure.set_layout_engine("none")  # it has its layout, which takes as long as drawing
    return sink.getvalue()


def curves(findings: Findings) -> dict[str, list[int]]:
    """Rows of reranking arms by curve, shallow first; of models with layers the last and the recommended."""
    arms, chosen = findings.contest.arms, findings.verdict.arm
    kept: dict[str, list[int]] = {}
    for row, arm in sorted(enumerate(arms), key=lambda item: item[1].depth):
        recommended = chosen is not None and arm.curve == arms[chosen].curve
        if arm.reranks and (arm.layer == arm.top_layer or recommended):
            kept.setdefault(arm.curve, []).append(row)
    return kept


def layered(findings: Findings) -> dict[str, list[int]]:
    """Rows by reranker over layers, at the deepest depth, of models that answer from several."""
    arms = findings.contest.arms
    groups: dict[tuple[str, str], list[int]] = {}
    for row, arm in enumerate(arms):
        if arm.layer is not None:
            groups.setdefault((arm.stage, arm.reranker), []).append(row)
    found = {}
    for rows in groups.values():
        depth = max(arms[row].depth for row in rows)
        kept = sorted((r for r in rows if arms[r].depth == depth), key=lambda r: arms[r].layer or 0)
        found[arms[kept[0]].curve.rpartition(" layer ")[0] + f"@{depth}"] = kept
    return found


def series(findings: Findings) -> dict[str, int]:
    """A number for each reranker's curve, the same in every plot."""
    names = dict.fromkeys(colour_name(arm.curve) for arm in findings.contest.arms if arm.reranks)
    return {name: number for number, name in enumerate(names)}


def means_of(findings: Findings, rows: Sequence[int]) -> list[Interval]:
    return [findings.comparison.arms[row].mean for row in rows]


def colour_name(curve: str) -> str:
    return curve.rpartition(" layer ")[0] or curve


def draw_curve(axes: Any, x: Sequence[float], means: Sequence[Interval], number: int, **look: Any) -> None:
    """Means over `x`, with the marker that a reranker's `number` has in every plot."""
    look = {"linestyle": "-", "marker": MARKERS[number % 8]} | look
    axes.plot(x, [each.mean for each in means], **look)


def draw_band(axes: Any, x: Sequence[float], means: Sequence[Interval], colour: str) -> None:
    """The intervals of the same means."""
    low, high = [each.low for each in means], [each.high for each in means]
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)


def draw_depth(axes: Any, findings: Findings, palette: Palette) -> None:
    """Each reranker's means over depths with their intervals, from the first stage at depth 0."""
    lines, numbers, contest = curves(findings), series(findings), findings.contest
    for position, (name, rows) in enumerate(lines.items()):
        points, number = [contest.first_stage(rows[0]), *rows], numbers[colour_name(name)]
        x, means = [contest.arms[row].depth for row in points], means_of(findings, points)
        dashes = "-" if contest.arms[rows[0]].layer == contest.arms[rows[0]].top_layer else "--"
        look = {"label": name, "color": palette.of(number), "linestyle": dashes, "zorder": 3}
        draw_curve(axes, x, means, number, **look)
        if position < MOST_BANDS:
            draw_band(axes, x, means, palette.of(number))
    first_lines(axes, findings, palette)
    ring(axes, findings, palette, lambda row: contest.arms[row].depth)
    depths = sorted({0, *(arm.depth for arm in contest.arms)})
    axes.set_xscale("function", functions=(root, np.square))  # from 10 to 1000 on one axis that has a 0
    axes.set_xlim(0, max(depths) * 1.03)
    axes.set_xticks(spaced(depths), [str(depth) for depth in spaced(depths)])
    label(axes, findings, "documents reranked per query", len(lines))


def spaced(depths: Sequence[int]) -> list[int]:
    """Depths whose labels do not touch on a square-root axis."""
    kept: list[int] = []
    for depth in depths:
        if not kept or math.sqrt(depth) - math.sqrt(kept[-1]) > 0.05 * math.sqrt(depths[-1]):
            kept.append(depth)
    return kept


def root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))


def first_lines(axes: Any, findings: Findings, palette: Palette) -> None:
    """Each first stage's mean as a line with dashes of its own."""
    arms, look = findings.contest.arms, {"color": palette.soft, "linewidth": 1.2}
    for number, row in enumerate(row for row, arm in enumerate(arms) if not arm.reranks):
        mean, dashes = findings.comparison.arms[row].mean.mean, DASHES[number % len(DASHES)]
        axes.axhline(mean, linestyle=dashes, label=arms[row].name, **look)


def ring(axes: Any, findings: Findings, palette: Palette, x: Callable[[int], float]) -> None:
    """A circle around the recommended arm."""
    row = findings.verdict.arm
    if row is not None and findings.contest.arms[row].reranks:
        look = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": palette.accent}
        look |= {"markeredgewidth": 2, "label": "recommended", "zorder": 4}
        axes.plot([x(row)], [findings.comparison.arms[row].mean.mean], "o", **look)


def label(axes: Any, findings: Findings, x: str, lines: int) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(findings.measure)
    columns = 2 if lines > 2 else max(1, lines + 1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.48, -0.17), ncols=min(3, columns + 1), handlelength=1.8)


def draw_layers(axes: Any, findings: Findings, palette: Palette) -> None:
    """Each layerwise model's means over layers, with intervals."""
    lines, numbers = layered(findings), series(findings)
    for name, rows in lines.items():
        number, means = numbers[name.rpartition("@")[0]], means_of(findings, rows)
        x = [findings.contest.arms[row].layer or 0 for row in rows]
        draw_curve(axes, x, means, number, label=name, color=palette.of(number))
        draw_band(axes, x, means, palette.of(number))
    first_lines(axes, findings, palette)
    axes.xaxis.get_major_locator().set_params(integer=True)
    label(axes, findings, "layer that answers", len(lines))


def draw_cost(axes: Any, findings: Findings, palette: Palette) -> None:
    """Every arm by its cost and mean, the Pareto front as a line."""
    costs, names, arms = findings.order.values, series(findings), findings.contest.arms
    for name, number in names.items():
        rows = [i for i, arm in enumerate(arms) if arm.reranks and colour_name(arm.curve) == name]
        rows = [row for row in rows if costs[row] > 0]
        look = {"label": name, "color": palette.of(number), "linestyle": "", "zorder": 3}
        draw_curve(axes, [costs[row] for row in rows], means_of(findings, rows), number, **look)
    draw_front(axes, findings, palette)
    first_lines(axes, findings, palette)
    ring(axes, findings, palette, lambda row: float(costs[row]))
    if any(costs[row] > 0 for row, arm in enumerate(arms) if arm.reranks):
        axes.set_xscale("log")
        axes.margins(x=0.12)
    round_ticks(axes)
    label(axes, findings, findings.order.unit, len(names) + 1)


def draw_front(axes: Any, findings: Findings, palette: Palette) -> None:
    """The Pareto front: its arms' depths, and a line where there are two to connect."""
    front = [row for row in findings.front if findings.order.values[row] > 0]
    x = [findings.order.values[row] for row in front]
    y = [findings.comparison.arms[row].mean.mean for row in front]
    if len(front) > 1:
        what = "nothing is cheaper and better"
        axes.plot(x, y, "-", color=palette.soft, linewidth=1, label=what, zorder=2)
    look = {"textcoords": "offset points", "xytext": (7, -11), "fontsize": 8, "color": palette.soft}
    for row, *point in list(zip(front, x, y, strict=True))[:8]:
        axes.annotate(str(findings.contest.arms[row].depth), point, **look)


def round_ticks(axes: Any) -> None:
    """Labels at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(lambda value, _: round_number(value))
    axes.xaxis.set_minor_formatter(NullFormatter())


def round_number(value: float) -> str:
    """A tick's label: 0.5, 200, 10,000; never 1e+04."""
    return f"{value:,.0f}" if value >= 10 else f"{value:,.12f}".rstrip("0").rstrip(".")


def within_reach(axes: Any) -> None:
    """No room above 1, which no measure exceeds."""
    low, high = axes.get_ylim()
    if high > 1.0:
        axes.set_ylim(low, 1.0)


def draw_queries(axes: Any, findings: Findings, palette: Palette) -> None:
    """Every query's change by the arm whose examples are shown, largest gain first."""
    contest, row = findings.contest, findings.shown
    change = np.sort(contest.compared[row] - contest.compared[contest.first_stage(row)])[::-1]
    edges = np.arange(len(change) + 1) + 0.5
    wins = findings.comparison.arms[row].wins
    helped, hurt = (palette.accent, f"{wins.helped:,} helped"), (palette.of(4), f"{wins.hurt:,} hurt")
    for sign, (colour, text) in ((1, helped), (-1, hurt)):
        look = {"color": colour, "alpha": 0.8, "linewidth": 0, "label": text}
        # as wide for the first query and the last as for the others
        axes.stairs(np.where(sign * change > 0, change, 0), edges, fill=True, **look)
    axes.plot([], [], " ", label=f"{wins.unchanged:,} unchanged")
    axes.axhline(0, color=palette.soft, linewidth=0.8)
    axes.set_xlim(0.5, len(change) + 0.5)
    label(axes, findings, f"queries, sorted by what {contest.arms[row].name} changed", 2)
    axes.set_ylabel(f"change in {findings.measure}")


def draw_headroom(axes: Any, findings: Findings, palette: Palette) -> None:
    """Bars by depth: the first stage, what the best arm captured, what the candidates allow."""
    rooms = findings.rooms
    several = len({room.stage for room in rooms}) > 1
    names = [f"{room.stage} {room.depth}" if several else str(room.depth) for room in rooms]
    for part, start, width, look in headroom_bars(rooms, palette):
        axes.barh(range(len(rooms)), width, left=start, label=part, height=0.62, **look)
    axes.set_yticks(range(len(rooms)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", linewidth=0.8)
    axes.set_xlim(0, max(1.0, *(room.possible for room in rooms)))
    label(axes, findings, findings.measure, 2)
    axes.set_ylabel("first stage and depth" if several else "depth")


def headroom_bars(
    rooms: Sequence[Headroom], palette: Palette
) -> Iterator[tuple[str, Values, Values, dict[str, Any]]]:
    """What each part of the bars is called, where it starts, how wide it is, and its look."""
    first, reached, possible = np.array([(r.first, r.reached, r.possible) for r in rooms]).T
    low, top = np.minimum(first, reached), np.maximum(first, reached)
    captured, lost = np.maximum(0.0, reached - first), np.maximum(0.0, first - reached)
    yield "no reranking", np.zeros(len(rooms)), low, {"color": palette.soft, "alpha": 0.45}
    yield "captured by the best arm", first, captured, {"color": palette.accent}
    if lost.any():
        yield "lost by reranking", low, lost, {"color": palette.of(4)}
    left = np.maximum(0.0, possible - top)
    yield "left in the candidates", top, left, {"color": palette.accent, "alpha": 0.22}
