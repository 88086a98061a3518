"""One arm that is served: its steps, and the first stage where the collection is at hand."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError
from rerankbench.engine.models.loading import own_memory
from rerankbench.report.arrangements.course import Asked, Course, Ordered
from rerankbench.report.deployment import Deployment
from rerankbench.report.race.contestant import Searching
from rerankbench.report.race.texts import inside
from rerankbench.serving.models import Models, experiment_of

log = logging.getLogger(__name__)

Answering = Generator[Asked, Floats, Any]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: candidates as the first stage has them, their new order, and milliseconds."""

    ids: Sequence[str]
    texts: Sequence[str]
    first: Floats
    ordered: Ordered
    search_ms: float
    rerank_ms: float


@dataclass(frozen=True, eq=False)
class Arm:
    """A deployment, loaded. `searching` is None where only texts can be reranked, `lacking` says why."""

    deployment: Deployment
    searching: Searching | None
    lacking: str

    @property
    def name(self) -> str:
        return self.deployment.arm

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [
            {"key": step.hash, "layer": step.layer, "depth": step.depth} for step in self.deployment.steps
        ]

    def rerank(self, query: str, documents: Sequence[str]) -> Generator[Asked, Floats, Ordered]:
        """The order of some texts.

        All of them go through the first step, however many they are: its depth is how many candidates were
        measured, and a score depends on its own text alone.
        """
        steps = self.steps
        deepest = max(len(documents), 1)
        for step in steps if self.deployment.fusion else steps[:1]:
            step["depth"] = deepest
        return (yield from Course(self.deployment.how, steps, query, documents).run())

    def search(self, query: str, query_id: str) -> Generator[Asked, Floats, Found]:
        """The whole pipeline over the collection."""
        assert self.searching is not None
        began = time.perf_counter()
        ids, texts, first = self.searching.candidates(query, query_id)
        found = time.perf_counter()
        ordered = yield from Course(self.deployment.how, self.steps, query, texts, first).run()
        ended = time.perf_counter()
        return Found(ids, texts, first, ordered, (found - began) * 1000, (ended - found) * 1000)


def load(deployment: Deployment, models: Models, home: Path, search: bool = True) -> Arm:
    """Everything that an arm needs. `home`: from where relative paths lead if their own folder is gone.
    `search`: whether the collection is wanted, too.

    Raises UserError where a model is another one than was measured, or nothing could be answered. Where it is
    the collection, texts are still reranked.
    """
    folder = Path(deployment.folder)
    with inside(folder if folder.is_dir() else home), own_memory():
        for step in deployment.steps:
            models.load(deployment, step)
        searching, lacking = searching_of(deployment) if search else (None, "it was not asked for")
    if searching is None and (not deployment.steps or deployment.needs_first_stage):
        raise UserError(f"{deployment.arm}: needs its first stage, and cannot search: {lacking}")
    if searching is None and search:
        log.warning("%s: only texts are reranked, there is no search: %s", deployment.arm, lacking)
    return Arm(deployment, searching, lacking)


def searching_of(deployment: Deployment) -> tuple[Searching | None, str]:
    """The first stage, or why it cannot search."""
    try:
        return Searching(experiment_of(deployment), deployment.first_stage.hash), ""
    except UserError as error:
        return None, "; ".join(error.problems)
