"""What is known of the language model that judges: the `judge.` settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rerankbench.rerankers.served import key as keys
from rerankbench.rerankers.served.address import stays_here, url_problems

QUERY, PASSAGE = "{query}", "{passage}"
KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class ModelSettings:
    """A model behind any server with OpenAI's chat completions.

    url: up to what stands before /chat/completions, such as http://127.0.0.1:8000/v1. key_variable: the
    environment variable that holds the key (null: OPENAI_API_KEY, none on this machine). prompt: a file with
    {query} and {passage} (null: UMBRELA's). budget_requests, budget_money: at most so much in one command.
    price_per_million_input, price_per_million_output, price_per_request: what the service charges.
    """

    url: str = "???"
    model: str = "???"
    key_variable: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    max_tokens: int = 200
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 4
    budget_requests: int | None = 1000
    budget_money: float | None = None
    price_per_million_input: float = 0.0
    price_per_million_output: float = 0.0
    price_per_request: float = 0.0

    @property
    def variable(self) -> str | None:
        return self.key_variable or (None if stays_here(self.url) else KEY)

    @property
    def charged(self) -> bool:
        return max(self.price_per_million_input, self.price_per_million_output, self.price_per_request) > 0

    def problems(self) -> list[str]:
        """Every mistake, one line each."""
        found = [
            f"judge.{name} is missing: give judge.{name}={example}"
            for name, example in (("url", "http://127.0.0.1:8000/v1"), ("model", "NAME"))
            if getattr(self, name) == "???"
        ]
        found += [f"judge.url: {why}".replace("reranker.", "judge.") for why in url_problems(self.url)]
        if self.key_variable is not None and (why := keys.problem(self.key_variable)):
            found.append(f"judge.key_variable: {why}")
        for name, least, most in LIMITS:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                found.append(f"judge.{name}={value}: give {least:g} to {most:g}")
        if self.budget_money is not None and not self.charged:
            found.append("judge.budget_money needs a price: add judge.price_per_million_input=PRICE")
        if self.prompt is not None:
            found += prompt_problems(Path(self.prompt))
        return found


LIMITS = (
    ("temperature", 0, 2),
    ("max_tokens", 1, 100_000),
    ("concurrency", 1, 256),
    ("timeout", 0.1, 3600),
    ("retries", 0, 100),
    ("budget_requests", 1, 10**9),
    ("budget_money", 0, 1e9),
    ("price_per_million_input", 0, 1e6),
    ("price_per_million_output", 0, 1e6),
    ("price_per_request", 0, 1e6),
)


def prompt_problems(path: Path) -> list[str]:
    """Why a file is no prompt; empty if it is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        return [f"judge.prompt={path}: cannot be read ({why})"]
    missing = [place for place in (QUERY, PASSAGE) if place not in text]
    return [f"judge.prompt={path}: has no {place}; put it where it belongs" for place in missing]


def umbrela() -> str:
    """The prompt of Upadhyay et al., UMBRELA, 2024, as in figure 1 of arXiv 2406.06519.

    It is an open-source reproduction of the relevance assessor of Bing.
    """
    return own("umbrela")


def own(name: str) -> str:
    return (Path(__file__).parent / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
