"""report.html: one file that opens anywhere and asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rerankbench.basics.visible import visible_lines
from rerankbench.report import plots, table
from rerankbench.report.arrangements.words import Teller
from rerankbench.report.findings import Findings
from rerankbench.report.heading import subtitle
from rerankbench.report.take_home import Recipe

CAPTIONS = {
    "depth": "Lines are means over queries, bands their intervals; lines without markers are first stages.",
    "layer": "At the largest depth. Earlier layers cost less.",
    "cost": "Up and to the left is better. Numbers are depths. Costs are of reranking alone.",
    "queries": "One bar per query: above the line it was helped, below it was hurt.",
    "headroom": "The full bar is the best order of the candidates; what is missing to 1 was not retrieved.",
}


def seen(value: object) -> object:
    """Whatever the template shows, before it is escaped; the plots are markup of ours."""
    return visible_lines(value) if type(value) is str else value


def page(findings: Findings, home: Sequence[Recipe] = ()) -> str:
    """The page; `home`: how the arm is run.

    Every text is escaped by the template; only the plots are inserted as markup.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [
        (name, title, Markup(svg), CAPTIONS[name]) for name, (title, svg) in plots.inline(findings).items()
    ]
    headings, measures = table.measure_table(findings)
    return environment.get_template("template.html").render(
        f=findings,
        home=home,
        subtitle=subtitle(findings),
        plots=drawn,
        columns=table.columns(findings),
        headings=headings,
        budgets=Teller(findings.arranged, findings.settings.delta).staircase() if findings.arranged else [],
        measures=measures,
    )
