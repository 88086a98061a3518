"""What a sweep without judgements, or with few, has to tell whatever is known of its arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rerankbench.report.arms.runs import Run


class Table(NamedTuple):
    """A table under a heading; `id` names it in the page."""

    title: str
    id: str
    headings: Sequence[str]
    rows: list[list[str]]


def shared(runs: Sequence[Run]) -> dict[str, Any]:
    """What follows from the runs alone: their collection and its notes, and which arms failed, with why."""
    first = next(run for run in runs if not run.failed)
    return {
        "dataset": first.dataset,
        "notes": tuple(map(str, first.result.get("notes", []))),
        "failed": tuple((run.arm, str(run.result.get("error"))) for run in runs if run.failed),
    }
