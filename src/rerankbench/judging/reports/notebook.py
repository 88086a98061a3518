"""How much arms differ that a notebook holds, as a report says it of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.api import order
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.experiment.tracking.outputs import dataset_of
from rerankbench.judging.lists import KEPT, Lists
from rerankbench.judging.reports import pages
from rerankbench.judging.reports.differences import Differences
from rerankbench.judging.reports.differences import differences as found_in
from rerankbench.judging.texts import Texts
from rerankbench.report.arms.arms import Arm
from rerankbench.report.arms.naming import NO_RERANKING
from rerankbench.report.arms.runs import Run
from rerankbench.report.settings import Report


class Shown(Differences):
    """Differences that print as the report of a sweep."""

    def __str__(self) -> str:
        return pages.markdown(self)

    __repr__ = _repr_markdown_ = __str__


def differences(
    collection: Collection, candidates: Candidates, scores: Mapping[str, NDArray[np.float32]]
) -> Differences:
    """How much rerankers change the candidates' order, and what judging would settle which is best.

    scores: by the reranker's name, what `score` gave: [queries, depth, layers], of which the last layer
    counts. No judgements are needed. Printed, it is the report of a sweep: overlaps, the queries on which the
    arms differ most, and about how many pairs have to be judged (`left`, of `left_queries` queries). Raises
    ValueError for candidates or scores of something else.
    """
    run = Run(Path(), collection.name, {"status": "ok", "dataset": dataset_of(collection), "notes": []})
    length = candidates.lengths()
    arms, orders = [], []
    for name, given in {NO_RERANKING: None, **scores}.items():
        positions, depth = order(collection, candidates, given)
        reranker = "" if given is None else name
        arms.append(Arm(collection.name, reranker, None, depth, run, curve=name, name=name))
        orders.append(np.where(positions < length[:, None], positions, -1)[:, :KEPT])
    ids = [tuple(collection.corpus.ids(row[row >= 0])) for row in candidates.rows]
    lists = Lists(tuple(arms), tuple(collection.query_ids), tuple(ids), np.stack(orders).astype(np.int32))
    found = found_in([run], lists, Texts(collection), Report())
    return Shown(**vars(replace(found, costs=())))  # nothing was timed
