"""Scores of a `Scorer`: pairs handed over as texts, and kept under them as those of every reranker."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.rerankers import scoring
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring import PairWork, Scored, read_cost, refuse_lost, write_cost
from rerankbench.store.lock import SUFFIX, hold
from rerankbench.store.rows import RowStore

if TYPE_CHECKING:
    from rerankbench.engine.executors.executor import Executor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextWork(PairWork):
    """Pairs for a scorer, which is always in this process; it is loaded when a score is missing."""

    @cached_property
    def loaded(self) -> tuple[Scorer, float]:
        """The scorer and the seconds that loading it took."""
        started = time.perf_counter()
        scorer = cast(Scorer, self.reranker.load(self.origin, self.context.hardware))
        return scorer, time.perf_counter() - started

    @property
    def model(self) -> Scorer:
        return self.loaded[0]

    def texts(self, numbers: NDArray[np.int64]) -> tuple[list[str], list[str]]:
        """The queries and the documents of some pairs."""
        queries = [self.collection.query_texts[row] for row in self.pairs.queries[numbers].tolist()]
        return queries, list(self.collection.corpus.texts(self.pairs.documents[numbers]))

    def run(
        self,
        todo: NDArray[np.int64],
        keep: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
        store: RowStore | None = None,
    ) -> dict[str, float]:
        """Score the pairs `todo` and hand their scores to `keep`. Returns the cost.

        store: where the scores of pairs that are the same to the reranker are kept, if it knows of such.
        """
        return run(self, todo, keep)

    def close(self) -> None:
        """Let go of a scorer that was loaded."""
        if "loaded" in vars(self):
            scorer = self.model
            del vars(self)["loaded"]  # whatever closing it raises, it is closed once
            scorer.close()


@contextmanager
def released(work: object) -> Iterator[None]:
    """Let go, at the end, of a scorer that `work` loads inside: after a failure as after success."""
    try:
        yield
    finally:
        if isinstance(work, TextWork):
            work.close()


def score(work: PairWork, executor: Executor) -> Scored:
    """All scores of `work`, by whatever scores it, computing what the store lacks."""
    return (
        score_texts(work) if isinstance(work, TextWork) else scoring.score(cast(scoring.Work, work), executor)
    )


def score_texts(work: TextWork) -> Scored:
    """All scores of `work`, computing what the store lacks; a second process with the same pairs waits."""
    if not work.reranker.keeps:
        return Scored(*score_unkept(work))
    if not work.context.reuse:
        return score_again(work)
    todo = work.missing()
    if len(todo):
        work.store.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(work.pairs.keys.tobytes()).hexdigest()[:16]
        with hold(work.store.folder / f"{name}{SUFFIX}", "scoring"):
            todo = work.missing()
            if len(todo):
                write_cost(work, compute(work, todo, work.store))
    values, found = work.store.lookup(work.pairs.keys, work.layers)
    refuse_lost(work.store, found)
    return Scored(values, len(todo), read_cost(work))


def score_unkept(work: TextWork) -> tuple[NDArray[np.float32], int, dict[str, float]]:
    """Scores of a reranker that nothing identifies: used now, and kept nowhere."""
    values = np.empty((len(work.pairs), len(work.layers)), np.float32)

    def keep(numbers: NDArray[np.int64], some: NDArray[np.float32]) -> None:
        values[numbers] = some

    return values, len(values), work.run(np.arange(len(values)), keep)


def score_again(work: TextWork) -> Scored:
    """Compute every score anew, say where stored ones differ, and store what was not there yet."""
    stored, found = work.store.lookup(work.pairs.keys, work.layers)
    fresh = RowStore(work.store.folder / f"again-{uuid.uuid4().hex}", {})
    everything = np.arange(len(work.pairs))
    try:
        write_cost(work, compute(work, everything, fresh))
        values, _ = fresh.lookup(work.pairs.keys, work.layers)
        if not found.all():
            work.store.append(work.pairs.keys[~found], values[~found], work.layers)
    finally:
        shutil.rmtree(fresh.folder, ignore_errors=True)
    scoring.report_differences(work, values, stored, found)
    return Scored(values, len(everything), read_cost(work))


def compute(work: TextWork, todo: NDArray[np.int64], store: RowStore) -> dict[str, float]:
    """Score the pairs `todo` into `store` as the work goes. Returns the cost."""
    from rerankbench.engine.loop import Buffer

    buffer = Buffer(store, work.pairs.keys, work.layers)
    try:
        return work.run(todo, buffer.add, store)
    finally:  # also after Ctrl-C, or where a server gives up: what was scored is kept
        buffer.flush()


def run(
    work: TextWork, todo: NDArray[np.int64], keep: Callable[[NDArray[np.int64], NDArray[np.float32]], None]
) -> dict[str, float]:
    """Hand the pairs `todo` over in batches, in their order, and their scores to `keep`. Returns the cost."""
    scorer, load_seconds = work.loaded
    started = time.perf_counter()
    with Progress("scoring", len(todo), "pairs") as progress:
        for stretch in scorer.stretches(work.pairs.queries[todo]):
            some = todo[stretch]
            for places, values in checked_parts(scorer, *work.texts(some), work.origin.label):
                keep(some[places], values)
                progress.advance(len(places))
    seconds = time.perf_counter() - started
    rate = {"pairs_per_second": len(todo) / seconds if len(todo) else 0.0}
    return {**rate, "pairs": len(todo), "seconds": seconds, "load_seconds": load_seconds}


def checked(
    scorer: Scorer, queries: Sequence[str], documents: Sequence[str], label: str
) -> NDArray[np.float32]:
    """Scores [pairs, layers] of one batch. Raises UserError for an answer that is not one number a pair."""
    found = np.empty((len(documents), len(scorer.layers)), np.float32)
    if len(documents):
        for places, values in checked_parts(scorer, queries, documents, label):
            found[places] = values
    return found


def checked_parts(
    scorer: Scorer, queries: Sequence[str], documents: Sequence[str], label: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Scores of one batch as they come, with their places in it. Raises as `checked`, also for lost ones."""
    given = np.zeros(len(documents), bool)
    for places, answer in scorer.parts(queries, documents):
        yield (
            places,
            numbers(answer, [queries[place] for place in places.tolist()], len(scorer.layers), label),
        )
        given[places] = True
    if not given.all():
        raise UserError(f"{label}: gave no score for {(~given).sum()} of {len(given)} pairs")


