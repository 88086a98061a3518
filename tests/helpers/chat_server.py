"""A server that answers as OpenAI's chat completions do, or fails in one of many ways.

It judges by `grade`: how many words the query and the passage of a prompt share. Each next request may be
spoiled by one of `TROUBLES`, as `server.troubles` lists them; what it was sent is in `server.prompts`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "mine/judge"
PATH = "/v1/chat/completions"


def grade(query: str, passage: str) -> int:
    """0 to 3."""
    return min(3, len(set(query.lower().split()) & set(passage.lower().split())))


def answered(prompt: str) -> str:
    """A grade for a pair, a question for a passage alone."""
    pair = re.search(r"Query: (.*?)\nPassage: (.*?)\n\nSplit", prompt, re.DOTALL)
    if pair is None:
        return "What is " + " ".join(prompt.rpartition("Passage: ")[2].split()[:4]) + "?"
    return f"##final score: {grade(pair[1], pair[2])}"


class ChatServer(ThreadingHTTPServer):
    """`say`: what it answers to a prompt; `key`: without which it does not; `busiest`: requests at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.troubles: deque[str] = deque()
        self.say: Callable[[str], str] = answered
        self.usage: Any = {"prompt_tokens": 100, "completion_tokens": 10}
        self.key: str | None = None
        self.requests = self.busy = self.busiest = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests += 1
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
            trouble = self.server.troubles.popleft() if self.server.troubles else ""
        try:
            self.complete(body, trouble)
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def complete(self, body: dict[str, Any], trouble: str) -> None:
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {"error": {"message": f"bad key {self.headers.get('Authorization')}"}})
        elif self.path != PATH:
            self.answer(404, {"error": {"message": "no such place"}})
        elif trouble == "slow":
            time.sleep(0.3)
            self.succeed(body)
        elif trouble:
            TROUBLES[trouble](self)
        else:
            self.succeed(body)

    def succeed(self, body: dict[str, Any]) -> None:
        prompt = body["messages"][0]["content"]
        with self.server.lock:
            self.server.prompts.append(prompt)
            self.server.bodies.append(body)
        message = {"role": "assistant", "content": self.server.say(prompt)}
        found = {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "model": body["model"],
        }
        self.answer(200, found | {"usage": self.server.usage})

    def answer(self, status: int, found: Any, **headers: str) -> None:
        self.send(status, json.dumps(found).encode(), **headers)

    def send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self) -> None:
        self.send(200, b'{"choices"', Content_Length="1000")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


TROUBLES: dict[str, Callable[[Handler], None]] = {
    "429": lambda h: h.answer(429, {"error": {"message": "slow down"}}, Retry_After="0"),
    "500": lambda h: h.answer(500, {"error": {"message": "out of memory"}}),
    "400": lambda h: h.answer(400, {"error": {"message": "what \x1b[2J is this"}}),
    "redirect": lambda h: h.send(307, b"", Location="http://127.0.0.1:1/elsewhere"),
    "no JSON": lambda h: h.send(200, b"<html>gateway</html>"),
    "no choices": lambda h: h.answer(200, {"choices": []}),
    "no text": lambda h: h.answer(200, {"choices": [{"message": {"content": None}}]}),
    "other shape": lambda h: h.answer(200, ["what"]),
    "cut off": Handler.hang_up,
}


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """The server on a free port of this machine."""
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
