"""Pair scores: every distinct (query, document) pair is scored once, at every layer, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rerankbench.basics import typed_json
from rerankbench.basics.arrays import Digests, Flags, Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.progress import Progress
from rerankbench.basics.typed_json import Amount, Name
from rerankbench.collections.collection import Collection
from rerankbench.engine import hardware
from rerankbench.engine.executors.job import Job
from rerankbench.engine.models.references import Weights
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.lock import SUFFIX, hold
from rerankbench.engine.store.rows import (
    Keys,
    RowStore,
    identity,
    pair_keys,
    read_array,
    text_digests,
    write_array,
    write_atomic,
)
from rerankbench.engine.tokens import Tokens
from rerankbench.rerankers.reranker import LocalReranker, Origin, PairModel, Reranker
from rerankbench.rerankers.scoring.pair_window import PairWindow
from rerankbench.rerankers.scoring.pair_worker import PairTask, PairWorker
from rerankbench.rerankers.scoring.sequences import SEQUENCE, best, columns, first_of_each, sequences_of

if TYPE_CHECKING:
    from rerankbench.engine.executors.executor import Executor
    from rerankbench.engine.loop import Meter

log = logging.getLogger(__name__)

COST = TypeAdapter(dict[Name, Amount])

WINDOW = 32_768  # pairs at most that are tokenized and sorted together
SMALL_WINDOW = 2048  # and at least, where there are as many: smaller ones would be padded more
WORKERS = 64  # that should find a window each
ENOUGH_PAIRS, ENOUGH_SECONDS = 256, 1.0  # by which a run's throughput means something
CACHED_TOKENS = 64_000_000  # 256 MB of tokenized texts kept for later windows


@dataclass(frozen=True)
class Pairs:
    """The distinct pairs behind candidates: same texts, same pair, whatever their ids.

    `queries` and `documents` [pairs] are rows of the collection, `keys` [pairs] hash the two texts, and
    `place` [queries, depth] says which pair each candidate is (-1: padding).
    """

    queries: Ints
    documents: Ints
    keys: Keys
    place: Ints

    def __len__(self) -> int:
        return len(self.keys)

    def spread(self, values: Floats) -> Floats:
        """Values [pairs, columns] laid out as the candidates: [queries, depth, columns], NaN padding."""
        spread = np.full((*self.place.shape, values.shape[1]), np.nan, np.float32)
        spread[self.place >= 0] = values[self.place[self.place >= 0]]
        return spread


def distinct_pairs(collection: Collection, rows: Ints) -> Pairs:
    """The distinct pairs of candidates [queries, depth], in order of first appearance."""
    query_of, rank_of = np.nonzero(rows >= 0)
    documents = rows[query_of, rank_of]
    document_rows, inverse = np.unique(documents, return_inverse=True)
    document_digests = text_digests(collection.corpus.texts(document_rows))
    query_digests = text_digests(collection.query_texts)
    keys = pair_keys(query_digests[query_of], document_digests[inverse])
    documents = firsts(document_digests, document_rows)[inverse]
    query_of = firsts(query_digests, np.arange(len(query_digests)))[query_of]
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    appearance = np.argsort(first, kind="stable")  # unique sorts by key; people expect the first query first
    renumber = np.empty_like(appearance)
    renumber[appearance] = np.arange(len(appearance))
    place = np.full(rows.shape, -1, np.int64)
    place[rows >= 0] = renumber[number]
    first = first[appearance]
    return Pairs(query_of[first], documents[first], keys[first], place)


def firsts(digests: Digests, rows: Ints) -> Ints:
    """For each row the first one with the same text, so that copies of a text are tokenized once."""
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    return rows[first[number]]


class Tokenized:
    """Texts by row, each tokenized once as long as `CACHED_TOKENS` hold them; the oldest go first."""

    def __init__(
        self, texts: Callable[[Ints], Sequence[str]], tokenize: Callable[[Sequence[str]], list[Tokens]]
    ) -> None:
        self.texts, self.tokenize = texts, tokenize
        self.held: OrderedDict[int, Tokens] = OrderedDict()
        self.tokens = 0

    def __call__(self, rows: Ints) -> dict[int, Tokens]:
        wanted = [int(row) for row in np.unique(rows)]
        missing = [row for row in wanted if row not in self.held]
        if missing:
            for row, ids in zip(missing, self.tokenize(self.texts(np.array(missing))), strict=True):
                self.held[row] = ids
                self.tokens += len(ids)
        found = {row: self.held[row] for row in wanted}
        while self.tokens > CACHED_TOKENS:
            self.tokens -= len(self.held.popitem(last=False)[1])
        return found


class PairPreparer:
    """Tokenizes pairs, given by their numbers; runs in the thread ahead of the model, too."""

    def __init__(self, model: PairModel, collection: Collection, pairs: Pairs) -> None:
        self.model, self.pairs = model, pairs
        texts = collection.query_texts
        self.queries = Tokenized(lambda rows: [texts[row] for row in rows], model.tokenize_queries)
        self.documents = Tokenized(collection.corpus.texts, model.tokenize_documents)
        self.read: tuple[bytes, NDArray[np.void]] | None = None

    def __call__(self, numbers: Ints, parts: NDArray[np.int32] | None = None) -> PairWindow:
        """Some pairs, or one part of the document of each."""
        query_rows, document_rows = self.pairs.queries[numbers], self.pairs.documents[numbers]
        queries, documents = self.queries(query_rows), self.documents(document_rows)
        return PairWindow.of(
            self.model,
            [queries[int(row)] for row in query_rows],
            [documents[int(row)] for row in document_rows],
            parts,
        )

    def sequences(self, numbers: Ints) -> NDArray[np.void]:
        """The sequences of some pairs, as `sequences.SEQUENCE`; the last answer is kept."""
        asked = hashlib.sha256(numbers.tobytes()).digest()
        if self.read is None or self.read[0] != asked:
            rows = self.pairs.queries[numbers], self.pairs.documents[numbers]
            found = sequences_of(self.model, self.queries, self.documents, *rows)
            found["pair"] = numbers[found["pair"]]
            self.read = asked, found
        return self.read[1]


@dataclass(frozen=True)
class PairWork:
    """Pairs to be scored by one reranker into `store`."""

    reranker: Reranker
    origin: Origin | Weights
    layers: tuple[int, ...]
    context: RunContext
    collection: Collection
    pairs: Pairs
    store: RowStore

    def missing(self) -> Ints:
        """Numbers of the pairs whose texts the store does not know at one or more layers."""
        return np.flatnonzero(~self.store.lookup(self.pairs.keys, self.layers)[1])


class ComputedWork(PairWork, ABC):
    """Pairs whose scores are computed here, or by an executor."""

    @abstractmethod
    def compute(self, executor: Executor, todo: Ints) -> int:
        """Score the pairs `todo` into the store. Returns how many had a score that was not known."""

    @abstractmethod
    def compute_again(self, executor: Executor, store: RowStore, lacking: Ints) -> tuple[Floats, int]:
        """All scores anew, by `store` alone, and how many; those of the pairs `lacking` are kept."""

    def cost_file(self, executor: Executor | None = None) -> Path:
        """One file for each machine and executor, since a cost means nothing elsewhere."""
        machine = hardware.fingerprint(self.context.hardware) | (executor.place() if executor else {})
        return self.store.folder / f"cost-{identity(machine)[:16]}.json"


@dataclass(frozen=True)
class Work(ComputedWork):
    """Pairs for a model that reads tokens; it is loaded when a score is missing."""

    reranker: LocalReranker
    origin: Weights

    @cached_property
    def loaded(self) -> tuple[PairModel, float]:
        """The model and the seconds that loading it took."""
        started = time.perf_counter()
        model = self.reranker.load(self.origin, self.context.hardware)
        self.context.hardware.synchronize()
        return model, time.perf_counter() - started

    @property
    def model(self) -> PairModel:
        return self.loaded[0]

    @cached_property
    def preparer(self) -> PairPreparer:
        """The pairs' tokens, kept from their first reading for scoring."""
        return PairPreparer(self.reader, self.collection, self.pairs)

    @property
    def reader(self) -> PairModel:
        """What tokenizes pairs: the model, or one without weights where only other processes load them."""
        if not self.context.executor.elsewhere:
            return self.model
        try:
            return self.reranker.weightless(self.origin, self.context.hardware.precision)
        except Exception as error:  # a model's own code may ask for numbers while it is built
            log.debug("%s is loaded to tokenize: %s", self.origin.label, error)
            return self.model

    def compute(self, executor: Executor, todo: Ints) -> int:
        """Score them by the plan that was made when these pairs were begun.

        A score depends, in its last bits, on the batch it is computed in. The plan fixes windows and batches,
        so that a run which is interrupted, and goes on elsewhere or with another executor, gives the same
        numbers. Each distinct sequence is scored once; its score is then that of all pairs which are this
        sequence to the model, in this run and in later ones.
        """
        missing, folder = self.unscored(todo), self.store.folder / "plans"
        keys = missing["key"]
        name = hashlib.sha256(self.pairs.keys.tobytes() + repr(self.layers).encode()).hexdigest()
        if len(missing):
            planned = read_array(folder, name)
            if planned is None or planned.dtype != SEQUENCE or not np.isin(keys, planned["key"]).all():
                write_array(folder, name, missing)
                planned = missing
            found = ~np.isin(planned["key"], keys)
            write_cost(self, compute(self, executor, np.array(planned), found).cost(), executor)
        hand_down(self, self.store, todo)
        for file in folder.glob(f"{name}-*.npy"):
            file.unlink(missing_ok=True)
        return len(np.unique(missing["pair"]))

    def compute_again(self, executor: Executor, store: RowStore, lacking: Ints) -> tuple[Floats, int]:
        fresh, everything = self.into(store), np.arange(len(self.pairs))
        planned = fresh.unscored(everything)
        cost = compute(fresh, executor, planned, np.zeros(len(planned), bool)).cost()
        write_cost(self, cost, executor)
        values = pair_scores(fresh, store, everything)
        keep(fresh, self.store, lacking)
        return values, len(np.unique(planned["pair"]))

    def into(self, store: RowStore) -> Work:
        """The same work for another store, with all that is loaded and tokenized by now."""
        other = replace(self, store=store)
        vars(other).update({name: value for name, value in vars(self).items() if name not in vars(other)})
        return other

    def unscored(self, numbers: Ints) -> NDArray[np.void]:
        """What is to be computed for these pairs: each of their sequences that the store lacks, once.

        Tokenizes the pairs, for which the reader is loaded.
        """
        found = first_of_each(self.preparer.sequences(numbers))
        return found[~self.store.lookup(found["key"], columns(self.layers))[1]]


