"""What one experiment is: typed settings of everything that determines its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerankbench.collections.sources.source import Source
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.executors.executor import Executor
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.index import Index
from rerankbench.rerankers.reranker import Reranker


@dataclass(frozen=True)
class Experiment:
    """One experiment, fully described by typed settings.

    `labels`: the option chosen in each group; `overrides`: this job's values that its name tells.
    """

    dataset: Source
    embedder: Embedder
    index: Index
    first_stage: FirstStage
    reranker: Reranker
    executor: Executor
    candidates: int
    depth: int
    cutoffs: tuple[int, ...]
    measures: str
    batch_size: int
    batch_tokens: int | None
    precision: str
    device: str
    threads: int | None
    seed: int
    cache_dir: Path
    reuse: bool
    latency: bool
    dry_run: bool
    labels: Mapping[str, str]
    overrides: tuple[str, ...] = ()
