"""A process that serves: its socket, its signals, its end."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from rerankbench.basics.errors import UserError
from rerankbench.serving.protocol import Protocol
from rerankbench.serving.service import Service

BACKLOG = 512


class Server(uvicorn.Server):
    """Ends by itself after SIGTERM or Ctrl-C, with what it has begun answered, and exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens nowhere yet. Raises UserError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio lets small writes go at once, without 40 ms of delay, if it is told that this is TCP
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise UserError(
            f"--host {host} --port {port}: cannot be served there ({error.strerror}); choose another --port"
        ) from None
    return made


def server_of(service: Service) -> Server:
    """A request that takes its whole time is still answered at the end."""
    config = uvicorn.Config(
        service.app(),
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        http=Protocol,
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(service.limits.seconds) + 5,
        lifespan="on",
    )
    return Server(config)
