"""What sweeps without judgements, or with few, show: report.json, report.md, report.html, the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from rich import table as rich

from rerankbench.basics.visible import Console, visible, visible_json
from rerankbench.engine.store.rows import write_atomic
from rerankbench.judging.reports import costs
from rerankbench.judging.reports.differences import HEADINGS, Differences
from rerankbench.judging.reports.partly import Partly
from rerankbench.judging.reports.told import Table
from rerankbench.report.deployment import FILE
from rerankbench.report.page.files import JSON, MARKDOWN, PAGE
from rerankbench.report.page.html import environment
from rerankbench.report.page.markdown import bullets, rows_of, safe

MOST_ROWS = 15  # pairs of arms in the terminal
Told = Differences | Partly


def write(folder: Path, found: Told) -> Path:
    """Write all files, report.json last; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / MARKDOWN, markdown(found).encode())
    write_atomic(folder / PAGE, page(found).encode())
    text = json.dumps(found.document(), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / JSON, visible_json(text).encode())
    return folder / PAGE


def tables(found: Told) -> list[Table]:
    """What stands before the runs that failed."""
    paid = Table("Costs", "costs", costs.HEADINGS, costs.rows(found.costs))
    return [found.main(), paid] if found.costs else [found.main()]


def markdown(found: Told) -> str:
    """The whole report as GitHub's Markdown."""
    lines = [f"## {safe(found.sentence())}", "", *(bullets(found.reasons()) if found.reasons() else [])]
    lines += [safe(found.subtitle()), "", *sections(tables(found))]
    if found.failed:
        lines += ["### Failed", "", *bullets([f"{arm}: {why}" for arm, why in found.failed])]
    lines += sections(found.details())
    lines += disagreements(found) if isinstance(found, Differences) else []
    return "\n".join([*lines, "### Notes", "", *bullets(found.read_with())]).rstrip() + "\n"


def sections(some: list[Table]) -> list[str]:
    lines = []
    for each in some:
        rows = [[safe(cell) for cell in row] for row in each.rows]
        lines += [f"### {each.title}", "", *rows_of(each.headings, rows), ""]
    return lines


def disagreements(found: Differences) -> list[str]:
    lines = ["### Where they disagree most", ""] if found.disagreements else []
    for query in found.disagreements:
        lines += [f"**{safe(query.name)}** (overlap {query.overlap:.3f})", ""]
        lines += bullets([f"{document.name} ({document.places})" for document in query.documents])
    return lines


def page(found: Told) -> str:
    """The page; every text is escaped by the template."""
    disagreeing = found.disagreements if isinstance(found, Differences) else ()
    template = environment(Path(__file__).parent).get_template("report.html")
    return str(template.render(f=found, tables=tables(found), disagreements=disagreeing))


def show(found: Told, page: Path, place: str) -> None:
    """What a person sees at the end: what is found, what failed, and where to go on with the `place`."""
    console = Console()
    console.print()
    console.print(found.sentence(), soft_wrap=True, style="bold")
    for reason in found.reasons():
        console.print(f"  {reason}", soft_wrap=True)
    console.print(found.subtitle(), soft_wrap=True, style="dim")
    console.print(shown(found.main()))
    for arm, why in found.failed:
        console.print(f"failed     {arm}: {why}", soft_wrap=True)
    console.print(f"report     {page}", soft_wrap=True)
    if found.left if isinstance(found, Differences) else found.open:
        console.print(f"judge      rerankbench-judge {place}", soft_wrap=True)
    elif (page.parent / FILE).is_file():
        console.print(f"serve      rerankbench-serve {page.parent}", soft_wrap=True)


def shown(main: Table) -> rich.Table:
    pairs = main.headings == HEADINGS
    table = rich.Table()
    for heading in main.headings:
        table.add_column(heading, justify="right" if pairs and heading not in ("arm", "other") else "left")
    rows = main.rows[:MOST_ROWS] if pairs else main.rows
    for row in rows:
        table.add_row(*map(visible, row))
    if len(rows) < len(main.rows):
        table.caption = f"and {len(main.rows) - len(rows)} more pairs of arms in the report"
    return table
