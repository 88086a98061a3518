"""The service over HTTP: its routes, and what each of them answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from importlib import resources
from importlib.metadata import version
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rerankbench.basics.errors import UserError
from rerankbench.engine import hardware
from rerankbench.serving import shapes
from rerankbench.serving.arm import Answering, Arm, Found
from rerankbench.serving.gate import Gate
from rerankbench.serving.limits import Limits
from rerankbench.serving.line import Job, Line
from rerankbench.serving.metrics import TYPE, Metrics
from rerankbench.serving.models import Models
from rerankbench.serving.refusal import FAILED, Refused
from rerankbench.serving.shapes import Ranking

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
EXAMPLES, LONGEST_EXAMPLE = 5, 80
ASSETS = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}


class Service:
    """Arms that answer requests, the first of them unless another is named."""

    def __init__(self, arms: Sequence[Arm], models: Models, limits: Limits, key: str | None = None) -> None:
        self.arms = {arm.name: arm for arm in arms}
        self.default, self.models, self.limits, self.key = arms[0], models, limits, key
        self.line = Line(models, limits.waiting)
        self.metrics = Metrics(self.line)
        self.started = time.time()

    def app(self) -> Gate:
        """The application, for any ASGI server; its end waits for what was begun."""

        @asynccontextmanager
        async def life(_: FastAPI) -> Any:
            yield
            await asyncio.to_thread(self.close)

        made = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=life)
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            made.add_api_route(path, self.rerank, methods=["POST"])
        made.add_api_route("/search", self.search, methods=["POST"])
        made.add_api_route("/health", self.health, methods=["GET"])
        made.add_api_route("/info", self.info, methods=["GET"])
        made.add_api_route("/metrics", self.measured, methods=["GET"])
        for path, name in (("/", "page.html"), ("/page.js", "page.js"), ("/page.css", "page.css")):
            made.add_api_route(path, asset(name), methods=["GET"])
        for kind, told in ((HTTPException, unknown), (Refused, refused), (Exception, failed)):
            made.add_exception_handler(kind, told)
        return Gate(made, self.key, self.limits, self.metrics)

    async def rerank(self, request: Request) -> Response:
        asked = shapes.rerank(await request.body(), self.limits)
        arm = self.arm(asked.model if isinstance(asked, shapes.Listed) else None)
        if not arm.deployment.steps:
            raise Refused(400, f"{arm.name} does not rerank; ask POST /search")
        if arm.deployment.needs_first_stage:
            raise Refused(
                400,
                f"{arm.name} uses the first stage's scores, which texts alone do not have; ask POST /search",
            )
        self.metrics.texts.observe(len(asked.texts))
        ordered = await self.done(request, arm.rerank(asked.query, asked.texts))
        found = Ranking(arm.name, ordered.order, ordered.descending())
        answer = shapes.answer(asked, found, request.url.path)
        return JSONResponse(answer, headers={"X-Rerankbench-Arm": header(arm.name)})

    async def search(self, request: Request) -> Response:
        asked = shapes.search(await request.body(), self.limits)
        if asked.arm is not None and asked.arm not in self.arms:
            raise Refused(404, f"arm {asked.arm}: not served; there are {', '.join(self.arms)}")
        arm = self.arm(asked.arm)
        if arm.searching is None:
            raise Refused(503, f"there is no search: {arm.lacking}")
        found = await self.done(request, arm.search(asked.query, asked.query_id))
        return JSONResponse(results(asked, arm, found))

    def arm(self, name: str | None) -> Arm:
        """The arm of that name; a name of somebody else's model, which clients insist on, means the first."""
        return self.arms.get(name or "", self.default)

    async def done(self, request: Request, course: Answering) -> Any:
        """What a course comes to, in its turn. Raises Refused where it fails, takes long, or nobody waits."""
        seconds = self.limits.seconds
        answer = asyncio.wrap_future(self.line.enter(Job(course, time.monotonic() + seconds)))
        gone = asyncio.ensure_future(request.receive())  # nothing comes behind a body but its sender's end
        try:
            await asyncio.wait({answer, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Refused(504, "nobody waits" if gone.done() else f"not done within {seconds:g} s")
            return answer.result()
        except TimeoutError:
            raise Refused(504, f"not done within {seconds:g} s") from None
        except UserError as error:
            raise Refused(502, "; ".join(error.problems)) from None
        finally:
            answer.cancel()
            gone.cancel()

    async def health(self) -> Response:
        return JSONResponse({"status": "ok", "waiting": len(self.line)})

    async def info(self) -> Response:
        return JSONResponse(
            {
                "rerankbench": version("rerankbench"),
                "model_id": self.default.name,
                "arm": self.default.name,
                "arms": [described(arm) for arm in self.arms.values()],
                "examples": self.examples(),
                "limits": vars(self.limits),
                "environment": machine(self.models),
                "started": self.started,
            }
        )

    def examples(self) -> list[str]:
        """Some queries of the evaluation, for who looks at the page."""
        searching = self.default.searching
        texts = searching.collection.query_texts if searching else []
        return [text for text in texts if len(text) <= LONGEST_EXAMPLE][:EXAMPLES]

    async def measured(self) -> Response:
        return Response(self.metrics.text(), media_type=TYPE)

    def close(self) -> None:
        """Answer what waits, then let go of the models."""
        self.line.close()
        self.models.close()


def described(arm: Arm) -> dict[str, Any]:
    """What an arm is, and by which hashes it can be told."""
    d = arm.deployment
    steps = [
        {key: getattr(step, key) for key in ("reranker", "label", "depth", "layer", "precision", "hash")}
        | {"max_length": step.settings.get("max_length")}
        for step in d.steps
    ]
    stage = {"name": d.first_stage.name, "candidates": d.first_stage.candidates, "hash": d.first_stage.hash}
    return {
        "name": d.arm,
        "chosen": d.chosen,
        "verdict": d.verdict,
        "kind": d.kind,
        "steps": steps,
        "first_stage": stage,
        "rerank": bool(d.steps) and not d.needs_first_stage,
        "search": arm.searching is not None,
        "search_why": arm.lacking,
        "judgements": d.judgements,
    }


def machine(models: Models) -> dict[str, Any]:
    """Versions, device and threads."""
    for found in models.loaded.values():
        return hardware.environment(found.context.hardware)
    return {}


def results(asked: shapes.Search, arm: Arm, found: Found) -> dict[str, Any]:
    """Both lists of a search, each document with its ranks in both (from 1)."""
    order = found.ordered.order
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)

    def entry(position: int) -> dict[str, Any]:
        score, value = float(found.first[position]), found.ordered.values[position]
        return {
            "doc_id": found.ids[position],
            "text": found.texts[position],
            "rank": int(rank[position]),
            "first_rank": position + 1,
            "first_score": score if np.isfinite(score) else None,
            "score": float(value) if np.isfinite(value) else None,
            "steps": int(found.ordered.steps[position]),
        }

    return {
        "arm": arm.name,
        "query": asked.query,
        "candidates": len(order),
        "results": [entry(position) for position in order[: asked.top_k].tolist()],
        "first_stage": [entry(position) for position in range(min(asked.top_k, len(order)))],
        "ms": {"search": found.search_ms, "rerank": found.rerank_ms},
    }


def asset(name: str) -> Any:
    """A route that answers with one of the page's files."""
    text = (resources.files("rerankbench.serving") / name).read_text(encoding="utf-8")

    async def answered() -> Response:
        headers = {"Content-Security-Policy": POLICY}
        return Response(text, media_type=ASSETS[name], headers=headers)

    return answered


async def unknown(request: Request, error: Exception) -> Response:
    """What is no route, or not by this method."""
    assert isinstance(error, HTTPException)
    said = {
        404: "there is no such path; GET /info describes the service",
        405: "this path has another method",
    }
    found = Refused(error.status_code, said.get(error.status_code, str(error.detail)))
    return JSONResponse(found.body, found.status, headers=error.headers)


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body, error.status, headers=error.headers)


async def failed(request: Request, error: Exception) -> Response:
    """A mistake of ours, of which only the log says more."""
    return await refused(request, Refused(500, FAILED))


def header(name: str) -> str:
    """A name as a header may carry it."""
    return name.encode("ascii", "backslashreplace").decode().replace("\n", " ")
