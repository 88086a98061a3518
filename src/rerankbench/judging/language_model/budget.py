"""What asking may cost: in requests, in money. Neither is crossed, not even by requests under way."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


class Spent(Exception):
    """The next request could cross the budget; says which."""


@dataclass
class Budget:
    """requests, money: at most so much in one command, None: no bound. Prices are per million tokens, and per
    request.

    Before a request its highest possible price is set aside; what its answer says it took replaces that. A
    request that fails keeps what was set aside, since it may be charged all the same.
    """

    requests: int | None = None
    money: float | None = None
    per_million_input: float = 0.0
    per_million_output: float = 0.0
    per_request: float = 0.0
    sent: int = 0
    paid: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def price(self, input_tokens: int, output_tokens: int) -> float:
        tokens = input_tokens * self.per_million_input + output_tokens * self.per_million_output
        return self.per_request + tokens / 1e6

    def set_aside(self, price: float) -> None:
        """Before each request, repeats included. Raises Spent where it could cross the budget."""
        with self.lock:
            if self.requests is not None and self.sent >= self.requests:
                raise Spent(f"judge.budget_requests={self.requests} is used up")
            if self.money is not None and self.paid + price > self.money + 1e-12:
                raise Spent(f"judge.budget_money={self.money:g} could be exceeded ({self.paid:.4f} is used)")
            self.sent += 1
            self.paid += price

    def settle(self, set_aside: float, price: float) -> None:
        """Replace what was set aside for a request by what it took, which is no more."""
        with self.lock:
            self.paid += min(0.0, price - set_aside)
