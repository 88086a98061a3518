"""What sweeps without judgements, or with few, show: report.json, report.md, report.html, the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from rerankbench.basics.visible import Console, visible, visible_json, visible_lines
from rerankbench.judging import costs
from rerankbench.judging.differences import Differences, Document, Query
from rerankbench.judging.partly import Partly
from rerankbench.report.files import JSON, MARKDOWN, PAGE
from rerankbench.report.heading import synthetic
from rerankbench.report.markdown import bullets, rows_of, safe
from rerankbench.store.rows import write_atomic

HEADINGS = ("arm", "other", "overlap", "interval")
READ_WITH = (
    "Overlap is rank-biased overlap (Webber, Moffat and Zobel 2010) with persistence 0.9: 1 where two arms "
    "give the same list, 0 where they share nothing; the first ten ranks have most of the weight.",
    "It says how much arms differ, not which is better.",
)
MOST_ROWS = 15  # in the terminal


def write(folder: Path, found: Differences) -> Path:
    """Write all files, report.json last; returns the page's path."""
    return write_texts(folder, markdown(found), page(found), found.document())


def write_texts(folder: Path, markdown: str, page: str, document: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / MARKDOWN, markdown.encode())
    write_atomic(folder / PAGE, page.encode())
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / JSON, visible_json(text).encode())
    return folder / PAGE


def subtitle(found: Differences) -> str:
    data = found.dataset
    return (
        f"{data.get('name')}, split {data.get('split')}: {data.get('docs'):,} documents, "
        f"{found.queries:,}{synthetic(data)} queries, no judgements. "
        f"{len(found.arms)} arms at their full depth."
    )


def rows(found: Differences) -> list[list[str]]:
    """Every two arms, those that differ most first."""
    ordered = sorted(found.overlaps, key=lambda each: each.overlap.mean)
    return [
        [
            each.arm,
            each.other,
            f"{each.overlap.mean:.3f}",
            f"{each.overlap.low:.3f} to {each.overlap.high:.3f}",
        ]
        for each in ordered
    ]


def read_with(found: Differences) -> list[str]:
    intervals = f"Intervals are {100 * found.level:g}% percentile bootstrap intervals over queries."
    return [*READ_WITH, intervals, *found.notes]


def markdown(found: Differences) -> str:
    """The whole report as GitHub's Markdown."""
    lines = [f"## {safe(found.sentence())}", "", safe(subtitle(found)), ""]
    lines += ["### How much arms differ", ""]
    lines += [*rows_of(HEADINGS, [[safe(cell) for cell in row] for row in rows(found)]), ""]
    if found.costs:
        lines += ["### Costs", "", *rows_of(costs.HEADINGS, safe_rows(costs.rows(found.costs))), ""]
    if found.failed:
        lines += ["### Failed", "", *bullets([f"{arm}: {why}" for arm, why in found.failed])]
    lines += ["### Where they disagree most", ""] if found.disagreements else []
    for query in found.disagreements:
        lines += [f"**{safe(query.text or query.query_id)}** (overlap {query.overlap:.3f})", ""]
        lines += bullets(
            [f"{document.text or document.doc_id} ({ranks})" for document, ranks in ranked(query)]
        )
    return "\n".join([*lines, "### Read this with", "", *bullets(read_with(found))]).rstrip() + "\n"


def ranked(query: Query) -> list[tuple[Document, str]]:
    """The documents of a query, each with its ranks in words."""
    return [
        (
            document,
            ", ".join(
                f"{arm}: {'not found' if r is None else f'rank {r}'}" for arm, r in document.ranks.items()
            ),
        )
        for document in query.documents
    ]


def safe_rows(cells: list[list[str]]) -> list[list[str]]:
    return [[safe(cell) for cell in row] for row in cells]


def environment() -> Any:
    """Templates in which every text is escaped, and shown without what must not be obeyed."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(found: Differences) -> str:
    """The page; every text is escaped by the template."""
    values = {"subtitle": subtitle(found), "headings": HEADINGS, "rows": rows(found)}
    more = {"ranked": ranked, "notes": read_with(found), "main": ("How much arms differ", "overlaps")}
    return rendered("differences.html", found, **values, **more)


def rendered(template: str, found: Differences | Partly, **values: Any) -> str:
    """A page of its own table, the costs, and what else its template says."""
    shared = {"cost_headings": costs.HEADINGS, "costs": costs.rows(found.costs)}
    return str(environment().get_template(template).render(f=found, **shared, **values))


def show(found: Differences, page: Path, place: str) -> None:
    """What a person sees at the end of such a sweep."""
    console = Console()
    console.print()
    console.print(found.sentence(), soft_wrap=True, style="bold")
    console.print(subtitle(found), soft_wrap=True, style="dim")
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("arm", "other") else "right")
    every = rows(found)
    for row in every[:MOST_ROWS]:
        table.add_row(*map(visible, row))
    if len(every) > MOST_ROWS:
        table.caption = f"and {len(every) - MOST_ROWS} more pairs of arms in the report"
    console.print(table)
    show_end(console, found, page, place if found.left else "")


def show_end(console: Console, found: Differences | Partly, page: Path, place: str) -> None:
    """What failed, and where to go on; `place`: what is to be judged, empty for nothing."""
    for arm, why in found.failed:
        console.print(f"failed     {arm}: {why}", soft_wrap=True)
    console.print(f"report     {page}", soft_wrap=True)
    if place:
        console.print(f"judge      rerankbench-judge {place}", soft_wrap=True)
