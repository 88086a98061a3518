"""What requests cost, by the prices of a config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rerankbench.rerankers.served.request import Request


@dataclass(frozen=True)
class Tariff:
    """Money for a request and for a million tokens, in any currency; None: not charged, or not known."""

    per_request: float | None = None
    per_million_tokens: float | None = None

    @property
    def known(self) -> bool:
        return self.per_request is not None or self.per_million_tokens is not None

    def price(self, requests: int, tokens: int) -> float:
        return requests * (self.per_request or 0.0) + tokens / 1e6 * (self.per_million_tokens or 0.0)


def count(requests: Iterable[Request]) -> tuple[int, int]:
    """How many requests, and about how many tokens they are billed for."""
    tokens = [request.tokens for request in requests]
    return len(tokens), sum(tokens)