def numbers(answer: object, queries: Sequence[str], layers: int, label: str) -> NDArray[np.float32]:
    """An answer as scores [queries, layers]. Raises UserError for whatever else it is."""
    wanted = (len(queries), layers)
    try:
        values = np.asarray(answer, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{label}: its scores are not numbers ({error}); none of this batch is kept"
        ) from None
    if values.shape != wanted:
        raise UserError(
            f"{label}: gave scores {list(values.shape)} for {wanted[0]} pairs at {wanted[1]} "
            f"layer{'s'[: wanted[1] > 1]}; a scorer gives [pairs, layers], here {list(wanted)}"
        )
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UserError(
            f"{label}: gave {values[place].tolist()} for a pair (query {queries[place]!r:.60}); "
            "a score is a finite number"
        )
    return values


def score_directly(
    scorer: Scorer, query: str, documents: Sequence[str], label: str = "reranker"
) -> NDArray[np.float32]:
    """Scores [documents, layers] of one query's documents, as a service computes them; nothing is stored."""
    parts = [documents[start : start + scorer.batch] for start in range(0, len(documents), scorer.batch)]
    found = [checked(scorer, [query] * len(part), part, label) for part in parts]
    return np.concatenate([np.empty((0, len(scorer.layers)), np.float32), *found])


def pilot_rate(work: TextWork, todo: NDArray[np.int64], most_seconds: float) -> float:
    """Pairs per second of some of the pairs `todo`; their scores are not kept."""
    scorer = work.model
    warm = todo[: min(len(todo) // 2, scorer.batch)]
    if len(warm):
        checked(scorer, *work.texts(warm), work.origin.label)
    started, done = time.perf_counter(), 0
    for start in range(len(warm), len(todo), scorer.batch):
        some = todo[start : start + scorer.batch]
        checked(scorer, *work.texts(some), work.origin.label)
        done += len(some)
        if time.perf_counter() - started > most_seconds:
            break
    return done / (time.perf_counter() - started)