class ScoringJob(Job):
    """Sequences to be scored into `work.store`.

    `planned` are `sequences.SEQUENCE`, in the order in which windows are cut from them; `found` marks those
    that the store holds already: they keep their places but are not scored again.
    """

    worker, items = PairWorker, "pairs"

    def __init__(self, work: Work, planned: NDArray[np.void], found: Flags) -> None:
        from rerankbench.engine.loop import Meter

        self.work, self.planned, self.found = work, planned, found
        self.meter, self.device = Meter(), work.context.hardware.device

    def here(self, progress: Progress) -> None:
        from rerankbench.engine.loop import Loop, fill

        work, planned, (model, self.meter.load_seconds) = self.work, self.planned, self.work.loaded
        machine, budget = work.context.hardware, work.context.budget(model.enough)
        loop = Loop(model.forward, machine, budget, self.meter, machine.streams)
        layers, size = columns(model.layers), window_size(len(planned))

        def prepare(some: Ints) -> PairWindow:
            return work.preparer(planned["pair"][some], planned["part"][some])

        fill(work.store, planned["key"], layers, self.found, size, prepare, loop, progress)

    def stretches(self, progress: Progress) -> list[Ints]:
        from rerankbench.engine.loop import windows

        return windows(~self.found, window_size(len(self.planned)))

    def missing(self, stretch: Ints) -> int:
        return int((~self.found[stretch]).sum())

    def task(self, stretch: Ints) -> PairTask:
        """The texts of a window, each once."""
        pairs, collection, planned = self.work.pairs, self.work.collection, self.planned[stretch]
        queries, query_of = np.unique(pairs.queries[planned["pair"]], return_inverse=True)
        documents, document_of = np.unique(pairs.documents[planned["pair"]], return_inverse=True)
        asked = [collection.query_texts[row] for row in queries]
        listed, found = list(collection.corpus.texts(documents)), self.found[stretch]
        return PairTask(planned["key"], found, asked, query_of, listed, document_of, planned["part"])

    def hiring(self) -> tuple[LocalReranker, Weights, RunContext, tuple[int, ...], RowStore]:
        work = self.work
        return work.reranker, work.origin, work.context, work.layers, work.store


