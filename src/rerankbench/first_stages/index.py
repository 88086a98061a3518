"""Search for the largest inner products: exactly in a memory map, or with any index that FAISS can make."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from rerankbench.basics import typed_json
from rerankbench.basics.arrays import Flags, Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.regular_file import NotRegular, TooLarge, open_regular
from rerankbench.engine.embedders.vector_ties import release
from rerankbench.engine.embedders.vectors import Vectors
from rerankbench.engine.store import disk
from rerankbench.engine.store.aside import make_way, set_aside
from rerankbench.engine.store.lock import SUFFIX, hold
from rerankbench.engine.store.rows import identity, write_atomic

ROWS = 8192  # vectors compared with a batch of queries at once: 12 MB of them at 384 dimensions
MOST_LISTS = 10_000_000  # FAISS would take memory for them before it has seen a vector
SAMPLED = 200  # queries on which an approximate index is compared with exact search
LOW_RECALL = 0.95  # below which a warning says that the index, not the reranker, decides the result


class Vouched(TypedDict):
    """What the note beside a kept index says of it."""

    factory: str
    sha256: str


NOTE = TypeAdapter(Vouched)


@dataclass(frozen=True)
class Index:
    """Settings of an index: FAISS's factory string, and how hard an approximate one searches.

    factory: FAISS's factory string, such as Flat, HNSW32 or IVF1024,PQ64.
    search: run-time parameters in FAISS's own spelling, such as nprobe=32 or efSearch=128.
    train_rows: most vectors that an index is trained on.
    """

    factory: str = "Flat"
    search: str = ""
    train_rows: int = 200_000

    @property
    def exact(self) -> bool:
        return self.factory == "Flat"

    def problems(self) -> list[str]:
        import faiss

        if self.train_rows < 1:
            return [f"index.train_rows={self.train_rows}: give at least 1 vector to train on"]
        if any(int(number) > MOST_LISTS for number in re.findall("[0-9]+", self.factory)):
            return [f"index.factory={self.factory}: give at most {MOST_LISTS:,} lists or links"]
        try:
            index = faiss.index_factory(64, self.factory, faiss.METRIC_INNER_PRODUCT)
        except (RuntimeError, MemoryError):
            return [
                f"index.factory={self.factory}: FAISS does not know this factory string; examples: Flat, "
                "IVF1024,Flat, HNSW32, IVF4096,PQ64"
            ]
        try:
            self.tuned(index)
        except RuntimeError:
            return [
                f"index.search={self.search}: FAISS cannot set this on {self.factory}; "
                "examples: nprobe=64 of IVF, efSearch=256 of HNSW"
            ]
        return []

    def ready(self, vectors: Vectors, seed: int, cache_dir: Path, reuse: bool = True) -> Exact | Approximate:
        """The index, built once: kept under what determines it, and memory-mapped where FAISS can."""
        if self.exact or vectors.identity is None:
            return self.build(vectors, seed)
        parts = self.parts(vectors, seed)
        path = self.path(parts, cache_dir)
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(path.with_name(f"{path.name}{SUFFIX}"), "building an index"):
            index = read_index(path) if reuse else None
            if index is None:
                built = self.build(vectors, seed)
                assert isinstance(built, Approximate)
                write_index(built.index, path, {"label": self.factory, **parts})
                index = read_index(path)
        return Approximate(self.tuned(index), vectors)

    def parts(self, vectors: Vectors, seed: int) -> dict[str, Any]:
        """What determines a built index."""
        own = {"factory": self.factory, "train_rows": self.train_rows, "seed": seed}
        return {"vectors": vectors.identity, "rows": "distinct", **own}

    def path(self, parts: Mapping[str, Any], cache_dir: Path) -> Path:
        """Where it is kept."""
        return cache_dir / "indexes" / f"{identity(parts)}.faiss"

    def kept(self, vectors: Vectors, seed: int, cache_dir: Path) -> bool:
        """Whether `ready` has nothing to build."""
        return self.exact or self.path(self.parts(vectors, seed), cache_dir).is_file()

    def build(self, vectors: Vectors, seed: int) -> Exact | Approximate:
        """A trained and filled index of the vectors that differ.

        Filled block by block, so that memory holds the index and one block.
        Raises UserError where there are too few vectors to train on, or their dimensions do not fit.
        """
        if self.exact:
            return Exact(vectors)
        import faiss

        try:
            index = faiss.index_factory(vectors.dimensions, self.factory, faiss.METRIC_INNER_PRODUCT)
            if not index.is_trained:
                index.train(sample(vectors, self.train_rows, seed))
        except RuntimeError as error:
            raise UserError(
                f"index.factory={self.factory}: FAISS cannot train it on {len(vectors):,} vectors "
                f"of {vectors.dimensions} dimensions ({reason(error)}); use index=flat, fewer lists "
                "(IVF64,Flat), or a PQ that divides the dimensions"
            ) from error
        start, rows = 0, vectors.copies.rows
        for block in vectors.blocks:
            low, high = np.searchsorted(rows, [start, start + len(block)])
            index.add(np.ascontiguousarray(block[rows[low:high] - start]))
            release(block)
            start += len(block)
        return Approximate(self.tuned(index), vectors)

    def tuned(self, index: Any) -> Any:
        if self.search:
            import faiss

            faiss.ParameterSpace().set_index_parameters(index, self.search)  # type: ignore[arg-type]
        return index


def reason(error: Exception) -> str:
    """What FAISS says, without the place in its source."""
    return str(error).rpartition("failed: ")[2].strip() or str(error)


class Exact:
    """Exact search that streams blocks from the disk: memory holds the best so far and a part of a block."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors, self.ntotal = vectors, len(vectors)

    def best(self, queries: Floats, depth: int, batch: int) -> tuple[Ints, Floats]:
        """Rows and scores [queries, depth], copies left out, best first; equal scores in order of rows."""
        import torch

        rows = np.full((len(queries), depth), -1, np.int64)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        is_copy = np.ones(self.ntotal, bool)
        is_copy[self.vectors.copies.rows] = False
        for first, part in self.parts():
            columns = torch.from_numpy(part).T
            for start in range(0, len(queries), batch):
                some = slice(start, start + batch)
                products = torch.mm(torch.from_numpy(queries[some]), columns).numpy()
                products[:, is_copy[first : first + len(part)]] = -np.inf
                merge(rows[some], scores[some], products, first)
        return rows, scores

    def parts(self) -> Iterator[tuple[int, Floats]]:
        """(number of the first row, vectors in memory)."""
        first = 0
        for block in self.vectors.blocks:
            for start in range(0, len(block), ROWS):
                part = np.array(block[start : start + ROWS], np.float32)
                yield first, part
                first += len(part)
            release(block)


