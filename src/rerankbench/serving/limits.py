"""The most that one request, and all that wait, may ask of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is beyond one of these is refused at once.

    `documents` of a request, `characters` of one text, `bytes` of a body, `seconds` from a request's arrival
    to its answer, `waiting` requests that are not answered yet.
    """

    documents: int = 1000
    characters: int = 200_000
    bytes: int = 8_000_000
    seconds: float = 30.0
    waiting: int = 64

    def problems(self) -> list[str]:
        """Limits that nothing could keep, one line each."""
        return [
            f"--max-{name} {value}: give more than 0"
            if name in ("documents", "characters", "bytes")
            else f"--{name} {value}: give more than 0"
            for name, value in vars(self).items()
            if not 0 < value < float("inf")
        ]
