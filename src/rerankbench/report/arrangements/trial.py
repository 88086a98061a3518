"""The recommended arrangement run for real: is its order the computed one, and what does it cost?"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rerankbench.basics.errors import UserError
from rerankbench.engine.store.rows import write_atomic
from rerankbench.report.arms.runs import Run
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements.arrangement import Arrangement
from rerankbench.report.arrangements.costing import Clock
from rerankbench.report.arrangements.field import Field
from rerankbench.report.arrangements.findings import Arranged
from rerankbench.report.arrangements.pool import Pool, pools
from rerankbench.report.arrangements.values import Orders
from rerankbench.report.costs.book import Book
from rerankbench.report.race.entrants import FIRST_STAGE, RERANKER, Entrant, entrants
from rerankbench.report.race.intervals import quantile
from rerankbench.report.race.process import Lost, Process
from rerankbench.report.race.race import without_code
from rerankbench.report.race.texts import Texts, texts_of

log = logging.getLogger(__name__)

FILE, SCHEMA = "trial.json", 1
MODULE = "rerankbench.report.arrangements.service"
QUERIES, WARM_UP = 60, 3
SHARE = 0.5  # of the race's seconds, at most
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """Milliseconds a query: the mean, and the median with its interval; None where too few were timed."""

    mean: float | None
    p50: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Trial:
    """What came of it. `same`: queries whose whole order is the computed one; `why`: why there is no figure.

    Measured and predicted are of the same queries; of searching and reranking where it could be searched.
    """

    arm: str
    steps: tuple[dict[str, Any], ...]
    queries: int = 0
    same: int = 0
    whole: bool = False
    measured: Figure | None = None
    predicted: Figure | None = None
    why: str = ""

    def line(self) -> str:
        """What a reader has to know of it."""
        if self.why:
            return f"It was not run end to end: {self.why}."
        order = f"all {self.queries:,}" if self.same == self.queries else f"{self.same:,} of {self.queries:,}"
        text = f"Run end to end, it gave {order} queries exactly the computed order"
        if self.measured and self.measured.mean is not None:
            text += f" and took {self.measured.mean:,.3g} ms on average"
            if self.predicted and self.predicted.mean is not None:
                text += f" ({self.predicted.mean:,.3g} ms were predicted)"
        return f"{text}."

    def write(self, folder: Path) -> None:
        write_atomic(folder / FILE, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1).encode())


FORM = TypeAdapter(Trial)


def row_of(found: Arranged) -> int | None:
    """The arrangement to run: the recommended one, else the one to choose now; None where that is plain."""
    for row in (found.headline.arm, found.headline.choice):
        if row is not None:
            return row if row >= found.field.plain else None
    return None


def hold(
    found: Arranged, runs: Sequence[Run], book: Book, seconds: float, trusted: bool = True
) -> Trial | None:
    """Run the recommended arrangement for at most half of a race's seconds; None where none is recommended.

    trusted: whether the runs' configs are one's own, so that models may bring the code that they allow.
    """
    row = row_of(found)
    if row is None:
        return None
    field, until = found.field, time.monotonic() + SHARE * seconds
    each = field.arrangement(row)
    assert each is not None
    name, steps = field.name(row), tuple(arranging.step(arm) for arm in field.steps(row))
    log.info("trial: running %s from text to final order, for at most %.0f s", name, SHARE * seconds)
    try:
        cast = Cast.of(field, each, runs, trusted)
        return Stage(field, each, cast, book, until).played(name, steps)
    except (UserError, Lost) as error:
        why = "; ".join(error.problems) if isinstance(error, UserError) else str(error)
        return Trial(name, steps, why=why.rstrip("."))


@dataclass(frozen=True)
class Cast:
    """Who is needed: the first stage, each step's reranker, and their texts."""

    stage: Entrant
    steps: tuple[Entrant, ...]
    texts: Texts

    @classmethod
    def of(cls, field: Field, each: Arrangement, runs: Sequence[Run], trusted: bool) -> Cast:
        """Raises UserError where one of the rerankers cannot be loaded again."""
        known = entrants(runs) if trusted else [without_code(entrant) for entrant in entrants(runs)]
        arms = [field.contest.arms[row] for row in each.steps]
        stage = next(e for e in known if (e.kind, e.key) == (FIRST_STAGE, arms[0].stage))
        steps = [next(e for e in known if (e.kind, e.key) == (RERANKER, arm.reranker)) for arm in arms]
        if problems := sorted({step.why for step in steps if step.why}):
            raise UserError(problems)
        return cls(stage, tuple(steps), texts_of([stage, *steps]))


