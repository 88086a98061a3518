"""The main path: collection, candidates, pair scores, orders, measures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.engine import hardware
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.executors.executor import Executor
from rerankbench.engine.models import computed_by
from rerankbench.engine.store.rows import identity
from rerankbench.evaluation import ranking
from rerankbench.evaluation.evaluation import Evaluation, evaluate
from rerankbench.experiment import latency
from rerankbench.experiment.settings import Experiment
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers.function import Function
from rerankbench.rerankers.listed import Listed, ListWork, reordered
from rerankbench.rerankers.reranker import LocalReranker, Reranker
from rerankbench.rerankers.scoring.pair_scoring import Scored, Work, distinct_pairs, score_store
from rerankbench.rerankers.scoring.text_scoring import TextWork, released, score
from rerankbench.rerankers.scoring.vector_scoring import VectorWork
from rerankbench.rerankers.vector_reranker import VectorReranker

log = logging.getLogger(__name__)

CURVE = (1, 3, 5, 10, 20, 50, 100)  # where curves over k are drawn, besides the asked cutoffs


@dataclass
class Clock:
    """Seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Outcome:
    """Everything that one experiment found.

    `candidates` [queries, candidates] with their identity; `work`, `scored` and `scores` [queries, depth,
    layers] are None where nothing reranks; `latency` is None unless it was asked for.
    """

    experiment: Experiment
    context: SearchContext
    collection: Collection
    candidates: Candidates
    candidates_identity: str
    work: Work | TextWork | ListWork | None
    scored: Scored | None
    scores: NDArray[np.float32] | None
    evaluation: Evaluation
    latency: latency.Latency | None
    seconds: dict[str, float]

    @property
    def layer(self) -> int | None:
        """The layer that stands for the arm where one number is wanted: the last that was asked for."""
        return self.work.layers[-1] if self.work else None


def run(experiment: Experiment) -> Outcome:
    """Run one experiment; what is stored is read, the rest is computed and stored."""
    from rerankbench.experiment.estimate import announce

    clock, context = Clock(), make_context(experiment)
    with clock("collection"):
        collection = load(experiment)
    with clock("models"):
        ready_models(experiment, context)
    with clock("first_stage"):
        candidates, found_by = retrieve(experiment, collection, context)
        experiment = within(experiment, candidates)
    with clock("scoring"):
        work = plan(experiment, collection, candidates.rows, context)
    with released(work):
        with clock("scoring"):
            if isinstance(work, ListWork):
                experiment = replace(experiment, depth=work.found.depth)
            elif work:
                announce(work)
            scored, scores = scores_of(work, experiment.executor)
        with clock("measures"):
            evaluation = measure(experiment, collection, candidates, scores, work.layers if work else ())
        with clock("latency"):
            timing = time_queries(experiment, collection, candidates, work, context)
    return Outcome(
        experiment,
        context,
        collection,
        candidates,
        found_by,
        work,
        scored,
        scores,
        evaluation,
        timing,
        clock.seconds,
    )


def make_context(experiment: Experiment) -> SearchContext:
    """The machine and what all stages share."""
    e = experiment
    if e.threads:
        hardware.use_threads(e.threads)
    warn_of_code(e)
    machine = hardware.choose(e.device, e.precision)
    hardware.reset_peak_memory(machine)
    return SearchContext(
        machine,
        e.cache_dir,
        batch_size=e.batch_size,
        batch_tokens=e.batch_tokens,
        seed=e.seed,
        reuse=e.reuse,
        executor=e.executor,
        embedder=e.embedder,
        index=e.index,
    )


def reranks(experiment: Experiment) -> bool:
    return experiment.reranker.family != "none" and experiment.depth > 0


def ready_models(experiment: Experiment, context: SearchContext) -> None:
    """Have the models at hand, and know that they can be used, before hours of embedding.

    Raises UserError naming all that cannot be had or used.
    """
    used: list[Embedder | Reranker] = [experiment.embedder] if experiment.first_stage.embeds() else []
    used += [experiment.reranker] if reranks(experiment) else []
    problems: list[str] = []
    for settings in used:
        try:
            ready(settings, context)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)


def ready(settings: Embedder | Reranker, context: SearchContext) -> None:
    """Raise UserError unless the model can be used; one whose values are stored needs no rehearsal."""
    if isinstance(settings, Embedder):
        embedder, weights = settings.resolved(context.cache_dir)
        for note in embedder.notes(weights.folder):
            log.warning("%s", note)
        parts = embedder.identity(weights, context.hardware.precision)
        parts |= computed_by.operators(weights.folder, context.hardware)
        if not computed_by.stored(context.cache_dir / "vectors" / identity(parts)):
            embedder.rehearse(weights, context.hardware)
        return
    reranker, origin = settings.resolved(context.cache_dir)
    if not computed_by.stored(score_store(reranker, origin, context).folder):
        reranker.rehearse(origin, context.hardware)


