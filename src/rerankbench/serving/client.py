"""Asking a service that reranks, in one of the shapes that such services speak."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked
from rerankbench.basics.visible import visible
from rerankbench.rerankers.served.answer import Malformed, Places, at

TRIES, MOST_WAIT = 5, 60.0
SECONDS = 120.0


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
    scores: NDArray[np.float32] | None
    ms: float


@dataclass(frozen=True)
class Client:
    """One connection to a service. `model` is what it is told; another model's name is often refused."""

    url: str
    shape: Shape
    model: str
    key: str | None = None

    def address(self) -> str:
        return self.url if urlsplit(self.url).path.strip("/") else self.url.rstrip("/") + self.shape.path

    def rerank(self, http: httpx.Client, query: str, texts: Sequence[str]) -> Answer:
        """Raises UserError where there is no answer, or none that is one."""
        asked = {"query": query, self.shape.texts: list(texts), **self.shape.more}
        asked |= {"model": self.model} if self.shape.named else {}
        found, ms = self.post(http, self.address(), asked)
        try:
            scores = self.shape.places.scores(found, len(texts))
        except Malformed as error:
            raise UserError(f"{self.address()}: its answer is no list of scores: {error}") from None
        entries = at(found, self.shape.places.results)
        return Answer([int(entry["index"]) for entry in entries], scores, ms)

    def search(self, http: httpx.Client, query: str, query_id: str, ids: Sequence[str]) -> Answer:
        """The whole pipeline's order of the candidates `ids`. Raises UserError where it finds others."""
        asked = {"query": query, "query_id": query_id, "arm": self.model, "top_k": max(1, len(ids))}
        found, ms = self.post(http, f"{self.url.rstrip('/')}/search", asked)
        place = {name: number for number, name in enumerate(ids)}
        listed = [str(entry["doc_id"]) for entry in found["results"]]
        return Answer([place.get(name, -1) for name in listed], None, ms)

    def searches(self) -> bool:
        """Whether it searches a collection for the model, too."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with httpx.Client(timeout=SECONDS, trust_env=False, headers=headers) as http:
                found = http.get(f"{self.url.rstrip('/')}/info").json()
            return any(arm["name"] == self.model and arm["search"] for arm in found["arms"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    def post(self, http: httpx.Client, address: str, asked: dict[str, Any]) -> tuple[Any, float]:
        """The answer and its milliseconds; a service that is busy is asked again when it says so."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        for _ in range(TRIES):
            began = time.perf_counter()
            try:
                reply = http.post(address, json=asked, headers=headers)
                if reply.status_code != 429:
                    return self.read(address, reply), (time.perf_counter() - began) * 1000
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
                raise UserError(masked(f"{address}: does not answer ({why}); is it running there?")) from None
            time.sleep(waiting(reply.headers.get("Retry-After", "1")))
        raise UserError(f"{address}: is too busy (429, {TRIES} times); try again with fewer --clients")

    def read(self, address: str, reply: httpx.Response) -> Any:
        if reply.status_code == 200:
            try:
                return reply.json()
            except ValueError:
                raise UserError(f"{address}: its answer is no JSON") from None
        said = visible(" ".join(reply.text.split())[:200])
        raise UserError(masked(f"{address}: answers {reply.status_code}: {said}"))


def waiting(told: str) -> float:
    try:
        return min(MOST_WAIT, max(0.1, float(told)))
    except ValueError:
        return 1.0
