"""Why a request is not answered, as the client is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerankbench.basics.visible import visible

FAILED = "the service failed; its log says why"
LONGEST = 500  # characters of a reason: nothing that was sent comes back whole
KINDS = {400: "validation", 401: "key", 403: "origin", 404: "not found", 405: "method", 408: "timeout",
         413: "too large", 415: "validation", 421: "host", 422: "validation", 429: "overloaded",
         500: "failed", 502: "failed", 503: "unavailable", 504: "timeout"}  # fmt: skip


class Refused(Exception):
    """A request that gets no answer but a status and one line."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.headers = status, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The line under the names by which the clients of each shape look for it."""
        why = visible(str(self))[:LONGEST]
        return {"error": why, "message": why, "error_type": KINDS.get(self.status, "failed")}
