"""A report in the tracking store: its summary run, with the arm that it recommends as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.report import tracked
from rerankbench.tracking.mlflow_store import MLflow

if TYPE_CHECKING:
    from rerankbench.report.findings import Findings


def log(tracking: MLflow, findings: Findings, folder: Path, sweep_id: str, config: str = "") -> str:
    """Log both; returns why there is no model, empty where there is one. `config`: the sweep's, as YAML."""
    from rerankbench.serving import mlflow_package

    run_id = tracked.log(tracking, findings, folder, sweep_id, config)
    return mlflow_package.log(tracking, run_id, folder, findings.settings.register)
