"""The page on which a person judges, for this machine's browser alone.

Its address holds a token, requests under another name than this machine's are refused (a page elsewhere could
otherwise reach it by a name that it makes point here), and no text becomes markup.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rerankbench.basics.visible import visible_lines
from rerankbench.judging.queue import Queue
from rerankbench.judging.record import JUDGED, MOST_NOTE
from rerankbench.report.page.html import environment

HOST = "127.0.0.1"
MOST_BYTES = 100_000  # of an answer
WORDS = ("not relevant", "related, no answer", "answers it in part", "answers it")  # of the usual four grades
HARMLESS = re.compile("([\u200e\u200f\u061c\u00ad\u200b]+)")
Next = Callable[[Request], Awaitable[Response]]


class Given(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(strict=True, extra="forbid")

    query_id: Annotated[str, Field(max_length=10_000)]
    doc_id: Annotated[str, Field(max_length=10_000)]
    answer: Literal["judged", "skipped", "cannot tell"]
    grade: Annotated[int, Field(ge=0)] | None = None
    note: Annotated[str, Field(max_length=MOST_NOTE)] = ""


def page(queue: Queue, token: str, port: int) -> FastAPI:
    """The application, reached at /TOKEN/ only."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    nonce = secrets.token_urlsafe(16)
    app.middleware("http")(guard(token, port, nonce))

    @app.get(f"/{token}/")
    def shown() -> HTMLResponse:
        template = environment(Path(__file__).parent).get_template("judge.html")
        highest = queue.session.highest
        words = WORDS if highest == len(WORDS) - 1 else [""] * (highest + 1)
        judge = queue.session.judge.partition(":")[2]
        return HTMLResponse(template.render(nonce=nonce, words=words, judge=judge))

    @app.get(f"/{token}/pair")
    def pair() -> dict[str, Any]:
        return told(queue)

    @app.post(f"/{token}/answer")
    def answer(given: Given) -> Response:
        if (given.query_id, given.doc_id) not in queue.session.known:
            return JSONResponse({"error": "this pair is in no list"}, 422)
        if (given.grade is not None and given.grade <= queue.session.highest) != (given.answer == JUDGED):
            return JSONResponse({"error": "this is not a grade"}, 422)
        pair = given.query_id, given.doc_id
        kept = queue.session.answer(pair, given.answer, given.grade, given.note)
        return saved(queue, lambda: queue.answer(kept))

    @app.post(f"/{token}/undo")
    def undo() -> Response:
        return saved(queue, queue.undo)

    return app


def saved(queue: Queue, save: Callable[[], None]) -> Response:
    """What comes next once an answer is on the disk; what the disk said where it is not."""
    try:
        save()
    except OSError as error:
        return JSONResponse({"error": f"not saved: {error.strerror}"}, 507)
    return JSONResponse(told(queue))


def told(queue: Queue) -> dict[str, Any]:
    """The pair to judge, and how far it is; nothing of who ranked it where."""
    found, progress = queue.front(), queue.progress
    state = {"judged": progress.judged, "left": progress.left, "settled": progress.settled}
    if found is None:
        return state | {"pair": None, "progress": queue.session.finished()}
    query_id, doc_id = found
    texts = queue.session.texts
    title, text = texts.parts(doc_id)
    return state | {
        "pair": {"query_id": query_id, "doc_id": doc_id},
        "query": readable(texts.queries.get(query_id, "")),
        "title": readable(title),
        "document": readable(text),
    }


def readable(text: str) -> str:
    """A text as its reader should see it: what could mislead is shown by its escape.

    Line ends of any system are line ends. Marks of direction and places where words may be broken, which
    texts of many languages hold, stay: each text has a box of its own, which they cannot leave.
    """
    parts = HARMLESS.split(text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(part if HARMLESS.fullmatch(part) else visible_lines(part) for part in parts)


def guard(token: str, port: int, nonce: str) -> Callable[[Request, Next], Awaitable[Response]]:
    """Refuse whoever does not know the token, does not come from here, or sends too much."""
    names = {f"{HOST}:{port}", f"localhost:{port}"}
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }

    async def check(request: Request, proceed: Next) -> Response:
        first = (*request.url.path.split("/"), "")[1]  # of `OPTIONS *` there is no second part
        known = secrets.compare_digest(first.encode(), token.encode())
        origin = request.headers.get("origin")
        ours = origin is None or origin in {f"http://{name}" for name in names}
        here = request.headers.get("host") in names and ours
        size = request.headers.get("content-length", "0")
        small = size.isascii() and size.isdecimal() and int(size) <= MOST_BYTES
        if request.method == "POST":
            small = small and "content-length" in request.headers
            here = here and request.headers.get("content-type", "").startswith("application/json")
        response = await proceed(request) if known and here and small else Response(status_code=404)
        response.headers.update(headers)
        return response

    return check
