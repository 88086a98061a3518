"""A process that serves: its socket, its signals, its end."""

from __future__ import annotations

import contextlib
import errno
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
    except (OSError, UnicodeError) as error:
        made.close()
        raise untaken(host, port, error) from None
    return made


def listen(made: socket.socket) -> None:
    """Take connections from now on. Raises UserError where another process was faster: two may be bound."""
    try:
        made.listen(BACKLOG)
    except OSError as error:
        host, port = made.getsockname()[:2]
        raise untaken(host, port, error) from None


def untaken(host: str, port: int, error: OSError | UnicodeError) -> UserError:
    why, number = getattr(error, "strerror", "no name of a host"), getattr(error, "errno", None)
    cure = "choose another --port" if number in (errno.EADDRINUSE, errno.EACCES) else "leave --host out"
    return UserError(f"--host {host} --port {port}: cannot be served there ({why}); {cure}")


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
