"""A report without judgements, or with few, as the sweep's own run in MLflow."""

from __future__ import annotations

from pathlib import Path

from rerankbench.basics.visible import visible
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.judging.reports.differences import Differences
from rerankbench.judging.reports.partly import Partly
from rerankbench.report.tracked import log_report


def log(tracking: MLflow, found: Differences | Partly, folder: Path, sweep_id: str, config: str = "") -> str:
    """Log what is in the report's folder, as `log_report` does; returns the run's id."""
    return log_report(tracking, told(found), figures(found), folder, sweep_id, config)


def told(found: Differences | Partly) -> dict[str, str]:
    """What to do next as tags, and the leader where judgements settle it."""
    verdict = found.document()["verdict"]
    tags = {"verdict": verdict["sentence"], "verdict_kind": verdict["kind"]}
    if verdict["arm"]:
        tags["recommended_arm"] = verdict["arm"]
    return {name: visible(text) for name, text in tags.items()}


def figures(found: Differences | Partly) -> dict[str, float]:
    """How much is left to judge, and how much the two arms share that differ most."""
    if isinstance(found, Partly):
        return {"pairs_judged": float(found.settled.judged), "pairs_to_judge": float(found.settled.left)}
    overlaps = [each.overlap.mean for each in found.overlaps]
    least = {"least_overlap": min(overlaps)} if overlaps else {}
    return {"pairs_to_judge": float(found.left), **least}
