"""The ranked lists of every arm of some runs, read from the scores that the runs wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerankbench.basics import typed_parquet
from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_parquet import NUMBER, TEXT, WHOLE
from rerankbench.evaluation import ranking
from rerankbench.report.arms import Arm, named, refuse_mixtures
from rerankbench.report.runs import PER_QUERY, SCORES, Run, refuse_nameless, telling

KEPT = 100  # ranks of a list that are compared
MOST_LAYERS = 1000


@dataclass(frozen=True)
class Lists:
    """What every arm answers to every query.

    documents: for each query the distinct documents of all arms; `orders` [arms, queries, ranks]: places in
    it, best first, -1 behind the end of a list.
    """

    arms: tuple[Arm, ...]
    query_ids: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]
    orders: NDArray[np.int32]

    def fullest(self) -> list[int]:
        """Of every line of arms the deepest: arms of the same scores at other depths tell little more."""
        deepest: dict[tuple[str, str, int | None], int] = {}
        for i, arm in enumerate(self.arms):
            key = (arm.stage, arm.reranker, arm.layer)
            if key not in deepest or self.arms[deepest[key]].depth < arm.depth:
                deepest[key] = i
        return sorted(deepest.values())


@dataclass(frozen=True)
class Scored:
    """One run's candidates: `doc_ids` of each query by rank, `scores` by layer (None where there is but one).

    Each array of scores is [queries, candidates], NaN where nothing was scored; `length` [queries].
    """

    doc_ids: list[list[str]]
    scores: dict[int | None, NDArray[np.float64]]
    length: NDArray[np.int64]


def lists(runs: Sequence[Run]) -> Lists:
    """The lists of all runs that finished. Raises UserError where they are damaged, or cannot be compared."""
    done = [run for run in runs if not run.failed]
    if not done:
        raise UserError([f"{run.place}: {run.arm} failed: {run.result.get('error')}" for run in runs])
    refuse_mixtures(done)
    ids = query_ids(done[0])
    place: list[dict[str, int]] = [{} for _ in ids]
    held: dict[tuple[str, str, int | None, int], tuple[Arm, NDArray[np.int32]]] = {}
    for run in done:
        for arm, order in ordered(run, read(run, ids), place):
            held.setdefault(arm.key, (arm, order))
    arms = named([arm for arm, _ in held.values()])
    width = max(order.shape[1] for _, order in held.values())
    orders = [
        np.pad(order, ((0, 0), (0, width - order.shape[1])), constant_values=-1) for _, order in held.values()
    ]
    return Lists(arms, tuple(ids), tuple(tuple(known) for known in place), np.stack(orders))


def query_ids(run: Run) -> list[str]:
    """The queries in the order of the collection, those without candidates too."""
    with telling(run, PER_QUERY):
        table = typed_parquet.read(run.folder / PER_QUERY, lambda _: {"query_id": TEXT})
        if table["query_id"].null_count:
            raise ValueError("its column query_id has rows without a value")
    return list(table["query_id"].unique().to_pylist())


def read(run: Run, ids: Sequence[str]) -> Scored:
    """The candidates and scores of a run, for these queries."""
    refuse_nameless(run)
    with telling(run, SCORES):
        table = typed_parquet.read(run.folder / SCORES, columns)
        for name in ("query_id", "doc_id", "rank"):
            if table[name].null_count:
                raise ValueError(f"its column {name} has rows without a value")
        return scored(table, ids)


def columns(names: Sequence[str]) -> dict[str, str]:
    scores = {name: NUMBER for name in names if layer_of(name) is not False}
    return {"query_id": TEXT, "doc_id": TEXT, "rank": WHOLE, **scores}


def layer_of(name: str) -> int | bool | None:
    """The layer of a column of scores, None where there is but one; False: this is none."""
    if name == "score":
        return None
    number = name.removeprefix("score_")
    return int(number) if number != name and number.isdecimal() and int(number) < MOST_LAYERS else False


def scored(table: pa.Table, ids: Sequence[str]) -> Scored:
    """Rows as lists. Raises ValueError where they are none."""
    number = {query_id: i for i, query_id in enumerate(ids)}
    queries = [number.get(query_id, -1) for query_id in table["query_id"].to_pylist()]
    query, rank = np.array(queries, np.int64), table["rank"].to_numpy()
    if (query < 0).any():
        raise ValueError(f"it has queries that {PER_QUERY} does not have")
    order = np.lexsort((rank, query))
    query, rank = query[order], rank[order]
    length = np.bincount(query, minlength=len(ids))
    expected = np.arange(len(query)) - np.repeat(np.cumsum(length) - length, length)
    if not np.array_equal(rank - 1, expected):
        raise ValueError("the ranks of a query should be 1, 2, ... without a gap")
    documents = np.array(table["doc_id"].to_pylist(), object)[order]
    ends = np.cumsum(length)
    doc_ids = [documents[end - n : end].tolist() for end, n in zip(ends, length, strict=True)]
    if any(len(set(each)) < len(each) for each in doc_ids):
        raise ValueError("a document is there twice for one query")
    scores: dict[int | None, NDArray[np.float64]] = {}
    for name in table.column_names[3:]:
        laid = np.full((len(ids), int(length.max(initial=0))), np.nan)
        laid[query, expected] = table[name].to_numpy(zero_copy_only=False)[order]
        layer = layer_of(name)
        assert layer is not False
        scores[layer] = laid
    return Scored(doc_ids, scores, length)


def ordered(run: Run, found: Scored, place: list[dict[str, int]]) -> Iterator[tuple[Arm, NDArray[np.int32]]]:
    """A run's arms with their lists [queries, ranks] of places; new documents are given new places."""
    stage, reranker = (str(run.result["identity"][key]) for key in ("candidates", "reranker"))
    width = int(found.length.max(initial=0))
    where = np.full((len(place), width), -1, np.int32)
    for query, doc_ids in enumerate(found.doc_ids):
        known = place[query]
        where[query, : len(doc_ids)] = [known.setdefault(doc_id, len(known)) for doc_id in doc_ids]
    yield Arm(stage, "", None, 0, run), where[:, :KEPT]
    if not reranker:
        return
    depths = sorted(int(depth) for depth in run.result.get("by_depth") or {run.result["depth"]: {}})
    top = max((layer for layer in found.scores if layer is not None), default=None)
    for layer, scores in found.scores.items():
        for depth in depths:
            order = ranking.rerank(scores.astype(np.float32), depth)
            yield Arm(stage, reranker, layer, depth, run, top), np.take_along_axis(where, order, 1)[:, :KEPT]
