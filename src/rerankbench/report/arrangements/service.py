"""An arrangement as a service would answer with it: a process that searches, reranks and orders one query.

It speaks as a contestant of the race does (`report.race.contestant`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import ranking
from rerankbench.evaluation.ranking import Order
from rerankbench.report.arrangements import orders
from rerankbench.report.arrangements.arrangement import EXIT, FUSION
from rerankbench.report.race.contestant import Contestant, Reranking, Searching, main

Scores = NDArray[np.float32]


class Service(Contestant):
    """Everything that an arrangement needs, loaded in one process.

    Its first message has `stage` and `steps`, each with the config of a run and the content hash of what is
    wanted of it (a step its layer and depth too), and `how`: the arrangement's own settings.
    """

    def __init__(self, message: dict[str, Any]) -> None:
        self.how, self.stage, self.searching = message["how"], message["stage"], None
        if self.stage["key"]:
            self.searching = Searching(self.stage)
        models = {step["key"]: step for step in message["steps"]}
        self.models = {key: Reranking(step) for key, step in models.items()}
        self.steps = message["steps"]

    def greeting(self) -> dict[str, Any]:
        return next(iter(self.models.values())).greeting()

    def memory(self) -> dict[str, float | None]:
        return next(iter(self.models.values())).memory()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """One query: its documents' ids in the final order, and milliseconds of searching and reranking."""
        began = time.perf_counter()
        ids, texts, first = self.candidates(message)
        found = time.perf_counter()
        query = Query(self, message["query"], texts, first)
        order = query.order()
        self.synchronize()
        ended = time.perf_counter()
        searching = (found - began) * 1000 if self.searching else None
        return {"ids": [ids[i] for i in order], "search_ms": searching, "rerank_ms": (ended - found) * 1000}

    def synchronize(self) -> None:
        for model in self.models.values():
            model.context.hardware.synchronize()

    def candidates(self, message: dict[str, Any]) -> tuple[list[str], list[str], Scores]:
        """Ids, texts and first-stage scores, best first: searched, or as they are given."""
        if self.searching is None:
            return message["ids"], message["documents"], np.array(message["scores"], np.float32)
        found: tuple[list[str], list[str], Scores] = self.searching.candidates(
            message["query"], message["query_id"]
        )
        return found


class Query:
    """One query on its way through the steps; scores [1, candidates] are computed where a step needs them."""

    def __init__(self, service: Service, text: str, documents: Sequence[str], first: Scores) -> None:
        self.service, self.text, self.documents = service, text, documents
        self.first = first[None]
        self.length = np.array([len(documents)])

    def order(self) -> list[int]:
        """Positions of the candidates, best first."""
        how, steps = self.service.how, self.service.steps
        if how["kind"] == FUSION:
            return self.fused(steps)
        order: Order = ranking.first_stage(self.first.shape)
        scores, known = self.first, self.length
        for number, step in enumerate(steps, start=1):
            last = how["kind"] == EXIT and number == len(steps)
            if last and orders.gaps(scores, order, known)[0] > how["gap"]:
                break
            scores = self.scores(step, order[0, : step["depth"]])
            order = ranking.rerank_again(order, scores, step["depth"])
            known = np.minimum(self.length, step["depth"])
        return order[0].tolist()

    def fused(self, steps: Sequence[dict[str, Any]]) -> list[int]:
        how, depth = self.service.how, steps[0]["depth"]
        top = np.arange(min(depth, len(self.documents)))
        parts = [self.first] if len(steps) == 1 else []
        parts += [self.scores(step, top) for step in steps]
        one, two = (orders.normalised(part[:, :depth], self.length, how["method"]) for part in parts)
        head = orders.mixed(one, two, how["weight"])[0].tolist()
        return [*head, *range(len(head), len(self.documents))]

    def scores(self, step: dict[str, Any], where: NDArray[np.integer]) -> Scores:
        """A step's scores of the candidates at some positions, NaN elsewhere."""
        found = np.full(self.first.shape, np.nan, np.float32)
        texts = [self.documents[i] for i in where.tolist()]
        found[0, where] = self.service.models[step["key"]].scores(self.text, texts, step["layer"])
        return found


if __name__ == "__main__":
    main({"service": Service})
