"""Requests and answers of `POST /rerank` as clients of Cohere, Jina and text-embeddings-inference speak.

Fields that would change how texts are read (`max_tokens_per_doc`, `truncate`) are accepted and not followed:
texts are read as they were when the arm was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rerankbench.basics.arrays import Ints
from rerankbench.basics.visible import visible
from rerankbench.serving.limits import Limits
from rerankbench.serving.refusal import Refused

Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
MOST_PROBLEMS = 3
INFINITY = "/rerank"


class Body(BaseModel):
    """Unknown fields are another client's and are left alone; types are not bent."""

    model_config = ConfigDict(strict=True, extra="ignore")

    query: str


class Document(BaseModel):
    """A text with other fields around it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    text: str


class Listed(Body):
    """Cohere's, Jina's, vLLM's and Infinity's request."""

    model: str | None = None
    documents: list[str | Document]
    top_n: Count | None = None
    return_documents: bool | None = None

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


class Plain(Body):
    """text-embeddings-inference's request."""

    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Search(Body):
    """A query over the collection; `query_id` matters where a document equal to its query is left out."""

    arm: str | None = None
    top_k: Annotated[int, Field(ge=1, le=10_000)] = 10
    query_id: str = ""


LISTED, PLAIN, SEARCH = TypeAdapter(Listed), TypeAdapter(Plain), TypeAdapter(Search)
ANY = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, eq=False)
class Ranking:
    """Some texts in their new order: `order` positions best first, `scores` [ranks] that never rise."""

    arm: str
    order: Ints
    scores: NDArray[np.float64]


def rerank(data: bytes, limits: Limits) -> Listed | Plain:
    """A body of `POST /rerank`. Raises Refused with what is wrong."""
    given = parsed(ANY, data)
    if given.get("texts") is not None and given.get("documents") is not None:
        raise Refused(400, "both texts and documents are given; send one of them")
    key = "documents" if given.get("texts") is None else "texts"
    if isinstance(given.get(key), list):  # before each of them is looked at
        refuse_number(key, len(given[key]), limits)
    asked: Listed | Plain = parsed(PLAIN if key == "texts" else LISTED, data)
    refuse_query(asked.query, limits)
    for place, text in enumerate(asked.texts):
        if len(text) > limits.characters:
            raise Refused(
                413, f"text {place}: {len(text):,} characters; at most {limits.characters:,} are read"
            )
    return asked


def search(data: bytes, limits: Limits) -> Search:
    """A body of `POST /search`. Raises Refused with what is wrong."""
    asked: Search = parsed(SEARCH, data)
    refuse_query(asked.query, limits)
    return asked


def refuse_number(key: str, number: int, limits: Limits) -> None:
    if not number:
        raise Refused(400, f"{key}: empty; send at least one text")
    if number > limits.documents:
        raise Refused(413, f"{number:,} texts; at most {limits.documents:,} are taken at once")


def refuse_query(query: str, limits: Limits) -> None:
    if not query.strip():
        raise Refused(400, "query: empty")
    if len(query) > limits.characters:
        raise Refused(413, f"query: {len(query):,} characters; at most {limits.characters:,} are read")


def parsed(form: TypeAdapter[Any], data: bytes) -> Any:
    """JSON of one form. Raises Refused with its first problems."""
    try:
        return form.validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_PROBLEMS]
        raise Refused(400, "; ".join(problem(each["loc"], each["msg"]) for each in found)) from None


def problem(place: Sequence[int | str], why: str) -> str:
    where = ".".join(str(part) for part in place if part != "Document")
    return visible(f"{where}: {why}" if where else f"the body: {why}")


def answer(asked: Listed | Plain, found: Ranking, path: str) -> Any:
    """The answer in the shape of the request and its path, best first."""
    return plain(asked, found) if isinstance(asked, Plain) else listed(asked, found, path)


def listed(asked: Listed, found: Ranking, path: str) -> dict[str, Any]:
    """With scores as they were measured: whatever the model gives, not squeezed into 0 to 1.

    Infinity's client, which asks at INFINITY, insists on its own name for such a list.
    """
    texts, results = asked.texts, []
    for position, score in zip(found.order.tolist(), found.scores.tolist(), strict=True):
        entry: dict[str, Any] = {"index": position, "relevance_score": score}
        if asked.return_documents:
            entry["document"] = {"text": texts[position]}
        results.append(entry)
    return {
        "id": "rerankbench",
        "object": "rerank" if path == INFINITY else "list",
        "model": found.arm,
        "results": results[: asked.top_n],
        "usage": {"total_tokens": 0, "prompt_tokens": 0},
        "meta": {"api_version": {"version": "2"}},
    }


def plain(asked: Plain, found: Ranking) -> list[dict[str, Any]]:
    """Between 0 and 1 unless `raw_scores`; the order is that of the raw ones."""
    scores = found.scores if asked.raw_scores else sigmoid(found.scores)
    return [
        {"index": position, "score": score} | ({"text": asked.texts[position]} if asked.return_text else {})
        for position, score in zip(found.order.tolist(), scores.tolist(), strict=True)
    ]


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scores, -700, 700))))
