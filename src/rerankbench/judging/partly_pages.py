"""The report of a sweep of which a small part is judged, as files and in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from rerankbench.basics.visible import Console, visible
from rerankbench.evaluation.measures import display_name
from rerankbench.judging import costs
from rerankbench.judging.pages import rendered, safe_rows, show_end, write_texts
from rerankbench.judging.partly import Partly, spread, state_of
from rerankbench.report import settled
from rerankbench.report.heading import synthetic
from rerankbench.report.markdown import bullets, rows_of, safe


def write(folder: Path, found: Partly) -> Path:
    """Write all files, report.json last; returns the page's path."""
    return write_texts(folder, markdown(found), page(found), found.document())


def subtitle(found: Partly) -> str:
    data, judged = found.dataset, found.settled
    return (
        f"{data.get('name')}, split {data.get('split')}: {data.get('docs'):,} documents, "
        f"{found.queries:,}{synthetic(data)} queries, {judged.judged:,} judgements ({judged.judged_by}). "
        f"{len(found.arms)} arms."
    )


def headings(found: Partly) -> tuple[str, ...]:
    return (
        "arm",
        f"expected {display_name(found.settled.measure)}",
        "the leader's lead on other queries",
        "",
    )


def rows(found: Partly) -> list[list[str]]:
    """The arms, best first."""
    return [
        [arm.name, spread(arm.mean), spread(arm.lead, "+") if arm.state else "", state_of(arm)]
        for arm in found.arms
    ]


def pairs(found: Partly) -> list[list[str]]:
    return settled.table(found.settled, [arm.name for arm in found.arms])


def markdown(found: Partly) -> str:
    """The whole report as GitHub's Markdown."""
    lines = [f"## {safe(found.sentence())}", "", *bullets(found.reasons()), safe(subtitle(found)), ""]
    lines += ["### Arms", "", *rows_of(headings(found), [[safe(c) for c in row] for row in rows(found)]), ""]
    lines += ["### Costs", "", *rows_of(costs.HEADINGS, safe_rows(costs.rows(found.costs))), ""]
    if found.failed:
        lines += ["### Failed", "", *bullets([f"{arm}: {why}" for arm, why in found.failed])]
    lines += ["### Settled and open", ""]
    lines += [*rows_of(settled.HEADINGS, [[safe(c) for c in row] for row in pairs(found)]), ""]
    return "\n".join([*lines, "### Read this with", "", *bullets(found.assumptions())]).rstrip() + "\n"


def page(found: Partly) -> str:
    """The page; every text is escaped by the template."""
    values = {"subtitle": subtitle(found), "headings": headings(found), "rows": rows(found)}
    more = {"pair_headings": settled.HEADINGS, "pairs": pairs(found), "notes": found.assumptions()}
    return rendered("partly.html", found, main=("Arms", "arms"), **values, **more)


def show(found: Partly, page: Path, place: str) -> None:
    """What a person sees in the terminal."""
    console = Console()
    console.print()
    console.print(found.sentence(), soft_wrap=True, style="bold")
    for reason in found.reasons():
        console.print(f"  {reason}", soft_wrap=True)
    console.print(subtitle(found), soft_wrap=True, style="dim")
    table = Table()
    for heading in headings(found):
        table.add_column(heading)
    for row in rows(found):
        table.add_row(*map(visible, row))
    console.print(table)
    show_end(console, found, page, place if found.open else "")
