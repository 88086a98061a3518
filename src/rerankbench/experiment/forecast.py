"""What an experiment would compute, how long it would take and what it would need, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.collection import Collection
from rerankbench.engine import hardware
from rerankbench.engine.loop import Loop, Window
from rerankbench.experiment import estimate
from rerankbench.experiment.arm_name import arm
from rerankbench.experiment.estimate import Step, duration
from rerankbench.experiment.pipeline import load, make_context, plan
from rerankbench.experiment.settings import Experiment
from rerankbench.first_stages.dense import embedding
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers.listed import Listed, ListWork
from rerankbench.rerankers.scoring.pair_scoring import Work
from rerankbench.rerankers.scoring.text_scoring import TextWork, released
from rerankbench.rerankers.scoring.vector_scoring import VectorWork

WORKERS = (1, 8, 64)  # for which a forecast is printed


@dataclass(frozen=True)
class Forecast:
    """The steps of one experiment and the peak memory of its pilots in MB."""

    arm: str
    steps: tuple[Step, ...]
    memory_mb: float
    price_per_hour: float | None = None

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def lines(self) -> list[str]:
        untimed = "" if all(step.timed for step in self.steps) else " and what is not known below"
        head = f"{self.arm}: {duration(self.seconds)}{untimed}, about {self.memory_mb:,.0f} MB of memory"
        return [head, *(f"  {step.line()}" for step in self.steps), *(f"  {line}" for line in self.growth())]

    def growth(self) -> list[str]:
        """What more machines or GPUs would make of it, as a table; empty where there is nothing to do."""
        if not self.seconds or not all(step.timed for step in self.steps):
            return []
        rows = [("workers", "time", "price")]
        rows += [(str(workers), duration(self.seconds / workers), self.price()) for workers in WORKERS]
        kept = [row if self.price_per_hour else row[:2] for row in rows]
        lines = ["".join(f"{cell:>12}" for cell in row) for row in kept]
        worker = "a worker is this machine, or one GPU like its own, as measured by the pilot"
        return [*lines, f"{worker}; that they share the work evenly is assumed, loading models is left out"]

    def price(self) -> str:
        """Every worker is paid while it works, so more of them cost the same."""
        return f"{self.seconds / 3600 * (self.price_per_hour or 0):,.2f}"


def forecast(experiment: Experiment, price_per_hour: float | None = None) -> Forecast:
    """Count what is stored, time a short pilot of what is not."""
    context, collection = make_context(experiment), load(experiment)
    steps = [step for step in (embedding_step(experiment, collection, context),) if step]
    rows, drawn = likely_rows(experiment, collection, context)
    listed = isinstance(experiment.reranker, Listed)  # then there is nothing to score
    work = None if listed else plan(experiment, collection, rows, context)
    if work is not None and not isinstance(work, ListWork):
        with released(work):
            steps += scoring_steps(work, drawn, experiment.first_stage.embeds(), context)
    memory = hardware.peak_memory_mb(context.hardware)
    peak = memory["peak_cuda"] or memory["peak_rss"] or 0.0
    return Forecast(arm(experiment), tuple(steps), peak, price_per_hour)


def scoring_steps(work: Work | TextWork, drawn: bool, embeds: bool, context: SearchContext) -> list[Step]:
    """What the reranker has to do after a first stage that `embeds` the corpus, or not."""
    if isinstance(work, VectorWork):
        same = embeds and work.embedding.folder(work.documents.settings) == corpus_folder(context)
        return estimate.vector_steps(work, drawn, same)
    return [
        estimate.text_step(work, drawn) if isinstance(work, TextWork) else estimate.scoring_step(work, drawn)
    ]


def corpus_folder(context: SearchContext) -> Path:
    """Where the first stage's vectors of documents are."""
    embedder = embedding(context)
    return embedder.folder(embedder.settings)


def likely_rows(
    experiment: Experiment, collection: Collection, context: SearchContext
) -> tuple[NDArray[np.int64], bool]:
    """Candidates [queries, candidates] where they are stored or cheap, else as many rows at random, and True.

    Random rows have about the lengths that candidates will have, and as many pairs.
    """
    stage, depth = experiment.first_stage, experiment.candidates
    stored = stage.stored(collection, depth, context)
    if stored is not None or not stage.embeds():
        return (stored or stage.find(collection, depth, context)).rows, False
    total = len(collection.corpus)
    starts = np.random.default_rng(context.seed).integers(0, total, (len(collection.query_ids), 1))
    return (starts + np.arange(min(depth, total))) % total, True  # neighbours: no document twice for a query


def embedding_step(experiment: Experiment, collection: Collection, context: SearchContext) -> Step | None:
    """What the first stage has to embed, None if it embeds nothing."""
    stage = experiment.first_stage
    if not stage.embeds():
        return None
    total = len(collection.corpus)
    nothing = Step("documents", total, 0, 0.0, 0.0)
    if stage.stored(collection, experiment.candidates, context) is not None:
        return nothing
    embedder = embedding(context)
    missing = embedder.missing(collection.corpus.texts, total) if context.reuse else total
    if not missing:
        return nothing
    rows = estimate.spread(total, estimate.PILOT + estimate.WARM_UP)

    def window(numbers: NDArray[np.int64]) -> Window:
        return embedder.model.read(collection.corpus.texts(rows[numbers]), embedder.settings)

    machine = context.hardware
    loop = Loop(embedder.model.forward, machine, context.budget(), streams=machine.streams)
    rate = estimate.pilot(loop, window, len(rows))
    size = missing * embedder.model.dimensions * 4 / 1e6
    return Step("documents", total, missing, rate, size, "" if context.reuse else estimate.UNUSED)
