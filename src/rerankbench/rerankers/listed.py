"""Lists that another tool has reranked: they join as its arm, without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import Finding, examples
from rerankbench.collections.candidates import Candidates, read_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.run_order import ORDERS
from rerankbench.collections.sources.source import given_problem
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.reranker import Origin, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.pair_scoring import PairWork

MOST = 1_000_000  # documents of a query


@dataclass(frozen=True)
class Listed(Reranker):
    """A run file as `first_stage=run` reads it, in the order that another tool gave to these candidates.

    path: the file. name: what the tool is called; null: the file's name.
    order_by: score (highest first), distance or rank; null takes what the file leaves no doubt about.
    """

    path: str = "???"
    name: str | None = None
    order_by: str | None = None

    family: ClassVar[str] = "run"
    FREE: ClassVar[frozenset[str]] = Reranker.FREE | {"path", "name"}

    def problems(self) -> list[str]:
        found = []
        if self.order_by is not None and self.order_by not in ORDERS:
            found.append(f"reranker.order_by={self.order_by}: choose one of {', '.join(ORDERS)}")
        if self.name is not None and not (self.name.strip() and self.name.isprintable()):
            found.append(f"reranker.name={self.name!r}: give a plain name, or leave it out")
        if self.path == "???":
            return found  # a missing value is reported as such
        problem = given_problem(self.path, "reranker.path")
        return [*found, problem] if problem else found

    @property
    def file(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def title(self) -> str:
        return self.name or self.file.name.removesuffix(".gz").rpartition(".")[0] or self.file.name

    def origin(self, cache_dir: Path) -> Origin:
        with self.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Origin(f"sha256:{digest}", self.title)

    def identity(self, origin: Origin, precision: str) -> dict[str, Any]:
        return super().identity(origin, "as listed")

    def load(self, origin: Origin, hardware: Hardware) -> Scorer:
        raise UserError(
            f"{self.title}: a list that another tool wrote; what its model costs is not known here"
        )

    def read(self, collection: Collection) -> Candidates:
        """The lists as they are in the file. Raises UserError with every fault."""
        order_by = next((order for order in ORDERS if order == self.order_by), None)
        return read_trec(self.file, collection, MOST, order_by=order_by)


@dataclass(frozen=True)
class ListWork(PairWork):
    """Nothing to compute: the order of the candidates is known."""

    found: Reordered

    def missing(self) -> Ints:
        return np.empty(0, np.int64)


@dataclass(frozen=True)
class Reordered:
    """What lists make of candidates: `scores` [queries, depth], minus each one's place in its list.

    Candidates down to `depth` that a list leaves out stay below the listed ones, in first-stage order.
    """

    scores: Floats
    findings: tuple[Finding, ...]

    @property
    def depth(self) -> int:
        return self.scores.shape[1]

    def down_to(self, depth: int) -> Reordered:
        return replace(self, scores=self.scores[:, :depth])


def reordered(lists: Candidates, rows: Ints, collection: Collection, file: Path) -> Reordered:
    """The order that lists give to candidates [queries, candidates]; how deep they go shows in them.

    Raises UserError where no list holds a candidate.
    """
    places = np.full(rows.shape, np.inf)
    foreign, empty = [], []
    for query, (listed, own) in enumerate(zip(lists.rows, rows, strict=True)):
        listed = listed[listed >= 0]
        place = dict(zip(listed.tolist(), range(len(listed)), strict=True))
        places[query] = [place.get(row, np.inf) for row in own.tolist()]
        outside = np.setdiff1d(listed, own)
        foreign += [(query, row) for row in outside.tolist()]
        empty += [query] if not len(listed) else []
    held = np.isfinite(places)
    if not held.any():
        raise UserError(
            f"reranker.path={file}: its lists hold none of the candidates; give the candidates that the tool "
            "was given, with first_stage=run first_stage.path=FILE"
        )
    depth = int(np.flatnonzero(held.any(axis=0))[-1]) + 1
    left_out = int((~held & (rows >= 0))[:, :depth].sum())
    findings = tuple(one for one in findings_of(foreign, empty, left_out, collection) if one.count)
    return Reordered(below(places[:, :depth], rows[:, :depth]), findings)


def below(places: NDArray[np.float64], rows: Ints) -> Floats:
    """Scores of candidates by their places in the lists, those without one after the others."""
    order = np.argsort(places, axis=1, kind="stable")
    rank = np.empty(order.shape, np.int64)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return np.where(rows >= 0, -rank, np.nan).astype(np.float32)


def findings_of(
    foreign: list[tuple[int, int]], empty: list[int], left_out: int, collection: Collection
) -> Iterator[Finding]:
    """What there is to say of listed documents that are not candidates, of empty lists, and of candidates."""
    ids = collection.corpus.ids(np.array([row for _, row in foreign[:3]], np.int64))
    told = [f"{collection.query_ids[query]} {doc}" for (query, _), doc in zip(foreign, ids, strict=False)]
    effect = "they are left out: a reranker can only reorder what the first stage found"
    what = "listed documents that are not candidates"
    yield Finding("warning", what, len(foreign), examples(told), effect)
    told = [collection.query_ids[query] for query in empty]
    effect = "their candidates stay as the first stage ordered them"
    yield Finding("warning", "queries without a list", len(empty), examples(told), effect)
    effect = "they stay below the listed ones, in first-stage order"
    yield Finding("warning", "candidates that the lists leave out", left_out, (), effect)
