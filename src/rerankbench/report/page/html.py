"""report.html: one file that opens anywhere and asks for nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.basics.visible import visible_lines
from rerankbench.report import document, made
from rerankbench.report.arrangements.words import UNITS, Step, Teller
from rerankbench.report.document import plain, recommended
from rerankbench.report.evidence import settled
from rerankbench.report.findings import Findings
from rerankbench.report.page import arm_rows, chart, plots, scripts, table
from rerankbench.report.page.arm_rows import ArmRow
from rerankbench.report.take_home import Recipe

if TYPE_CHECKING:
    from jinja2 import Environment

CAPTIONS = {
    "depth": "Lines are means over queries, bands their intervals; lines without markers are first stages.",
    "layer": "At the largest depth. Earlier layers cost less.",
    "cost": "Up and to the left is better.",
    "queries": "One bar per query: above the line it was helped, below it was hurt.",
    "headroom": "The full bar is the best order of the candidates; the rest up to 1 was not retrieved.",
}


def seen(value: object) -> object:
    """Whatever the template shows, before it is escaped; the plots are markup of ours."""
    return visible_lines(value) if type(value) is str else value


def page(findings: Findings, home: Sequence[Recipe] = ()) -> str:
    """The page; `home`: how the arm is run. Texts are escaped by the template; plots and data are not."""
    template = environment(Path(__file__).parent).get_template("template.html")
    return str(template.render(**contents(findings), home=home))


def environment(folder: Path) -> Environment:
    """Templates in which every text is escaped, and shown without what must not be obeyed."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def contents(findings: Findings) -> dict[str, Any]:
    """What the template shows."""
    from markupsafe import Markup

    drawn = plots.inline(findings).items()
    rows = arm_rows.rows(findings)
    headings, measures = table.measure_table(findings)
    run, arms = [scripts.library(), scripts.own()], findings.contest.arms
    return {
        "f": findings,
        "plots": [(name, title, Markup(svg), CAPTIONS[name]) for name, (title, svg) in drawn],
        "rows": rows,
        "left": len(findings.field) - len(rows),
        "cost_heading": arm_rows.cost_heading(findings),
        "terms": arm_rows.terms(findings),
        "headings": headings,
        "measures": measures,
        "staircases": staircases(findings),
        "choices": choices(rows),
        "data": Markup(embedded(data(findings, rows))),
        "scripts": [Markup(each) for each in run],
        "policy": scripts.policy(run),
        "facts": list(made.facts(findings.contest.runs, findings.made)),
        "links": made.links(findings.contest.runs, findings.made),
        "settled": settled.table(findings.settled, [arms[i].name for i in findings.ranked()])
        if findings.settled
        else [],
        "settled_headings": settled.HEADINGS,
    }


def data(findings: Findings, rows: Sequence[ArmRow]) -> dict[str, Any]:
    """What the page's script looks up: arms, answers and the plot's specification."""
    return {
        "measure": findings.measure,
        "cost": findings.order.unit,
        "margin": findings.settings.delta,
        "arms": chart.points(rows),
        "answers": list(told(findings)),
        "units": UNITS,
        "chart": chart.specification(findings, rows),
    }


def told(findings: Findings) -> Iterator[dict[str, Any]]:
    """Every answer; the one to what was asked is the verdict itself."""
    for each in document.answers(findings):
        kept = {key: each[key] for key in ("budget", "bound", "margin", "sentence", "arm")}
        if each["budget"] is None and each["margin"] == findings.settings.delta:
            kept |= {"sentence": findings.verdict.sentence, "arm": recommended(findings)}
        yield kept


def staircases(findings: Findings) -> list[tuple[str, list[Step]]]:
    """What to do within each budget, by its unit."""
    found: dict[str, list[Step]] = {}
    for step in Teller(findings.answered, findings.settings.delta).staircase():
        found.setdefault(step.unit, []).append(step)
    return list(found.items())


def embedded(values: dict[str, Any]) -> str:
    """Values as JSON that nothing in a page takes for markup, and in which nothing is invisible."""
    text = json.dumps(shown(plain(values)), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def shown(value: Any) -> Any:
    """The same values with texts as they may be shown; the script puts them on the page as they are."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return seen(value)


def choices(rows: Sequence[ArmRow]) -> list[tuple[str, str, list[str]]]:
    """Filters that have something to choose from: key, heading, values."""
    found = {
        "stage": ("first stage", {row.stage: None for row in rows}),
        "group": ("reranker", {chart.group(row): None for row in rows if row.reranker}),
        "depth": ("depth", {str(d): None for d in sorted({row.depth for row in rows if row.reranker})}),
    }
    return [(key, heading, list(values)) for key, (heading, values) in found.items() if len(values) > 1]