def compute(work: Work, executor: Executor, planned: NDArray[np.void], found: Flags) -> Meter:
    """Have the sequences scored that are not `found`; returns what was computed."""
    job = ScoringJob(work, planned, found)
    with Progress("scoring", int((~found).sum()), "pairs") as progress:
        executor.compute(job, progress)
    return job.meter


def parts_of(reranker: Reranker, origin: Origin | Weights, machine: hardware.Hardware) -> dict[str, Any]:
    """Everything besides the two texts that determines a score on this hardware, as plain values."""
    return reranker.identity(origin, machine.precision) | reranker.operators(origin, machine)


def score_store(reranker: Reranker, origin: Origin | Weights, context: RunContext) -> RowStore:
    """Where scores of this reranker, these weights and this precision are kept."""
    parts = parts_of(reranker, origin, context.hardware)
    return RowStore(context.cache_dir / "scores" / identity(parts), {"label": origin.label, **parts})


@dataclass(frozen=True)
class Scored:
    """Scores of distinct pairs [pairs, layers], how many were computed now, and what scoring costs.

    `cost` is of the last time that this reranker scored enough pairs on this machine: now, or when what is
    reused was computed. It has the keys of `Meter.cost`.
    """

    values: Floats
    scored: int
    cost: dict[str, float]


