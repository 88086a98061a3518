"""A language model behind OpenAI's chat completions: a prompt in, its words out, nothing asked twice."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.judging.language_model.budget import Budget
from rerankbench.judging.language_model.model_settings import ModelSettings
from rerankbench.judging.record import append
from rerankbench.rerankers.served.connection import Connection, Habits
from rerankbench.rerankers.served.key import Key

PATH, STORE = "/chat/completions", "answers.jsonl"
OVERHEAD = 200  # tokens that a chat's own marks may add to a prompt
MOST = 100_000  # characters of an answer that are kept


class ChatConnection(Connection):
    """A server whose settings are those of the judge."""

    group = "judge"
    looked_at = "judge.url, which ends before /chat/completions"
    smaller = "lower judge.max_tokens"
    kept = "answers that were obtained before are kept"


class Chat:
    """Threads may share it. The answers lie in `folder`, by what was asked of whom."""

    def __init__(self, settings: ModelSettings, folder: Path) -> None:
        """Raises UserError where the environment lacks the key."""
        self.settings, self.path = settings, folder / STORE
        self.budget = Budget(
            settings.budget_requests,
            settings.budget_money,
            settings.price_per_million_input,
            settings.price_per_million_output,
            settings.price_per_request,
        )
        key = Key.read(settings.variable, "Authorization", "judge")
        habits = Habits(settings.concurrency, settings.timeout, settings.retries)
        self.connection = ChatConnection(settings.url.rstrip("/"), habits, key)
        self.lock = threading.Lock()
        self.kept = stored(self.path)
        self.reused = 0

    def ask(self, prompt: str) -> str:
        """The model's words. Raises Spent before the budget is crossed, UserError where none come."""
        name = self.name(prompt)
        with self.lock:
            if name in self.kept:
                self.reused += 1
                return self.kept[name]
        highest = self.budget.price(len(prompt.encode()) + OVERHEAD, self.settings.max_tokens)
        answer = self.connection.post(PATH, self.body(prompt), lambda: self.budget.set_aside(highest))
        self.budget.settle(highest, self.charged(answer, highest))
        words = content(answer)
        if words is None:
            place, said = self.connection.place(PATH), self.connection.quoted(json.dumps(answer).encode())
            raise UserError(f"{place}: answered without choices[0].message{said}; is this a chat model?")
        with self.lock:
            self.kept[name] = words[:MOST]
            line = json.dumps({"asked": name, "answer": words[:MOST]}, ensure_ascii=False) + "\n"
            append(self.path, line.encode("utf-8", "replace"))
        return words[:MOST]

    def body(self, prompt: str) -> dict[str, Any]:
        s = self.settings
        return {
            "model": s.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": s.temperature,
            "max_tokens": s.max_tokens,
        }

    def name(self, prompt: str) -> str:
        """What determines an answer, as a hash."""
        asked = json.dumps([self.settings.url, self.body(prompt)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()

    def charged(self, answer: Any, highest: float) -> float:
        """What an answer says that it took; as much as was set aside where it does not say."""
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if not isinstance(usage, dict):
            return highest
        read, written = (count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        return highest if read is None or written is None else self.budget.price(read, written)

    def stop(self) -> None:
        self.connection.stop()

    def close(self) -> None:
        self.connection.stop()
        self.connection.close()


def count(value: Any) -> int | None:
    """A number of tokens; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def content(answer: Any) -> str | None:
    """The words in an answer; None where it is no answer of a chat. Who refuses may say nothing."""
    try:
        message = answer["choices"][0]["message"]
        words = message.get("content") or message.get("refusal") or ""
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)


def stored(path: Path) -> dict[str, str]:
    """Earlier answers; lines that are none, or were torn, are left out."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    for line in path.read_bytes().split(b"\n"):
        try:
            values = json.loads(line)
            if isinstance(values["asked"], str) and isinstance(values["answer"], str):
                found[values["asked"]] = values["answer"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found
