"""HTTP/1.1 by uvicorn, but what is no request is refused in JSON, and no connection waits for ever."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rerankbench.serving.gate import answer
from rerankbench.serving.refusal import Refused

CONNECTIONS = 512


class Protocol(H11Protocol):
    """It ends where no request comes, or one is not done with, for twice as long as a stop waits."""

    timer: asyncio.TimerHandle | None = None
    refused = False  # and whatever comes is thrown away, so that the answer is read before the end

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = crowded
        self.watch(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        if not self.refused:
            super().data_received(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.watch(None)

    def watch(self, before: Any) -> None:
        """Look at the connection again in a while; `before`: the request that it is busy with now."""
        if self.timer is not None:
            self.timer.cancel()
        patience = 2.0 * (self.config.timeout_graceful_shutdown or 1)
        self.timer = self.loop.call_later(patience, self.look, before)

    def look(self, before: Any) -> None:
        now = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
        if now is None or now is before:
            self.transport.abort()
        else:
            self.watch(now)

    def send_400_response(self, msg: str) -> None:
        """Where an answer has begun already, what follows the request is not answered."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            data = json.dumps(Refused(400, "this is not an HTTP request").body).encode()
            headers = [("content-type", "application/json"), ("connection", "close")]
            headers.append(("content-length", str(len(data))))
            begun = h11.Response(status_code=400, headers=headers)
            for event in (begun, h11.Data(data=data), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.refused = True
            self.transport.write_eof()
        else:
            self.transport.close()


async def crowded(scope: Any, receive: Any, send: Any) -> None:
    """What is answered where there are too many connections."""
    why = f"there are more than {CONNECTIONS} connections; try again in 1 s"
    await answer(send, Refused(429, why, {"Retry-After": "1", "Connection": "close"}))
