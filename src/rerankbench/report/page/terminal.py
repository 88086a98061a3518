"""What a person sees at the end of a sweep: the verdict, the top of the table, where the page is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rerankbench.basics.visible import Console, visible
from rerankbench.report.arrangements.words import Teller
from rerankbench.report.costs import race_notes
from rerankbench.report.findings import Findings
from rerankbench.report.page import table
from rerankbench.report.wording import counted

ROWS = 8
STEPS = 6  # of the staircase of budgets
WIDTH = 80  # what a terminal has at least
NARROWEST = 40
NAMES = 24  # characters of the longest name that stay on one line where there is little room
FRAME = 3  # a column's borders and padding
LEAST = ("p", "price/1k", "as good")  # columns that go first


def show(findings: Findings, page: Path, tracked: str = "") -> None:
    console = Console()
    console.print()
    for text, indent, style in texts(findings):
        console.print(wrapped(text, console.width, indent), style=style, soft_wrap=True)
    console.print(arm_table(findings, console.width))
    if findings.book.race is not None:
        for line in race_notes.missing_lines(findings.contest.arms, findings.costs, findings.book):
            console.print(line, soft_wrap=True, style="dim")
    for run in findings.contest.failed:
        console.print(f"failed     {run.arm}: {run.result.get('error')}", soft_wrap=True)
    console.print(f"report     {page}", soft_wrap=True)
    if tracked:
        console.print(f"mlflow     {tracked}", soft_wrap=True)


def texts(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """The verdict and what stands under it: each text, its indent and its style."""
    yield findings.verdict.sentence, "", "bold"
    if findings.decision:
        yield findings.decision.sentence, "", ""
    for reason in findings.verdict.reasons:
        yield reason, "  ", ""
    if findings.arranged:
        steps = Teller(findings.arranged, findings.settings.delta).staircase()
        yield from ((f"{step.budget}: {step.advice}", "  ", "") for step in steps[:STEPS])
        if len(steps) > STEPS:
            yield f"and {counted(len(steps) - STEPS, 'more step')} in the report", "  ", ""
    if findings.trial:
        yield findings.trial.line(), "  ", ""
    if findings.leaning:
        yield findings.leaning.line(), "", ""
    yield findings.subtitle(), "", "dim"


def wrapped(text: str, width: int, indent: str) -> Text:
    """A text broken between words, unless it holds a command to copy; paths stay whole, too."""
    if "rerankbench" in text:
        return Text(indent + visible(text), overflow="ignore")
    lines = textwrap.wrap(
        visible(text),
        max(width, NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return Text("\n".join(lines), overflow="ignore")


def arm_table(findings: Findings, width: int = WIDTH) -> Table:
    """The best arms, and the recommended one and the first stage wherever they came.

    Figures are never cut: where they do not fit beside the names, the columns that decide least go.
    """
    ranked, rows = findings.ranked(), shown_rows(findings)
    names = [visible(findings.contest.arms[i].name) for i in rows]
    columns = fitting(findings, rows, names, width)
    shown = Table()
    shown.add_column("arm", overflow="fold")
    for column, _ in columns:
        shown.add_column(column.heading, justify="right", no_wrap=True)
    for place, i in enumerate(rows):
        style = "bold" if i == findings.verdict.arm else None
        shown.add_row(names[place], *(cells[place] for _, cells in columns), style=style)
    if len(ranked) > len(rows):
        shown.caption = f"and {counted(len(ranked) - len(rows), 'more arm')} in the report"
    return shown


def shown_rows(findings: Findings) -> list[int]:
    ranked = findings.ranked()
    first = [i for i in ranked if i == findings.verdict.arm or not findings.contest.arms[i].reranks]
    keep = {*ranked[:ROWS], *first}
    return [i for i in ranked if i in keep]


def fitting(
    findings: Findings, rows: Sequence[int], names: Sequence[str], width: int
) -> list[tuple[table.Column, list[str]]]:
    """Columns with their cells that fit beside the names, which may be folded."""
    short = [column for column in table.columns(findings) if column.short]
    found = [(column, [short_cell(column.text(findings, i)) for i in rows]) for column in short]
    room = min(NAMES, max(map(len, names), default=0))
    for least in LEAST:
        if room + FRAME + sum(taken(column, cells) + FRAME for column, cells in found) + 1 > width:
            found = [each for each in found if each[0].heading != least]
    return found


def taken(column: table.Column, cells: Sequence[str]) -> int:
    return max(len(column.heading), *map(len, cells))


def short_cell(text: str) -> str:
    """A figure without its interval, and "excluded" without the reason; the page has both."""
    cell = visible(text.partition(" [")[0])
    return cell.partition(":")[0] if cell.startswith("excluded: ") else cell
