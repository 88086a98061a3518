"""The ranked lists of every arm of some runs, read from the scores that the runs wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerankbench.basics import typed_parquet
from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_parquet import NUMBER, TEXT, WHOLE
from rerankbench.evaluation import ranking
from rerankbench.report.arms.arms import Arm, named, refuse_mixtures
from rerankbench.report.arms.runs import PER_QUERY, SCORES, Run, refuse_nameless, refuse_nulls, telling
from rerankbench.report.arrangements.pool import Places

KEPT = 100  # ranks of a list that are compared
SCORE = re.compile("score(?:_0*([0-9]{1,3}))?")  # a column, and which layer it is of where there are several


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
        refuse_nulls(table, ["query_id"])
    return list(table["query_id"].unique().to_pylist())


def read(run: Run, ids: Sequence[str]) -> Scored:
    """The candidates and scores of a run, for these queries."""
    refuse_nameless(run)
    with telling(run, SCORES):
        table = typed_parquet.read(run.folder / SCORES, columns)
        refuse_nulls(table, ["query_id", "doc_id", "rank"])
        return scored(table, ids)


def columns(names: Sequence[str]) -> dict[str, str]:
    scores = {name: NUMBER for name in names if SCORE.fullmatch(name)}
    return {"query_id": TEXT, "doc_id": TEXT, "rank": WHOLE, **scores}


def scored(table: pa.Table, ids: Sequence[str]) -> Scored:
    """Rows as lists. Raises ValueError where they are none."""
    at = Places.of(table, ids)
    rows = zip(at.laid(table["doc_id"], None, object), at.length, strict=True)
    doc_ids = [row[:length].tolist() for row, length in rows]
    if any(len(set(each)) < len(each) for each in doc_ids):
        raise ValueError("a document is there twice for one query")
    layers = [(name, name.partition("_")[2]) for name in table.column_names[3:]]
    scores = {int(layer) if layer else None: at.laid(table[name], np.nan, float) for name, layer in layers}
    return Scored(doc_ids, scores, at.length)


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
