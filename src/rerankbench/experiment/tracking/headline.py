"""The view that MLflow's pages open with: the runs of experiments, and the charts that decide.

A view that people share is a tag of the experiment in MLflow; the link names it. Nothing is hidden for good:
the search above the charts holds the names of the charts that are shown, and clearing it shows all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

VIEW = "rerankbench"
TAG = f"mlflow.sharedViewState.{VIEW}"
EXPERIMENTS = "params.reranker != ''"  # summary runs have no such setting
LOOKED_AT = 200  # runs whose metrics are looked through
COSTS = (
    "latency/p50_ms",
    "latency/p95_ms",
    "throughput/pairs_per_second",
    "memory/peak_cuda_mb",
    "memory/peak_rss_mb",
)


def prepare(client: Any, experiment_id: str) -> None:
    """Make or renew the view. Needs a store that takes tags; a failure is MLflow's exception."""
    runs = client.search_runs([experiment_id], EXPERIMENTS, max_results=LOOKED_AT)
    names = {name for run in runs for name in run.data.metrics}
    client.set_experiment_tag(experiment_id, TAG, json.dumps(state(names)))


def state(names: Collection[str]) -> dict[str, Any]:
    """MLflow's own description of a view, with a search that finds the headline charts only."""
    found = "|".join(re.escape(name) for name in charts(names))
    return {
        "searchFilter": EXPERIMENTS,
        "compareRunsMode": "CHART",
        "chartsSearchFilter": f"^({found})$" if found else "",
        "runsHiddenMode": "FIRST_20_RUNS",
    }


def charts(names: Collection[str]) -> list[str]:
    """The measure that decides, over depths too, and what it costs: time, or work, and memory."""
    cutoffs = [int(m[1]) for name in names if (m := re.fullmatch(r"ndcg_at_(\d+)", name))]
    measure = f"ndcg_at_{max((k for k in cutoffs if k <= 10), default=min(cutoffs))}" if cutoffs else ""
    wanted = [measure, f"depth/{measure}", *COSTS]
    return [name for name in wanted if name in names]
