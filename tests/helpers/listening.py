"""A service on a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rerankbench.serving.server import bound, server_of
from rerankbench.serving.service import Service


@contextmanager
def listening(service: Service, stop: float | None = None) -> Iterator[int]:
    """The service in a thread of this process; yields its port. `stop`: what its end may take, in seconds."""
    socket, server = bound("127.0.0.1", 0), server_of(service)
    server.config.timeout_graceful_shutdown = stop or server.config.timeout_graceful_shutdown  # type: ignore[assignment]
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    server.capture_signals = nothing  # type: ignore[method-assign]  # signals are the main thread's
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield int(socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        socket.close()


@contextmanager
def nothing() -> Iterator[None]:
    yield
