"""A server that reranks as text-embeddings-inference, vLLM, Infinity, Cohere, Jina and Voyage do, or fails.

Scores are those of `score`. Each next request may be spoiled by one of `TROUBLES`, as `server.troubles` lists
them; what it was sent is in `server.asked`.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from acme_server import shared

MODEL = "mine/overlap"
INFO = {
    "model_id": MODEL,
    "model_sha": "c0ffee",
    "model_dtype": "float32",
    "max_input_length": 512,
    "max_client_batch_size": 3,
    "version": "1.8.2",
}


def score(query: str, document: str) -> float:
    """How many words they share, and a little by which all documents differ."""
    return 10 * shared(query, document) + zlib.crc32(document.encode()) / 2**32 - 3


class RerankServer(ThreadingHTTPServer):
    """`asked`: the requests' (path, headers, body); `key`: without which nothing is answered."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.troubles: deque[str] = deque()
        self.info: dict[str, Any] = dict(INFO)
        self.key: str | None = None
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def pairs(self) -> int:
        """How many pairs it was asked for."""
        return sum(len(texts_of(body)) for _, _, body in self.asked)


def texts_of(body: dict[str, Any]) -> list[str]:
    return body.get("documents") or body.get("texts") or body.get("passages") or []  # type: ignore[no-any-return]


def ranked(body: dict[str, Any]) -> list[tuple[int, float]]:
    """(index, score), best first."""
    question = body.get("query") or body.get("question") or ""
    scored = [(index, score(question, text)) for index, text in enumerate(texts_of(body))]
    return sorted(scored, key=lambda pair: -pair[1])


def entries(body: dict[str, Any], name: str = "relevance_score") -> list[dict[str, Any]]:
    return [{"index": index, name: value} for index, value in ranked(body)]


def with_documents(body: dict[str, Any]) -> dict[str, Any]:
    """vLLM always sends the documents back."""
    texts = texts_of(body)
    found = [one | {"document": {"text": texts[one["index"]]}} for one in entries(body)]
    return {"id": "rerank-1", "model": body["model"], "usage": {"total_tokens": 7}, "results": found}


ANSWERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "/rerank": lambda body: entries(body, "score") if "texts" in body else infinity(body),
    "/v1/rerank": with_documents,
    "/v2/rerank": lambda body: {"results": entries(body), "meta": {"billed_units": {"search_units": 1}}},
    "/jina/v1/rerank": lambda body: {"model": body["model"], "results": entries(body)},
    "/voyage/v1/rerank": lambda body: {"object": "list", "data": entries(body), "model": body["model"]},
    "/plain": lambda body: {"out": {"scores": [score(body["question"], text) for text in body["passages"]]}},
}


def infinity(body: dict[str, Any]) -> dict[str, Any]:
    return {"object": "rerank", "results": entries(body), "model": body["model"]}


def spoiled(answer: Any, trouble: str) -> Any:
    """An answer with one thing wrong in its list."""
    found = answer if isinstance(answer, list) else answer.get("results", answer.get("data"))
    name = next(name for name in ("score", "relevance_score") if name in found[0])
    if trouble == "short":
        found.pop()
    elif trouble == "long":
        found.append(dict(found[0]))
    elif trouble == "twice":
        found[-1]["index"] = found[0]["index"]
    elif trouble == "beyond":
        found[0]["index"] = len(found)
    elif trouble == "negative":
        found[0]["index"] = -1
    elif trouble == "unnumbered":
        del found[0]["index"]
    else:
        values = {
            "nan": float("nan"),
            "null": None,
            "text": "0.5",
            "truth": True,
            "infinite": 10**400,
            "large": 1e300,
        }
        found[0][name] = values[trouble]
    return answer


class Handler(BaseHTTPRequestHandler):
    server: RerankServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.allowed():
            return
        models = {"object": "list", "data": [{"id": MODEL, "created": time.time(), "stats": {"queue": 3}}]}
        found = {"/info": self.server.info, "/models": models, "/v1/models": models}.get(self.path)
        if found is None:
            self.answer(404, json.dumps({"error": {"message": "no such place"}}))
        else:
            self.answer(200, json.dumps(found))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
        try:
            if self.allowed():
                self.rerank(json.loads(data))
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def allowed(self) -> bool:
        sent = [self.headers.get("Authorization"), self.headers.get("api-key")]
        if self.server.key is None or sent in ([f"Bearer {self.server.key}", None], [None, self.server.key]):
            return True
        self.answer(401, json.dumps({"message": f"the key {sent[0] or sent[1]} is not known"}))
        return False

    def rerank(self, body: dict[str, Any]) -> None:
        with self.server.lock:
            self.server.asked.append((self.path, dict(self.headers), body))
            trouble = self.server.troubles.popleft() if self.server.troubles else ""
        most = self.server.info["max_client_batch_size"]
        if "texts" in body and len(body["texts"]) > most:
            self.answer(413, json.dumps({"error": f"batch size {len(body['texts'])} > maximum {most}"}))
        elif self.path not in ANSWERS:
            self.answer(404, '{"detail": "Not Found"}')
        elif trouble.startswith("slow"):
            time.sleep(float(trouble.removeprefix("slow") or 0.2))
            self.answer(200, json.dumps(ANSWERS[self.path](body)))
        elif trouble in TROUBLES:
            TROUBLES[trouble](self, json.dumps(ANSWERS[self.path](body)))
        else:
            found = ANSWERS[self.path](body)
            self.answer(200, json.dumps(spoiled(found, trouble) if trouble else found))

    def answer(self, status: int, text: str, **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def cut_off(self, text: str) -> None:
        self.answer(200, text[: len(text) // 2], Content_Length=str(len(text)))
        self.close_connection = True

    def endless(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        for _ in range(1000):
            self.wfile.write(b" " * 1_000_000)

    def dripping(self, text: str) -> None:
        """A byte now and then, so that no single one is late."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        for byte in text.encode():
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):  # whoever asked did not wait
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


PAGE = "<html><head><title>x</title></head><body><h1>502 Bad\x1b[31m Gateway</h1>\u202e nginx</body></html>"
TROUBLES: dict[str, Callable[[Handler, str], None]] = {
    "429": lambda h, text: h.answer(429, '{"message": "slow down"}', Retry_After="1"),
    "429 for long": lambda h, text: h.answer(429, '{"message": "the month is used up"}', Retry_After="86400"),
    "500": lambda h, text: h.answer(500, '{"detail": "CUDA out of memory"}'),
    "502 page": lambda h, text: h.answer(502, PAGE),
    "200 page": lambda h, text: h.answer(200, PAGE),
    "400": lambda h, text: h.answer(400, json.dumps({"detail": [{"msg": "what \x1b[2J" + "is this" * 200}]})),
    "redirect": lambda h, text: h.answer(307, "", Location="http://127.0.0.1:1/elsewhere"),
    "cut off": Handler.cut_off,
    "half JSON": lambda h, text: h.answer(200, text[: len(text) // 2]),
    "deep JSON": lambda h, text: h.answer(200, "[" * 100_000),
    "no list": lambda h, text: h.answer(200, '{"results": "none", "message": "no model is loaded"}'),
    "endless": Handler.endless,
    "dripping": Handler.dripping,
}


@contextmanager
def rerank_server() -> Iterator[RerankServer]:
    """The server on a free port of this machine."""
    with RerankServer(Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