@dataclass(frozen=True)
class Stage:
    """A trial under way."""

    field: Field
    each: Arrangement
    cast: Cast
    book: Book
    until: float

    def played(self, name: str, steps: tuple[dict[str, Any], ...]) -> Trial:
        """Ask query by query, in the order of the race. Raises Lost where it cannot be loaded, or answer."""
        process = Process("service", self.cast.steps[0].run.command_folder, MODULE)
        ids = self.cast.texts.ids[:QUERIES]
        try:
            process.ask(self.greeting(), self.until)
            for place in range(min(WARM_UP, len(ids))):  # do not count
                process.ask(self.question(place), self.until)
            answers = self.answers(process, len(ids))
        finally:
            process.kill()
        ids, computed = ids[: len(answers)], self.computed()
        same = sum(answer["ids"] == computed[query] for query, answer in zip(ids, answers, strict=True))
        took = np.array([(answer["search_ms"] or 0.0) + answer["rerank_ms"] for answer in answers])
        predicted = figure(self.predicted(ids))
        return Trial(name, steps, len(ids), same, self.searches, figure(took), predicted)

    def answers(self, process: Process, count: int) -> list[dict[str, Any]]:
        """As many answers as there is time for, one at least."""
        found: list[dict[str, Any]] = []
        try:
            for place in range(count):
                found.append(process.ask(self.question(place), self.until))
        except Lost:
            if not found or time.monotonic() < self.until:
                raise
        return found

    @property
    def searches(self) -> bool:
        """Whether candidates can be searched for; else they are given."""
        return not self.cast.stage.why

    def greeting(self) -> dict[str, Any]:
        stage, arms = self.cast.stage, [self.field.contest.arms[row] for row in self.each.steps]
        steps = [
            {"config": str(entrant.run.config), "key": entrant.key, "layer": arm.layer, "depth": arm.depth}
            for entrant, arm in zip(self.cast.steps, arms, strict=True)
        ]
        how = {name: getattr(self.each, name) for name in ("kind", "method", "weight", "gap")}
        found = {"config": str(stage.run.config), "key": stage.key if self.searches else ""}
        return {"kind": "service", "stage": found, "steps": steps, "how": how}

    def question(self, place: int) -> dict[str, Any]:
        texts, stage = self.cast.texts, self.cast.stage.key
        query_id = texts.ids[place]
        asked: dict[str, Any] = {"query": texts.query(place), "query_id": query_id}
        if not self.searches:
            ids = texts.rows[stage].get(query_id, [])
            row = self.field.contest.query_ids.index(query_id)
            asked |= {"ids": ids, "documents": texts.documents(stage, place, len(ids))}
            asked |= {"scores": self.pool.first[row, : len(ids)].tolist()}
        return asked

    @cached_property
    def pool(self) -> Pool:
        found, lacking = pools(self.field.contest, self.each.steps)
        if lacking or not found:
            raise UserError("its runs' scores are no longer at hand")
        return found[0]

    def computed(self) -> dict[str, list[str]]:
        """Each query's documents in the order that stored scores give."""
        _, order = Orders(self.pool, self.field.contest.arms)(self.each)
        listed = self.cast.texts.rows[self.cast.stage.key]
        found = {}
        for query, positions in zip(self.field.contest.query_ids, order.tolist(), strict=True):
            ids = listed.get(query, [])
            found[query] = [ids[i] for i in positions if i < len(ids)]
        return found

    def predicted(self, asked: Sequence[str]) -> Times:
        """The raced milliseconds of some queries, as far as they were timed."""
        race = self.book.race
        if race is None:
            return np.zeros(0)
        clock = Clock(self.field.contest, self.book)
        times = clock.reranking(self.each)
        times = times + clock.searching(self.each) if self.searches else times
        return np.asarray(times[[i for i, query in enumerate(race.ids) if query in set(asked)]])


def figure(values: Times) -> Figure:
    known = values[np.isfinite(values)]
    found = quantile(known)
    p50 = (found.value, found.low, found.high) if math.isfinite(found.high - found.low) else (None,) * 3
    return Figure(float(known.mean()) if len(known) else None, *p50)


def read(folder: Path, found: Arranged | None) -> Trial | None:
    """The trial that was held of what is recommended now, if one was."""
    row = None if found is None else row_of(found)
    if found is None or row is None:
        return None
    try:
        told = json.loads((folder / FILE).read_bytes())
        held = FORM.validate_python(told)
    except (OSError, ValueError):
        return None
    now = (SCHEMA, found.field.name(row), len(found.field.steps(row)))
    return held if (told.get("schema"), held.arm, len(held.steps)) == now else None
