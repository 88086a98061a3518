"""Who may ask: a key where there is one, the right host where there is none; and how much may be sent."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rerankbench.rerankers.served.address import stays_here
from rerankbench.serving.limits import Limits
from rerankbench.serving.metrics import Metrics
from rerankbench.serving.refusal import FAILED, Refused

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/", "/page.js", "/page.css", "/health")  # without a key: nothing of the collection is in them
ROUTES = (*OPEN, "/info", "/metrics", "/search", "/rerank", "/v1/rerank", "/v2/rerank")
TOGETHER = 32  # bodies of the largest size whose bytes may be held at the same time
SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """Around the application: refuses what must not reach it, and turns every failure into a line of JSON.

    key: what `Authorization: Bearer` has to bring; None: nothing, and then only hosts of this machine are
    answered, so that no page of another site can ask under a name of its own (DNS rebinding), and no page but
    the service's own, so that none can keep it busy.
    """

    def __init__(self, app: App, key: str | None, limits: Limits, metrics: Metrics) -> None:
        self.app, self.key, self.limits, self.metrics = app, key, limits, metrics
        self.held = 0  # bytes of the bodies that are read or answered now

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), [0]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message.get("headers", []), *SAFE]
            await send(message)

        try:
            await self.admitted(scope, receive, told)
        except Refused as refused:
            await answer(told, refused)
        except Exception:
            log.exception("a request failed")
            if not status[0]:
                await answer(told, Refused(500, FAILED))
        finally:
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self.metrics.note(route, status[0], time.perf_counter() - began)

    async def admitted(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on with its whole body. Raises Refused."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        self.refuse_host(headers.get(b"host", b""), headers.get(b"origin"))
        self.refuse_key(scope["path"], headers.get(b"authorization", b""))
        body = bytearray()
        try:
            await self.fill(body, headers, receive)
            handed = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

            async def once() -> Message:
                return next(handed, None) or await receive()

            await self.app(scope, once, send)
        finally:
            self.held -= len(body)

    def refuse_host(self, host: bytes, origin: bytes | None) -> None:
        if self.key is None and not stays_here(f"//{host.decode('latin-1')}"):
            raise Refused(421, "only requests to this machine's own name are answered: localhost")
        if self.key is None and origin not in (None, b"http://" + host):
            raise Refused(403, "requests by pages of another address are refused")

    def refuse_key(self, path: str, given: bytes) -> None:
        if self.key is None or path in OPEN:
            return
        kind, _, word = given.partition(b" ")
        right = hmac.compare_digest(word.strip(), self.key.encode())
        if kind.lower() != b"bearer" or not right:
            raise Refused(401, "give the key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})

    async def fill(self, body: bytearray, headers: dict[bytes, bytes], receive: Receive) -> None:
        """Read all of a body. Raises Refused for more than may be sent, if possible before it is read."""
        told, most = headers.get(b"content-length", b"0"), self.limits.bytes
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(415, "the body is compressed; send it as it is, without Content-Encoding")
        if told.isdigit() and int(told[:20]) > most:
            raise Refused(413, f"the body has {int(told[:20]):,} bytes; at most {most:,} are read")
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.read(body, receive)
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self.limits.seconds:g} s") from None

    async def read(self, body: bytearray, receive: Receive) -> None:
        more, most = True, self.limits.bytes
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the body broke off")
            part, more = message.get("body", b""), message.get("more_body", False)
            body += part
            self.held += len(part)
            if len(body) > most:
                raise Refused(413, f"the body is too large; at most {most:,} bytes are read")
            if self.held > TOGETHER * most:
                raise Refused(429, "too much is sent at once; try again in 1 s", {"Retry-After": "1"})


async def answer(send: Send, refused: Refused) -> None:
    data = json.dumps(refused.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(data))} | refused.headers
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": data})