def score(work: ComputedWork, executor: Executor) -> Scored:
    """All scores of `work`, computing what the store lacks.

    Scores are read back from the store, so that a run uses exactly what every later run will use. A second
    process with the same pairs waits and then finds them.
    """
    if not work.context.reuse:
        return score_again(work, executor)
    todo, scored = work.missing(), 0
    if len(todo):
        work.store.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(work.pairs.keys.tobytes()).hexdigest()[:16]
        with hold(work.store.folder / f"{name}{SUFFIX}", "scoring"):
            todo = work.missing()
            if len(todo):
                scored = work.compute(executor, todo)
    values, found = work.store.lookup(work.pairs.keys, work.layers)
    refuse_lost(work.store, found)
    return Scored(values, scored, read_cost(work, executor))


def refuse_lost(store: RowStore, found: Flags) -> None:
    """Raise UserError unless all that was written a moment ago was found."""
    if not found.all():
        raise UserError(
            f"{store.folder}: {(~found).sum()} scores are gone, as if files were removed or damaged "
            "while they were computed; the same command computes them again"
        )


def hand_down(work: Work, store: RowStore, numbers: Ints) -> None:
    """Keep the scores of pairs, under their texts, as those of the sequences that they are."""
    store.append(work.pairs.keys[numbers], pair_scores(work, store, numbers), work.layers)


def pair_scores(work: Work, store: RowStore, numbers: Ints) -> Floats:
    """Scores [pairs, layers] from those of sequences in `store`: of several, the best."""
    sequences = work.preparer.sequences(numbers)
    values, found = store.lookup(sequences["key"], columns(work.layers))
    refuse_lost(store, found)
    return best(values, sequences["pair"])


def window_size(pairs: int) -> int:
    """Pairs in a window of so many; the same for every executor, so that all build the same batches."""
    return min(WINDOW, max(SMALL_WINDOW, -(-pairs // WORKERS)))


def write_cost(work: ComputedWork, cost: dict[str, float], executor: Executor | None = None) -> None:
    """Keep a cost; one that rests on too few pairs takes the place of none that rests on more."""
    held = read_cost(work, executor)
    if not rests_on_enough(cost) and held.get("pairs", 0) > cost["pairs"]:
        cost = {**held, "load_seconds": cost["load_seconds"]}
    write_atomic(work.cost_file(executor), json.dumps(cost).encode())


def read_cost(work: ComputedWork, executor: Executor | None = None) -> dict[str, float]:
    """The last measured cost on this machine, empty if there is none."""
    return typed_json.note(work.cost_file(executor), COST) or {}


def rests_on_enough(cost: Mapping[str, float]) -> bool:
    """Whether a throughput means something; a single pair's is that of starting to work."""
    return cost.get("pairs", 0) >= ENOUGH_PAIRS and cost.get("seconds", 0.0) >= ENOUGH_SECONDS


def score_again(work: ComputedWork, executor: Executor) -> Scored:
    """Compute every score anew, say where stored ones differ, and store what was not there yet."""
    stored, found = work.store.lookup(work.pairs.keys, work.layers)
    fresh = RowStore(work.store.folder / f"again-{uuid.uuid4().hex}", {})
    try:
        values, scored = work.compute_again(executor, fresh, np.flatnonzero(~found))
    finally:
        shutil.rmtree(fresh.folder, ignore_errors=True)
    report_differences(work, values, stored, found)
    return Scored(values, scored, read_cost(work, executor))


def keep(fresh: Work, store: RowStore, numbers: Ints) -> None:
    """Add pairs that were scored anew to `store`, where a sequence that it has keeps its score."""
    if not len(numbers):
        return
    keys = first_of_each(fresh.preparer.sequences(numbers))["key"]
    keys = keys[~store.lookup(keys, columns(fresh.layers))[1]]
    values, _ = fresh.store.lookup(keys, columns(fresh.layers))
    store.append(keys, values, columns(fresh.layers))
    hand_down(fresh, store, numbers)


def report_differences(work: PairWork, values: Floats, stored: Floats, found: Flags) -> None:
    """Log how recomputed scores compare with stored ones, naming the pair that differs most."""
    difference = np.where(found, np.abs(values - stored).max(axis=1), 0)
    if not difference.any():
        log.info("recomputed %d pairs; the %d stored ones are the same", len(values), found.sum())
        return
    worst = int(difference.argmax())
    log.warning(
        "recomputed %d pairs; %d of the %d stored ones differ, by at most %.3g (query %s, document %s)",
        len(values), (difference > 0).sum(), found.sum(), difference[worst],
        work.collection.query_ids[work.pairs.queries[worst]],
        work.collection.corpus.ids(work.pairs.documents[worst : worst + 1])[0],
    )  # fmt: skip
