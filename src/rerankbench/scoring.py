"""Pair scores: every distinct (query, document) pair is scored once, at every layer, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rerankbench import hardware, typed_json
from rerankbench.bench import Bench
from rerankbench.collection import Collection
from rerankbench.errors import UserError
from rerankbench.lock import SUFFIX, hold
from rerankbench.models import Weights
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.store import (
    Keys,
    RowStore,
    identity,
    pair_keys,
    read_array,
    text_digests,
    write_array,
    write_atomic,
)
from rerankbench.tokens import Tokens
from rerankbench.typed_json import Amount, Name

if TYPE_CHECKING:
    from rerankbench.executors import Executor
    from rerankbench.loop import Batch

log = logging.getLogger(__name__)

COST = TypeAdapter(dict[Name, Amount])

WINDOW = 32_768  # pairs at most that are tokenized and sorted together
SMALL_WINDOW = 2048  # and at least, where there are as many: smaller ones would be padded more
WORKERS = 64  # that should find a window each
CACHED_TOKENS = 64_000_000  # 256 MB of tokenized texts kept for later windows


@dataclass(frozen=True)
class Pairs:
    """The distinct pairs behind candidates: same texts, same pair, whatever their ids.

    `queries` and `documents` [pairs] are rows of the collection, `keys` [pairs] hash the two texts, and
    `place` [queries, depth] says which pair each candidate is (-1: padding).
    """

    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    keys: Keys
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values [pairs, columns] laid out as the candidates: [queries, depth, columns], NaN padding."""
        spread = np.full((*self.place.shape, values.shape[1]), np.nan, np.float32)
        spread[self.place >= 0] = values[self.place[self.place >= 0]]
        return spread


def distinct_pairs(collection: Collection, rows: NDArray[np.int64]) -> Pairs:
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


