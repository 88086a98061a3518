"""Asking a service that reranks, in one of the shapes that such services speak."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError
from rerankbench.rerankers.served.about import MOST
from rerankbench.rerankers.served.answer import Malformed, Places, at
from rerankbench.rerankers.served.connection import Connection, Habits, Trouble
from rerankbench.rerankers.served.key import Key

SECONDS, REPEATS = 120.0, 3


@dataclass(frozen=True)
class Shape:
    """Where a service is asked, what the texts are called, and where the scores stand in its answer."""

    path: str
    texts: str
    more: Mapping[str, Any]
    places: Places
    named: bool = True  # whether it wants to know the model


SHAPES = {
    "jina": Shape("/v1/rerank", "documents", {"return_documents": False}, Places()),
    "cohere": Shape("/v2/rerank", "documents", {}, Places()),
    "tei": Shape(
        "/rerank", "texts", {"raw_scores": True, "truncate": True}, Places("", "index", "score"), False
    ),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """Positions of the texts, best first, their scores [texts], and the milliseconds that it took."""

    order: list[int]
    scores: Floats | None
    ms: float


class Checked(Connection):
    """A service that is compared with what was measured."""

    kept = "is it running there, and does it answer so many --clients?"

    def cure(self, status: int, answer: httpx.Response) -> str:
        if answer.is_redirect:
            return "; it redirects, which is not followed: give the right --url"
        if status in (401, 403):
            return "; name the variable that holds its key: --key-variable NAME"
        if status in (404, 405):
            return "; give its whole address, --url http://HOST:PORT/PATH, and its model's name, --model NAME"
        return "; does it speak another --shape, or call its model otherwise, --model NAME?"

    @property
    def too_slow(self) -> str:
        return f"no whole answer within {self.habits.timeout:g} s"


class Client:
    """A service that threads may ask. `model` is what it is told; another model's name is often refused."""

    def __init__(self, url: str, shape: Shape, model: str, key: Key | None = None, clients: int = 1) -> None:
        whole = bool(urlsplit(url).path.strip("/"))
        self.shape, self.model = shape, model
        self.path = "" if whole else shape.path
        self.connection = Checked(url.rstrip("/"), Habits(clients, SECONDS, REPEATS), key)
        self.info = {} if whole else self.told()
        most = self.info.get(MOST)
        self.most = most if isinstance(most, int) and most > 0 and not shape.named else None

    @property
    def address(self) -> str:
        return self.connection.place(self.path)

    def told(self) -> dict[str, Any]:
        """What it says of itself, as text-embeddings-inference and our own service do."""
        try:
            found = self.connection.parsed("/info", self.connection.once("GET", "/info", b""))
        except (Trouble, UserError):
            return {}
        return found if isinstance(found, dict) else {}

    def rerank(self, query: str, texts: Sequence[str]) -> Answer:
        """Raises UserError where there is no answer, or none that is one."""
        step = self.most or max(len(texts), 1)
        parts = [self.part(query, texts[start : start + step]) for start in range(0, len(texts), step)]
        if len(parts) == 1:
            return parts[0]
        scores = np.concatenate([part.scores for part in parts if part.scores is not None])
        order = np.argsort(-scores, kind="stable")
        return Answer(order.tolist(), scores, sum(part.ms for part in parts))

    def part(self, query: str, texts: Sequence[str]) -> Answer:
        asked = {"query": query, self.shape.texts: list(texts), **self.shape.more}
        found, ms = self.post(self.path, asked | ({"model": self.model} if self.shape.named else {}))
        try:
            scores = self.shape.places.scores(found, len(texts))
        except Malformed as error:
            raise UserError(f"{self.address}: its answer is not a list of scores: {error}") from None
        entries = at(found, self.shape.places.results)
        return Answer([int(entry["index"]) for entry in entries], scores, ms)

    def search(self, query: str, query_id: str, ids: Sequence[str]) -> Answer:
        """The whole pipeline's order of the candidates `ids`; others are -1. Raises UserError."""
        asked = {"query": query, "query_id": query_id, "arm": self.model, "top_k": max(1, len(ids))}
        found, ms = self.post("/search", asked)
        listed = at(found, "results")
        if not isinstance(listed, list):
            raise UserError(f"{self.connection.place('/search')}: its answer is not a list of results")
        place = {name: number for number, name in enumerate(ids)}
        return Answer([place.get(str(at(entry, "doc_id")), -1) for entry in listed], None, ms)

    def searches(self) -> bool:
        """Whether it searches a collection for the model, too."""
        arms = self.info.get("arms")
        return isinstance(arms, list) and any(
            at(arm, "name") == self.model and at(arm, "search") for arm in arms
        )

    def post(self, path: str, asked: dict[str, Any]) -> tuple[Any, float]:
        """The answer, and the milliseconds of the attempt that succeeded."""
        began = [0.0]
        found = self.connection.post(path, asked, lambda: began.append(time.perf_counter()))
        return found, (time.perf_counter() - began[-1]) * 1000

    def close(self) -> None:
        self.connection.close()
