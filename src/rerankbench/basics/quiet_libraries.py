"""What the libraries underneath would say, kept quiet."""

from __future__ import annotations

import logging
import os
import warnings

from rerankbench.basics import masking


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries underneath would drown ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    masking.install()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    logging.raiseExceptions = False  # a closed pipe is no reason for traces
    for kind in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=kind)
