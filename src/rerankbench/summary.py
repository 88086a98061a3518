"""What a person sees at the end of a run."""

from __future__ import annotations

import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rerankbench.errors import UserError
from rerankbench.measures import display_name
from rerankbench.result import Result
from rerankbench.tracking import Tracking

STAGES = ("first_stage", "reranked", "oracle")


def show(result: Result, folder: Path, tracking: Tracking) -> None:
    """The closing table, what it cost, and where everything is."""
    console = Console(highlight=False)
    console.print()
    console.print(measure_table(result))
    for line in [*cost_lines(result), *place_lines(result, folder, tracking)]:
        console.print(line, markup=False, soft_wrap=True)


def measure_table(result: Result) -> Table:
    """measure | first stage | reranked | best possible, with the change and the share of headroom."""
    data = result.dataset
    reduced = " (reduced: a quick look, not a result)" if result.reduced else ""
    title = f"{data['name']}{reduced}: {data['docs']:,} documents, {data['queries']:,} judged queries; {result.arm}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("measure")
    for heading in ("first stage", "reranked", "change", "best possible"):
        table.add_column(heading, justify="right")
    for name in result.measures["first_stage"]:
        before, after, best = (result.measures[stage].get(name) for stage in STAGES)
        table.add_row(display_name(name), number(before), number(after), change(before, after), number(best))
    return table


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{after - before:+.4f}"


def cost_lines(result: Result) -> list[str]:
    """Pairs, speed, latency, memory, each where there is something to say."""
    lines = []
    pairs, speed = result.pairs, result.throughput
    if pairs["total"]:
        rate = f", {speed['pairs_per_second']:,.1f} pairs/s" if speed and pairs["scored"] else ""
        lines.append(f"pairs      {pairs['scored']:,} scored, {pairs['reused']:,} reused{rate}")
    for depth, row in (result.latency_ms or {}).items():
        lines.append(f"latency    depth {depth}: p50 {row['p50']:.1f} ms, p95 {row['p95']:.1f} ms of reranking")
    lines.append(f"precision  {result.environment['precision']} on {result.environment['device_name']}")
    if result.notes:
        lines.append(f"notes      {len(result.notes)}: {result.notes[0]}")
    return lines


def place_lines(result: Result, folder: Path, tracking: Tracking) -> list[str]:
    lines = [f"files      {folder}"]
    if result.mlflow_run_id:
        lines.append(f"mlflow     {tracking.place()}")
    return lines


def complain(result: Result, error: Exception) -> None:
    """One line for a user's mistake, the trace for ours."""
    console = Console(stderr=True, highlight=False)
    if isinstance(error, UserError):
        for problem in error.problems:
            console.print(f"error: {result.arm}: {problem}", markup=False, soft_wrap=True)
    else:
        console.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
