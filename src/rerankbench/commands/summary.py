"""What a person sees at the end of a run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.basics.visible import Console, Lines, visible
from rerankbench.evaluation.measures import display_name
from rerankbench.experiment.tracking.mlflow_store import Tracking
from rerankbench.experiment.tracking.mlflow_tags import SHOWN, cell
from rerankbench.experiment.tracking.precision import computed_in
from rerankbench.experiment.tracking.result import Result

STAGES = ("first_stage", "reranked", "oracle")
TUTORIAL = "tutorial_"

log = logging.getLogger(__name__)


def show(result: Result, folder: Path, tracking: Tracking) -> None:
    """The closing table, what it cost, and where everything is."""
    console = Console()
    console.print()
    console.print(heading(result), soft_wrap=True, style="bold")
    if result.dataset["judgements"]:
        console.print(measure_table(result))
    places = [f"files      {folder}", f"log        {folder / 'rerankbench.log'}"]
    places += [f"mlflow     {tracking.place()}"] if result.mlflow_run_id else []
    for line in [*cost_lines(result), *places]:
        console.print(line, soft_wrap=True)


def heading(result: Result) -> str:
    data = result.dataset
    reduced = " (reduced: a quick look, not a result)" if result.reduced else ""
    judged = "judged queries" if data["judgements"] else "queries without judgements"
    judged = f"{'synthetic ' if data.get('synthetic_queries') else ''}{judged}"
    size = f"{data['docs']:,} documents, {data['queries']:,} {judged}"
    return f"{data['name']}{reduced}: {size}; {result.arm}"


def measure_table(result: Result) -> Table:
    """measure | first stage | reranked | change | best possible; the tutorial's measures below.

    Of a run that does not rerank, the first stage alone.
    """
    table = Table()
    table.add_column("measure")
    reranks = bool(result.params.get("depth"))
    for name in ("first stage", "reranked", "change", "best possible") if reranks else ("first stage",):
        table.add_column(name, justify="right")
    names = result.measures["first_stage"]
    add_rows(table, result, [name for name in names if name.startswith(SHOWN)])
    table.add_section()
    add_rows(table, result, [name for name in names if name.startswith(TUTORIAL)])
    return table


def add_rows(table: Table, result: Result, names: Sequence[str]) -> None:
    for name in names:
        before, after, best = (result.measures[stage].get(name) for stage in STAGES)
        change = "" if before is None or after is None else f"{after - before:+.4f}"
        cells = (cell(before), cell(after), change, cell(best))
        table.add_row(visible(display_name(name)), *cells[: len(table.columns) - 1])


def cost_lines(result: Result) -> list[str]:
    """Pairs, speed, latency, memory, each where there is something to say."""
    lines = []
    pairs, speed = result.pairs, result.throughput
    if pairs["total"]:
        rate = f", {speed['pairs_per_second']:,.1f} pairs/s" if speed and pairs["scored"] else ""
        lines.append(f"pairs      {pairs['scored']:,} scored, {pairs['reused']:,} reused{rate}")
    for depth, row in (result.latency_ms or {}).items():
        times = f"p50 {row['p50']:.1f} ms, p95 {row['p95']:.1f} ms of reranking"
        lines.append(f"latency    depth {depth}: {times}")
    if precision := computed_in(vars(result)):
        lines.append(f"precision  {precision} on {result.environment['device_name']}")
    if result.notes:
        more = f" (and {len(result.notes) - 1} more in result.json)" if len(result.notes) > 1 else ""
        lines.append(f"note       {result.notes[0]}{more}")
    return lines


def show_failure(result: Result, error: Exception) -> None:
    """Lines for a user's mistake, the trace for ours. A sweep's end names a mistake once for all runs."""
    if not isinstance(error, UserError):
        log.error("%s failed: %s", result.arm, Lines(masked("".join(traceback.format_exception(error)))))
    elif result.sweep_id:
        log.error("%s failed; the other runs go on, and the reason is shown at the end", result.arm)
    else:
        for problem in error.problems:
            log.error("error: %s: %s", result.arm, masked(problem))