class Approximate:
    """A FAISS index of the vectors that are no copies."""

    def __init__(self, index: Any, vectors: Vectors) -> None:
        self.index, self.vectors, self.ntotal = index, vectors, len(vectors)

    def best(self, queries: Floats, depth: int, batch: int) -> tuple[Ints, Floats]:
        """Rows and scores [queries, depth], copies left out, best first; equal scores in order of rows."""
        rows = np.full((len(queries), depth), -1, np.int64)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        for start in range(0, len(queries), batch):
            some = slice(start, start + batch)
            rows[some], scores[some] = self.nearest(queries[some], depth, depth + 1)
        return np.where(rows < 0, -1, self.vectors.copies.rows[rows]), scores

    def nearest(self, queries: Floats, depth: int, asked: int) -> tuple[Ints, Floats]:
        """The same as numbers in FAISS, which is asked for more than `depth`.

        Which of the rows that tie with the last it returns is its own affair: those queries for which all
        that it gives from there on are equal ask for twice as many.
        """
        asked = min(asked, self.index.ntotal)
        scores, rows = self.index.search(np.ascontiguousarray(queries), asked)
        scores[rows < 0] = -np.inf  # FAISS pads with the lowest float
        order = np.lexsort((rows, -scores))[:, :depth]
        found, values = (np.take_along_axis(part, order, axis=1) for part in (rows, scores))
        cut = (scores[:, depth - 1] == scores[:, -1]) & (rows[:, -1] >= 0)
        if cut.any() and asked < self.index.ntotal:
            found[cut], values[cut] = self.nearest(queries[cut], depth, 2 * asked)
        return found, values


def merge(rows: Ints, scores: Floats, products: Floats, first: int) -> None:
    """Let products [queries, n] of the rows from `first` into the best so far [queries, depth], in place.

    Rows come in ascending order, so a product that only equals the worst of the best does not get in.
    """
    depth = rows.shape[1]
    hits = products > scores[:, -1:]
    widest = int(hits.sum(axis=1).max(initial=0))
    if not widest:
        return
    columns = best_columns(products, depth) if widest > depth else padded_columns(hits, widest)
    fresh = np.take_along_axis(products, np.maximum(columns, 0), axis=1)
    fresh[columns < 0] = -np.inf
    all_rows = np.concatenate([rows, np.where(columns < 0, -1, columns + first)], axis=1)
    all_scores = np.concatenate([scores, fresh], axis=1)
    order = np.lexsort((all_rows, -all_scores))[:, :depth]
    rows[:] = np.take_along_axis(all_rows, order, axis=1)
    scores[:] = np.take_along_axis(all_scores, order, axis=1)


