"""What a person sees at the end of a sweep: the verdict, the top of the table, where the page is."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from rerankbench.basics.visible import Console, visible
from rerankbench.report import race_notes, table
from rerankbench.report.arrangements.words import Teller
from rerankbench.report.findings import Findings
from rerankbench.report.heading import counted, subtitle

ROWS = 8
STEPS = 6  # of the staircase of budgets


def show(findings: Findings, page: Path, tracked: str = "") -> None:
    console = Console()
    console.print()
    console.print(findings.verdict.sentence, soft_wrap=True, style="bold")
    if findings.decision:
        console.print(findings.decision.sentence, soft_wrap=True)
    for reason in findings.verdict.reasons:
        console.print(f"  {reason}", soft_wrap=True)
    if findings.arranged:
        for bound, advice in Teller(findings.arranged, findings.settings.delta).staircase()[:STEPS]:
            console.print(f"  up to {bound}: {advice}", soft_wrap=True)
    if findings.trial:
        console.print(f"  {findings.trial.line()}", soft_wrap=True)
    console.print(subtitle(findings), soft_wrap=True, style="dim")
    console.print(arm_table(findings))
    if findings.book.race is not None:
        for line in race_notes.missing_lines(findings.contest.arms, findings.costs, findings.book):
            console.print(line, soft_wrap=True, style="dim")
    for run in findings.contest.failed:
        console.print(f"failed     {run.arm}: {run.result.get('error')}", soft_wrap=True)
    console.print(f"report     {page}", soft_wrap=True)
    if tracked:
        console.print(f"mlflow     {tracked}", soft_wrap=True)


def arm_table(findings: Findings) -> Table:
    """The best arms, and the recommended one and the first stage wherever they came."""
    columns = [column for column in table.columns(findings) if column.short]
    shown = Table()
    shown.add_column("arm", no_wrap=True)
    for column in columns:
        shown.add_column(column.heading, justify="right")
    ranked = findings.ranked()
    keep = {
        *ranked[:ROWS],
        *(i for i in ranked if i == findings.verdict.arm or not findings.contest.arms[i].reranks),
    }
    for i in (i for i in ranked if i in keep):
        style = "bold" if i == findings.verdict.arm else None
        cells = [
            findings.contest.arms[i].name,
            *(column.text(findings, i).partition(" [")[0] for column in columns),
        ]
        shown.add_row(*map(visible, cells), style=style)
    if len(ranked) > len(keep):
        shown.caption = f"and {counted(len(ranked) - len(keep), 'more arm')} in the report"
    return shown
