"""An arrangement as a service would answer with it: a process that searches, reranks and orders one query.

It speaks as a contestant of the race does (`report.race.contestant`).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arrangements.course import Course
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
            self.searching = Searching.asked(self.stage)
        models = {step["key"]: step for step in message["steps"]}
        self.models = {key: Reranking.asked(step) for key, step in models.items()}
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
        order = self.ordered(Course(self.how, self.steps, message["query"], texts, first))
        self.synchronize()
        ended = time.perf_counter()
        searching = (found - began) * 1000 if self.searching else None
        return {"ids": [ids[i] for i in order], "search_ms": searching, "rerank_ms": (ended - found) * 1000}

    def ordered(self, course: Course) -> list[int]:
        """Positions of the candidates, best first."""
        steps = course.run()
        try:
            asked = next(steps)
            while True:
                model = self.models[asked.step["key"]]
                asked = steps.send(model.scores(asked.query, asked.documents, asked.step["layer"]))
        except StopIteration as end:
            return list(end.value.order.tolist())

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


if __name__ == "__main__":
    main({"service": Service})