def warn_of_code(experiment: Experiment) -> None:
    """Say so where a model's own Python files, or a function, may be run."""
    reranker = experiment.reranker
    if isinstance(reranker, Function):
        unkept = "" if reranker.keeps else "; without reranker.name and reranker.version no score is kept"
        run = "is imported and run with all your rights"
        log.warning("reranker.allow_code=true: %s %s%s", reranker.function, run, unkept)
    for name, settings in (("embedder", experiment.embedder), ("reranker", reranker)):
        if getattr(settings, "trust_remote_code", False):
            files = f"Python files that come with {getattr(settings, 'model', '')}"
            only = "are run with all your rights; only for models whose code you have read"
            log.warning("%s.trust_remote_code=true: %s %s", name, files, only)


def load(experiment: Experiment) -> Collection:
    collection = experiment.dataset.load(experiment.cache_dir)
    for note in collection.notes:
        log.warning("%s: %s", collection.name, note)
    return collection


def retrieve(
    experiment: Experiment, collection: Collection, context: SearchContext
) -> tuple[Candidates, str]:
    """Candidates [queries, candidates] and their identity."""
    candidates, found_by = experiment.first_stage.retrieve(collection, experiment.candidates, context)
    for note in candidates.notes:
        log.warning("candidates: %s", note)
    return candidates, found_by


def within(experiment: Experiment, candidates: Candidates) -> Experiment:
    """The experiment no deeper than the longest list of candidates: what lies beyond costs nothing."""
    longest = int(candidates.lengths().max(initial=0))
    if not 0 < longest < experiment.depth:
        return experiment
    if reranks(experiment):
        log.warning("depth=%d: no query has more than %d candidates", experiment.depth, longest)
    return replace(experiment, depth=longest)


def plan(
    experiment: Experiment, collection: Collection, rows: NDArray[np.int64], context: SearchContext
) -> Work | TextWork | ListWork | None:
    """The pairs to score: candidates [queries, candidates] down to `depth`; None where nothing reranks."""
    reranker = experiment.reranker
    if not reranks(experiment):
        return None
    if isinstance(reranker, Listed):
        return plan_list(reranker, experiment, collection, rows, context)
    reranker, origin = reranker.resolved(experiment.cache_dir)
    pairs = distinct_pairs(collection, rows[:, : experiment.depth])
    of: Any = kind_of_work(reranker)
    layers, store = reranker.layers(origin), score_store(reranker, origin, context)
    return of(reranker, origin, layers, context, collection, pairs, store)


def kind_of_work(reranker: Reranker) -> type[Work | TextWork]:
    """What scores pairs for a reranker: by tokens, by vectors or by texts."""
    if isinstance(reranker, LocalReranker):
        return Work
    return VectorWork if isinstance(reranker, VectorReranker) else TextWork


def plan_list(
    reranker: Listed,
    experiment: Experiment,
    collection: Collection,
    rows: NDArray[np.int64],
    context: SearchContext,
) -> ListWork:
    """The order of the candidates [queries, candidates] in another tool's lists, as deep as they go."""
    lists = reranker.read(collection)
    found = reordered(lists, rows, collection, reranker.file)
    for note in (*lists.notes, *(finding.line() for finding in found.findings)):
        log.warning("%s: %s", reranker.title, note)
    found, origin = found.down_to(experiment.depth), reranker.origin(experiment.cache_dir)
    pairs, store = distinct_pairs(collection, rows[:, : found.depth]), score_store(reranker, origin, context)
    return ListWork(reranker, origin, reranker.layers(origin), context, collection, pairs, store, found)


def scores_of(
    work: Work | TextWork | ListWork | None, executor: Executor
) -> tuple[Scored | None, NDArray[np.float32] | None]:
    """What scoring found, and its scores laid out as the candidates: [queries, depth, layers]."""
    if work is None:
        return None, None
    if isinstance(work, ListWork):
        scores = work.found.scores[:, :, None]
        return Scored(np.empty((0, 1), np.float32), 0, {}), scores
    scored = score(work, executor)
    return scored, work.pairs.spread(scored.values)


def measure(
    experiment: Experiment,
    collection: Collection,
    candidates: Candidates,
    scores: NDArray[np.float32] | None,
    layers: tuple[int, ...],
) -> Evaluation:
    """Every order that the scores hold, measured."""
    curve = {k for k in CURVE if k <= experiment.candidates}
    cutoffs = sorted(set(experiment.cutoffs) | curve)
    depths = ranking.depths_up_to(experiment.depth) if experiment.depth else []
    tutorial = experiment.cutoffs if experiment.measures == "tutorial" else ()
    return evaluate(collection, candidates, scores, layers, depths, cutoffs, tutorial)


def time_queries(
    experiment: Experiment,
    collection: Collection,
    candidates: Candidates,
    work: Work | TextWork | ListWork | None,
    context: SearchContext,
) -> latency.Latency | None:
    """How long single queries take at several depths, where `latency` asks for it."""
    if not experiment.latency or work is None:
        return None
    if isinstance(work, ListWork):
        log.warning("latency=true: what the model behind %s costs is not known here", work.origin.label)
        return None
    if work.reranker.paid:
        log.warning("latency=true: asking %s costs money, so it is not timed", work.origin.label)
        return None
    searcher = experiment.first_stage.searcher(collection, experiment.candidates, context)
    depths = ranking.depths_up_to(experiment.depth)
    return latency.measure(work.model, collection, candidates, depths, searcher, context)
