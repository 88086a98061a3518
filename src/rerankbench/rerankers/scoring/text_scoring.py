"""Scores of a `Scorer`: pairs handed over as texts, and kept under them as those of every reranker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.engine.store.rows import RowStore
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring import pair_scoring as scoring
from rerankbench.rerankers.scoring.pair_scoring import ComputedWork, Scored, write_cost

if TYPE_CHECKING:
    from rerankbench.engine.executors.executor import Executor


@dataclass(frozen=True)
class TextWork(ComputedWork):
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

    def texts(self, numbers: Ints) -> tuple[list[str], list[str]]:
        """The queries and the documents of some pairs."""
        queries = [self.collection.query_texts[row] for row in self.pairs.queries[numbers].tolist()]
        return queries, list(self.collection.corpus.texts(self.pairs.documents[numbers]))

    def cost_file(self, executor: Executor | None = None) -> Path:
        return super().cost_file()  # whatever computes for others

    def compute(self, executor: Executor, todo: Ints) -> int:
        self.fill(self.store, todo)
        return len(todo)

    def compute_again(self, executor: Executor, store: RowStore, lacking: Ints) -> tuple[Floats, int]:
        keys = self.pairs.keys
        self.fill(store, np.arange(len(keys)))
        values, _ = store.lookup(keys, self.layers)
        if len(lacking):
            self.store.append(keys[lacking], values[lacking], self.layers)
        return values, len(keys)

    def fill(self, store: RowStore, todo: Ints) -> None:
        """Score the pairs `todo` into `store` as the work goes, and note the cost."""
        from rerankbench.engine.loop import Buffer

        buffer = Buffer(store, self.pairs.keys, self.layers)
        try:
            spent = self.run(todo, buffer.add, store)
        finally:  # also after Ctrl-C, or where a server gives up: what was scored is kept
            buffer.flush()
        write_cost(self, spent)

    def run(
        self, todo: Ints, keep: Callable[[Ints, Floats], None], store: RowStore | None = None
    ) -> dict[str, float]:
        """Score the pairs `todo` in batches, in order, and hand their scores to `keep`. Returns the cost.

        store: where the scores of pairs that are the same to the reranker are kept, if it knows of such.
        """
        scorer, load_seconds = self.loaded
        started = time.perf_counter()
        with Progress("scoring", len(todo), "pairs") as progress:
            for stretch in scorer.stretches(self.pairs.queries[todo]):
                some = todo[stretch]
                for places, values in checked_parts(scorer, *self.texts(some), self.origin.label):
                    keep(some[places], values)
                    progress.advance(len(places))
        return cost(len(todo), time.perf_counter() - started, load_seconds)

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


def cost(pairs: int, seconds: float, load_seconds: float) -> dict[str, float]:
    """With the keys of `Meter.cost`, as far as texts have them."""
    rate = pairs / seconds if pairs else 0.0
    return {"pairs_per_second": rate, "pairs": pairs, "seconds": seconds, "load_seconds": load_seconds}


def score(work: ComputedWork, executor: Executor) -> Scored:
    """All scores of `work`, by whatever scores it, computing what the store lacks."""
    unkept = isinstance(work, TextWork) and not work.reranker.keeps
    return score_unkept(cast(TextWork, work)) if unkept else scoring.score(work, executor)


def score_unkept(work: TextWork) -> Scored:
    """Scores of a reranker that nothing identifies: used now, and kept nowhere."""
    values = np.empty((len(work.pairs), len(work.layers)), np.float32)

    def keep(numbers: Ints, some: Floats) -> None:
        values[numbers] = some

    return Scored(values, len(values), work.run(np.arange(len(values)), keep))


def checked(scorer: Scorer, queries: Sequence[str], documents: Sequence[str], label: str) -> Floats:
    """Scores [pairs, layers] of one batch. Raises UserError for an answer that is not one number a pair."""
    found = np.empty((len(documents), len(scorer.layers)), np.float32)
    if len(documents):
        for places, values in checked_parts(scorer, queries, documents, label):
            found[places] = values
    return found


def checked_parts(
    scorer: Scorer, queries: Sequence[str], documents: Sequence[str], label: str
) -> Iterator[tuple[Ints, Floats]]:
    """Scores of one batch as they come, with their places in it. Raises as `checked`, also for lost ones."""
    given = np.zeros(len(documents), bool)
    for places, answer in scorer.parts(queries, documents):
        asked = [queries[place] for place in places.tolist()]
        yield places, numbers(answer, asked, len(scorer.layers), label)
        given[places] = True
    if not given.all():
        raise UserError(f"{label}: gave no score for {(~given).sum()} of {len(given)} pairs")


def numbers(answer: object, queries: Sequence[str], layers: int, label: str) -> Floats:
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
    scorer: Scorer, queries: Sequence[str], documents: Sequence[str], label: str = "reranker"
) -> Floats:
    """Scores [pairs, layers], in batches, as a service computes them; nothing is stored."""
    parts = [slice(start, start + scorer.batch) for start in range(0, len(documents), scorer.batch)]
    found = [checked(scorer, queries[part], documents[part], label) for part in parts]
    return np.concatenate([np.empty((0, len(scorer.layers)), np.float32), *found])


def pilot_rate(work: TextWork, todo: Ints, most_seconds: float) -> float:
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