def firsts(digests: NDArray[np.bytes_], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the first one with the same text, so that copies of a text are tokenized once."""
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    return rows[first[number]]


class Tokenized:
    """Texts by row, each tokenized once as long as `CACHED_TOKENS` hold them; the oldest go first."""

    def __init__(
        self,
        texts: Callable[[NDArray[np.int64]], Sequence[str]],
        tokenize: Callable[[Sequence[str]], list[Tokens]],
    ) -> None:
        self.texts, self.tokenize = texts, tokenize
        self.held: OrderedDict[int, Tokens] = OrderedDict()
        self.tokens = 0

    def __call__(self, rows: NDArray[np.int64]) -> dict[int, Tokens]:
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


@dataclass(frozen=True)
class PairWindow:
    """Some pairs as token sequences. `owner` [sequences] names the pair of each sequence."""

    model: PairModel
    queries: list[Tokens]
    documents: list[Tokens]
    owner: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, model: PairModel, queries: list[Tokens], documents: list[Tokens]) -> PairWindow:
        """One sequence a pair, or several where long documents are scored in overlapping windows."""
        owner = np.arange(len(queries))
        if model.settings.long_documents == "max_passage":
            passages = [
                cut(d, model.room(len(q)), model.settings.window_overlap)
                for q, d in zip(queries, documents, strict=True)
            ]
            owner = np.repeat(owner, [len(parts) for parts in passages])
            queries, documents = [queries[i] for i in owner], [part for parts in passages for part in parts]
        return cls(model, queries, documents, owner, model.lengths(sizes(queries), sizes(documents)))

    def collate(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        return self.model.collate([self.queries[i] for i in index], [self.documents[i] for i in index])

    def sequences(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return rows[self.owner]

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The best score of each pair's sequences, as soon as all of them are known."""
        left = np.bincount(self.owner)
        best = np.full((len(left), len(self.model.layers)), -np.inf, np.float32)
        for index, values in batches:
            owners = self.owner[index]
            np.maximum.at(best, owners, values)
            np.subtract.at(left, owners, 1)
            done = np.unique(owners)
            done = done[left[done] == 0]
            yield done, best[done]


def cut(document: Tokens, room: int, overlap: int) -> list[Tokens]:
    """Windows of `room` tokens, each starting `overlap` tokens before the last one ended.

    Beside a long query `room` is small: windows overlap by half at most, and no room is one empty window.
    """
    overlap = min(overlap, room // 2)
    starts = range(0, max(1, len(document) - overlap), room - overlap) if room else [0]
    return [document[start : start + room] for start in starts]


def sizes(sequences: Sequence[Tokens]) -> NDArray[np.int64]:
    return np.array([len(sequence) for sequence in sequences], np.int64)


class PairPreparer:
    """Turns pair numbers into tokenized windows; runs in the thread ahead of the model."""

    def __init__(self, model: PairModel, collection: Collection, pairs: Pairs) -> None:
        self.model, self.pairs = model, pairs
        texts = collection.query_texts
        self.queries = Tokenized(lambda rows: [texts[row] for row in rows], model.tokenize_queries)
        self.documents = Tokenized(collection.corpus.texts, model.tokenize_documents)

    def __call__(self, numbers: NDArray[np.int64]) -> PairWindow:
        query_rows, document_rows = self.pairs.queries[numbers], self.pairs.documents[numbers]
        queries, documents = self.queries(query_rows), self.documents(document_rows)
        return PairWindow.of(
            self.model,
            [queries[int(row)] for row in query_rows],
            [documents[int(row)] for row in document_rows],
        )


@dataclass(frozen=True)
class Work:
    """Pairs to be scored by one reranker into `store`; the model is loaded when a score is missing."""

    reranker: Reranker
    weights: Weights
    layers: tuple[int, ...]
    bench: Bench
    collection: Collection
    pairs: Pairs
    store: RowStore

    @cached_property
    def loaded(self) -> tuple[PairModel, float]:
        """The model and the seconds that loading it took."""
        started = time.perf_counter()
        model = self.reranker.load(self.weights, self.bench.hardware)
        self.bench.hardware.synchronize()
        return model, time.perf_counter() - started

    @property
    def model(self) -> PairModel:
        return self.loaded[0]

    def missing(self) -> NDArray[np.int64]:
        """Numbers of the pairs that the store lacks at one or more layers."""
        return np.flatnonzero(~self.store.lookup(self.pairs.keys, self.layers)[1])


def score_store(reranker: Reranker, weights: Weights, bench: Bench) -> RowStore:
    """Where scores of this reranker, these weights and this precision are kept."""
    parts = reranker.identity(weights, bench.hardware.precision)
    return RowStore(bench.cache_dir / "scores" / identity(parts), {"label": weights.label, **parts})


@dataclass(frozen=True)
class Scored:
    """Scores of distinct pairs [pairs, layers], how many were computed now, and what scoring costs.

    `cost` is of the last time that this reranker scored pairs on this machine: now, or when what is reused
    was computed. It has the keys of `Meter.cost`.
    """

    values: NDArray[np.float32]
    scored: int
    cost: dict[str, float]


def score(work: Work, executor: Executor) -> Scored:
    """All scores of `work`, computing what the store lacks.

    Scores are read back from the store, so that a run uses exactly what every later run will use. A second
    process with the same pairs waits and then finds them.
    """
    if not work.bench.reuse:
        return score_again(work, executor)
    todo = work.missing()
    if len(todo):
        work.store.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(work.pairs.keys.tobytes()).hexdigest()[:16]
        with hold(work.store.folder / f"{name}{SUFFIX}", "scoring"):
            todo = work.missing()
            if len(todo):
                score_missing(work, executor, todo, work.store.folder / "plans")
    values, found = work.store.lookup(work.pairs.keys, work.layers)
    if not found.all():
        raise UserError(
            f"{work.store.folder}: {(~found).sum()} scores are gone, as if files were removed or damaged "
            "while they were computed; the same command computes them again"
        )
    return Scored(values, len(todo), read_cost(work, executor))


def score_missing(work: Work, executor: Executor, todo: NDArray[np.int64], folder: Path) -> None:
    """Score `todo` by the plan that was made when these pairs were begun.

    A score depends, in its last bits, on the batch it is computed in. The plan fixes windows and batches, so
    that a run which is interrupted, and goes on elsewhere or with another executor, gives the same numbers.
    """
    name = hashlib.sha256(work.pairs.keys.tobytes() + repr(work.layers).encode()).hexdigest()
    planned = read_array(folder, name)
    if planned is None or not np.isin(todo, planned).all():
        write_array(folder, name, todo)
        planned = todo
    found = np.ones(len(work.pairs), bool)
    found[todo] = False
    write_cost(work, executor.score(work, np.array(planned), found).cost(), executor)
    for file in folder.glob(f"{name}-*.npy"):
        file.unlink(missing_ok=True)


def window_size(pairs: int) -> int:
    """Pairs in a window of so many; the same for every executor, so that all build the same batches."""
    return min(WINDOW, max(SMALL_WINDOW, -(-pairs // WORKERS)))


def cost_file(work: Work, executor: Executor | None = None) -> Path:
    """One file for each machine and executor, since a cost means nothing elsewhere."""
    machine = hardware.fingerprint(work.bench.hardware) | (executor.place() if executor else {})
    return work.store.folder / f"cost-{identity(machine)[:16]}.json"


def write_cost(work: Work, cost: dict[str, float], executor: Executor) -> None:
    write_atomic(cost_file(work, executor), json.dumps(cost).encode())


def read_cost(work: Work, executor: Executor | None = None) -> dict[str, float]:
    """The last measured cost on this machine, empty if there is none."""
    return typed_json.note(cost_file(work, executor), COST) or {}


def score_again(work: Work, executor: Executor) -> Scored:
    """Compute every score anew, say where stored ones differ, and store what was not there yet."""
    stored, found = work.store.lookup(work.pairs.keys, work.layers)
    fresh = replace(work, store=RowStore(work.store.folder / f"again-{uuid.uuid4().hex}", {}))
    try:
        nothing = np.zeros(len(work.pairs), bool)
        meter = executor.score(fresh, np.arange(len(work.pairs)), nothing)
        write_cost(work, meter.cost(), executor)
        values, _ = fresh.store.lookup(work.pairs.keys, work.layers)
    finally:
        shutil.rmtree(fresh.store.folder, ignore_errors=True)
    report_differences(work, values, stored, found)
    if not found.all():
        work.store.append(work.pairs.keys[~found], values[~found], work.layers)
    return Scored(values, len(values), read_cost(work, executor))


def report_differences(
    work: Work, values: NDArray[np.float32], stored: NDArray[np.float32], found: NDArray[np.bool_]
) -> None:
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