def best_columns(products: Floats, count: int) -> Ints:
    """The `count` largest of each row [queries, count]; of equal ones the first."""
    least = np.partition(products, products.shape[1] - count, axis=1)[:, products.shape[1] - count, None]
    above, equal = products > least, products == least
    lacking = count - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= lacking))
    return np.nonzero(chosen)[1].reshape(len(products), count)


def padded_columns(hits: Flags, width: int) -> Ints:
    """The columns marked in each row [queries, width], -1 behind their end."""
    query, column = np.nonzero(hits)
    counts = hits.sum(axis=1)
    position = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = np.full((len(hits), width), -1, np.int64)
    columns[query, position] = column
    return columns


def sample(vectors: Vectors, rows: int, seed: int) -> Floats:
    """A seeded sample of vectors to train on, all of them where there are fewer."""
    chosen = np.arange(len(vectors))
    if len(vectors) > rows:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), rows, replace=False))
    starts = np.cumsum([0, *map(len, vectors.blocks)])
    parts = []
    for start, block in zip(starts, vectors.blocks, strict=False):
        parts.append(block[chosen[(chosen >= start) & (chosen < start + len(block))] - start])
        release(block)
    return np.ascontiguousarray(np.concatenate(parts))


def write_index(index: Any, path: Path, parts: Mapping[str, Any]) -> None:
    """Write an index; the note beside it, written last, vouches for its bytes."""
    import faiss

    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        faiss.write_index(index, str(temporary))
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        make_way(path)
        os.replace(temporary, path)
    except RuntimeError as error:
        raise disk.told(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    note = {**parts, "sha256": digest}
    write_atomic(path.with_suffix(".json"), json.dumps(note, indent=2, ensure_ascii=False).encode())


def read_index(path: Path) -> Any | None:
    """A kept index; None if there is none, or after setting a damaged one aside."""
    try:
        note = typed_json.read(path.with_suffix(".json"), NOTE, typed_json.MOST_NOTE)
        with open_regular(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != note["sha256"]:
                raise ValueError("its bytes do not match the note beside it")
        return mapped(path, note["factory"])
    except FileNotFoundError:
        return None
    except (ValueError, RuntimeError, NotRegular, TooLarge) as error:
        set_aside(path, error)
    return None


def mapped(path: Path, factory: str) -> Any:
    """An index whose lists (of an IVF) or codes (of others) stay on the disk where FAISS can search there."""
    import faiss

    flag = "IO_FLAG_MMAP" if "IVF" in factory else "IO_FLAG_MMAP_IFC"  # each maps what the other cannot
    try:
        return faiss.read_index(str(path), getattr(faiss, flag, 0) | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError:
        return faiss.read_index(str(path))


def search(index: Exact | Approximate, queries: Floats, depth: int, batch: int = 256) -> tuple[Ints, Floats]:
    """The `depth` best rows of each query, best first: (rows [Q, depth], scores [Q, depth]).

    Equal scores are ordered by row number, also where the last of a list ties with rows behind it. Equal
    vectors have equal scores, and equal queries equal lists. -1 and -inf where there are fewer rows.
    """
    asked, of = np.unique(np.array(queries, np.float32), axis=0, return_inverse=True)
    copies = index.vectors.copies
    rows, scores = index.best(asked, min(depth, len(copies.rows)), batch)
    rows, scores = copies.put_back(rows, scores, depth)
    of = of.reshape(-1)  # numpy 2.0 gives it another shape
    return rows[of], scores[of]


def recall(found: Ints, queries: Floats, vectors: Vectors, seed: int) -> float:
    """The share of the exact neighbours that are in `found` [Q, depth], over a seeded sample of queries."""
    drawn = np.random.default_rng(seed).permutation(len(queries))[:SAMPLED]
    exact, _ = search(Exact(vectors), queries[drawn], found.shape[1])
    shares = [len(np.intersect1d(true[true >= 0], some)) / max(1, (true >= 0).sum())
              for true, some in zip(exact, found[drawn], strict=True)]  # fmt: skip
    return float(np.mean(shares))


def recall_notes(measures: Mapping[str, float]) -> tuple[str, ...]:
    """A warning for each recall of an index that is low."""
    cure = "raise index.search (nprobe, efSearch), or use index=flat"
    return tuple(
        f"the approximate index misses candidates: {name} against exact search is {value:.3f}; {cure}"
        for name, value in measures.items()
        if value < LOW_RECALL
    )
