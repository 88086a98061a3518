"""The queries of an evaluation, replayed against a running service: is it what was measured?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.report.arms.arms import Contest
from rerankbench.report.arms.runs import Run
from rerankbench.report.arrangements.arrangement import CASCADE, Arrangement
from rerankbench.report.arrangements.pool import Pool, pools
from rerankbench.report.arrangements.values import Orders
from rerankbench.report.deployment import Deployment
from rerankbench.report.race.entrants import FIRST_STAGE, RERANKER, entrants
from rerankbench.report.race.texts import Texts, texts_of


@dataclass(frozen=True, eq=False)
class Measured:
    """What runs found of a deployment's arm: each query's candidates, their scores and their order."""

    deployment: Deployment
    contest: Contest
    runs: Sequence[Run]

    def refuse(self) -> None:
        """Raise UserError where there is nothing to compare."""
        if not self.deployment.steps:
            raise UserError(f"{self.deployment.arm}: does not rerank, so there is nothing to compare")

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The plain arms that are its steps. Raises UserError where the runs are others."""
        d, keys = self.deployment, [arm.key for arm in self.contest.arms]
        wanted = [(d.first_stage.hash, step.hash, step.layer, step.depth) for step in d.steps]
        lost = [step.reranker for step, key in zip(d.steps, wanted, strict=True) if key not in keys]
        if lost:
            raise UserError(f"{', '.join(lost)}: the runs here did not measure what deploy.yaml names")
        return tuple(keys.index(key) for key in wanted)

    @cached_property
    def pool(self) -> Pool:
        found, lacking = pools(self.contest, self.rows)
        if lacking or not found:
            why = "; ".join(f"{each.reranker}: {each.why}" for each in lacking)
            raise UserError(f"the runs' scores are no longer at hand: {why}; run the sweep again")
        return found[0]

    @cached_property
    def order(self) -> Ints:
        """Positions [queries, candidates], best first, as stored scores give them."""
        d = self.deployment
        how = d.how
        each = Arrangement(how["kind"], self.rows, how["method"] or "", how["weight"], how["gap"])
        return np.asarray(Orders(self.pool, self.contest.arms)(each)[1])

    @cached_property
    def texts(self) -> Texts:
        known = {(each.kind, each.key): each for each in entrants(self.runs, paid=True)}
        arms = [self.contest.arms[row] for row in self.rows]
        stage = known[FIRST_STAGE, arms[0].stage]
        return texts_of([stage, *(known[RERANKER, arm.reranker] for arm in arms)])

    @property
    def depth(self) -> int:
        return self.deployment.steps[0].depth

    @property
    def scores(self) -> Floats | None:
        """Scores [queries, candidates] of the only step; None where several numbers decide."""
        alone = self.deployment.how["kind"] == CASCADE and len(self.rows) == 1
        return self.pool.scored[self.rows[0]] if alone else None

    def candidates(self, query_id: str) -> list[str]:
        return self.texts.rows[self.deployment.first_stage.hash].get(query_id, [])


@dataclass(frozen=True, eq=False)
class Question:
    """One query of the evaluation: its row, and its candidates down to where they are asked for."""

    row: int
    query_id: str
    query: str
    ids: list[str]
    documents: list[str]


def questions(found: Measured, depth: int | None) -> list[Question]:
    """All queries with candidates, in the order of the race; `depth` None: whole lists."""
    texts, made = found.texts, []
    stage, rows = found.deployment.first_stage.hash, {q: i for i, q in enumerate(found.contest.query_ids)}
    for place, query_id in enumerate(texts.ids):
        ids = found.candidates(query_id)[:depth]
        if ids and query_id in rows:
            documents = texts.documents(stage, place, len(ids))
            made.append(Question(rows[query_id], query_id, texts.query(place), ids, documents))
    return made
