"""What MLflow's own pages show of a run beside its figures: who made it, with what, and what it is."""

from __future__ import annotations

import getpass
from importlib import metadata
from typing import TYPE_CHECKING

from rerankbench.basics.visible import visible
from rerankbench.evaluation.measures import display_name

if TYPE_CHECKING:
    from rerankbench.experiment.tracking.result import Result

KIND, RUN, REPORT = "kind", "run", "report"  # which runs are experiments, and which sum up a sweep
NOTE = "mlflow.note.content"
PLAIN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;"})
LONGEST_NOTE = 7_900  # MLflow refuses tags of more than 8,000 characters
SHOWN = ("ndcg", "recall", "mrr")  # success and judged are in the files


def origin() -> dict[str, str]:
    """The columns Source and User."""
    return {
        "mlflow.user": visible(user()),
        "mlflow.source.name": f"rerankbench {metadata.version('rerankbench')}",
        "mlflow.source.type": "LOCAL",
    }


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def description(result: Result) -> str:
    """What a run found, as Markdown: its arm, its collection, and the measures before and after."""
    lines = [f"**{plain(result.arm)}** on {plain(result.dataset.get('name', 'an unknown collection'))}"]
    if result.status == "failed":
        return f"{lines[0]} failed: {plain(str(result.error))}"[:LONGEST_NOTE]
    before, after = (result.measures.get(stage, {}) for stage in ("first_stage", "reranked"))
    names = [name for name in before if name.startswith(SHOWN)]
    if names:
        lines += ["", "| measure | first stage | reranked |", "|---|---:|---:|"]
        lines += [f"| {display_name(n)} | {before[n]:.4f} | {cell(after.get(n))} |" for n in names]
    if result.reduced:
        lines += ["", "The collection was reduced: a quick look, not a result."]
    return "\n".join(lines)[:LONGEST_NOTE]


def cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def plain(text: object) -> str:
    """Text in which Markdown finds no markup of its own."""
    return visible(text).translate(PLAIN)
