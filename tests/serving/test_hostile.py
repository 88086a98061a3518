"""Bytes on a socket that no honest client sends: a line of JSON and a 4xx, and the next one is served."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from listening import listening
from rerankbench.serving import protocol
from rerankbench.serving.gate import Gate
from rerankbench.serving.limits import Limits
from rerankbench.serving.service import Service
from served_sweep import served

GOOD = json.dumps({"query": "what hunts?", "texts": ["a lion"]}).encode()
POST = b"POST /rerank HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def heard(swept: Path) -> Iterator[tuple[Service, int]]:
    """A service of this file's own, which ends with its server, and its port."""
    with served(swept, "base@12") as service, listening(service) as port:
        yield service, port


@pytest.fixture
def port(heard: tuple[Service, int]) -> int:
    return heard[1]


def request(body: bytes = b"", method: str = "POST", path: str = "/rerank", more: bytes = b"") -> bytes:
    """A whole request after which the connection ends; `more`: headers in place of the body's length."""
    length = more if b"Encoding: chunked" in more else more + b"Content-Length: %d\r\n" % len(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    return head + length + b"\r\n" + body


def sent(port: int, data: bytes, ended: bool = False) -> bytes:
    """Everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as made:
        made.sendall(data)
        if ended:
            made.shutdown(socket.SHUT_WR)
        found = b""
        while part := made.recv(65536):
            found += part
        return found


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def pairs_of(number: int, what: str) -> bytes:
    return f'{{"query": "a", "documents": [{",".join([what] * number)}]}}'.encode()


NESTED = b"[" * 10_000 + b"]" * 10_000
HOSTILE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300 + b"\r\n\r\n", 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    "two lengths": (request(b"abc", more=b"Content-Length: 4\r\n"), 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length of 31 digits": (POST + b"Content-Length: 1%s\r\n\r\n" % (b"0" * 30), 400),
    "an exabyte": (POST + b"Content-Length: 1%s\r\nConnection: close\r\n\r\n" % (b"0" * 18), 413),
    "a chunk that is none": (request(b"ZZZ\r\n", more=CHUNKED), 400),
    "a header of a megabyte": (request(more=b"X: %s\r\n" % (b"a" * 1_000_000)), 400),
    "a query string of a megabyte": (request(method="GET", path=f"/health?{'a' * 1_000_000}"), 400),
    "compressed": (request(gzip.compress(b"[" * 10_000_000), more=b"Content-Encoding: gzip\r\n"), 415),
    "compressed in secret": (request(gzip.compress(GOOD)), 400),
    "a form": (request(b"query=a&documents=b", more=b"Content-Type: multipart/form-data\r\n"), 400),
    "UTF-16": (request(GOOD.decode().encode("utf-16")), 400),
    "10,000 levels": (request(b'{"query": "a", "documents": %s}' % NESTED), 400),
    "10,000 levels, unread": (request(b'{"x": %s, "query": "a", "documents": ["b"]}' % NESTED), 400),
    "5,000 digits": (request(b'{"query": "a", "top_k": %s}' % (b"9" * 5000), path="/search"), 400),
    "not a number": (request(b'{"query": "a", "documents": ["b"], "top_n": NaN}'), 400),
    "a key twice": (request(b'{"query": "a", "query": 7, "documents": ["b"]}'), 400),
    "half a surrogate": (request(b'{"query": "\\ud800", "documents": ["b"]}'), 400),
    "a million numbers": (request(pairs_of(1_000_000, "0")), 413),
    "100,000 documents": (request(pairs_of(100_000, '"b"')), 413),
    "a text of millions": (request(b'{"query": "a", "documents": ["%s"]}' % (b"b" * 7_900_000)), 413),
    "another page's": (request(GOOD, more=b"Origin: http://evil.example\r\n"), 403),
    "nobody's page": (request(GOOD, more=b"Origin: null\r\n"), 403),
    "another site's form": (request(GOOD, more=b"Origin: http://localhost:9\r\n"), 403),
    "a websocket": (request(method="GET", more=b"Upgrade: websocket\r\nConnection: Upgrade\r\n"), 405),
    "a tunnel": (b"CONNECT evil:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "options": (request(method="OPTIONS"), 405),
    "a method of their own": (request(GOOD, method="BREW"), 405),
    "a way out": (request(method="GET", path="/%2e%2e/%2e%2e/etc/passwd%00"), 404),
    "another's address": (request(GOOD, path="http://evil.example/rerank"), 404),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_client_sends_is_a_line_of_json(port: int, name: str) -> None:
    data, status = HOSTILE[name]
    head, _, body = sent(port, data).partition(b"\r\n\r\n")
    assert statuses(head) == [status]
    told = json.loads(body)
    assert told["error"] == told["message"]
    assert len(told["error"]) <= 500
    assert "Traceback" not in told["error"]
    assert status != 403 or told["error"] == "requests by pages of another address are refused"
    assert statuses(sent(port, request(GOOD))) == [200]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n",
        request(b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), more=CHUNKED),
        request(GOOD, more=b"Expect: 100-continue\r\n"),
        request(GOOD, more=b"Origin: http://localhost\r\n"),
        request(json.dumps({"query": "a\0b", "texts": ["\0", "\x1b[31m\u202e"]}).encode()),
    ],
)
def test_what_is_odd_but_right_is_answered(port: int, data: bytes) -> None:
    assert statuses(sent(port, data))[-1] == 200


def test_requests_one_behind_another_are_answered_in_their_order(port: int) -> None:
    one = request(GOOD).replace(b"Connection: close\r\n", b"")
    health = request(method="GET", path="/health").replace(b"Connection: close\r\n", b"")
    answer = sent(port, (one + health) * 20 + one + b"\x00 no request\r\n\r\n")
    assert statuses(answer) == [200] * 41 + [400]


def test_what_breaks_off_leaves_nothing_behind(heard: tuple[Service, int]) -> None:
    service, port = heard
    for data in (b"", b"POST /re", request(b"", more=CHUNKED) + b"5\r\nab", request(GOOD)[:-5]):
        assert statuses(sent(port, data, ended=True)) in ([], [400])
    assert statuses(sent(port, request(GOOD))) == [200]
    until(lambda: len(service.line) == 0)


def test_a_request_is_not_scored_for_who_has_gone(
    heard: tuple[Service, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, port = heard
    let, scored = threading.Event(), list[str]()
    scores = service.models.scores

    def slowly(asked: Any) -> Any:
        let.wait(20)
        scored.extend(one.query for one in asked)
        return scores(asked)

    monkeypatch.setattr(service.models, "scores", slowly)
    first = threading.Thread(target=sent, args=(port, request(GOOD)))
    first.start()
    until(lambda: service.line.at_work == 1)
    gone = socket.create_connection(("127.0.0.1", port))
    gone.sendall(request(GOOD.replace(b"what hunts?", b"nobody waits")))
    until(lambda: len(service.line) == 2)
    gone.close()
    until(lambda: service.line.waiting[0].future.cancelled())
    let.set()
    first.join(20)
    assert scored == ["what hunts?"]


def until(true: Any) -> None:
    ended = threading.Event()
    for _ in range(4000):
        if true():
            return
        ended.wait(0.005)
    raise AssertionError("it did not come to that")


def test_too_many_connections_are_told_so(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    try:
        answer = sent(port, request(GOOD))
        assert statuses(answer) == [429]
        assert b"retry-after: 1" in answer
    finally:
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "begun", [b"", b"GET /health HTTP/1.1\r\nX: ", request(b"5\r\nabcde\r\n", more=CHUNKED)]
)
def test_who_sends_next_to_nothing_is_not_waited_for(swept: Path, begun: bytes) -> None:
    with served(swept, "base@12", seconds=0.3) as hurried, listening(hurried, stop=0.5) as port:
        answer = sent(port, begun)
    assert statuses(answer) in ([], [408])


def test_bodies_that_come_together_have_a_bound_together() -> None:
    async def refuse() -> list[int]:
        gate = Gate(answered, None, Limits(bytes=1000), Noted())  # type: ignore[arg-type]
        return await asyncio.gather(*(told(gate) for _ in range(40)))

    found = asyncio.run(refuse())
    assert found.count(429) == 8
    assert found.count(200) == 32


async def answered(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.2)
    await send({"type": "http.response.start", "status": 200, "headers": []})


class Noted:
    def note(self, *_: object) -> None:
        pass


async def told(gate: Gate) -> int:
    """The status of a request whose body has the largest size."""
    status = list[int]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * 1000}

    async def send(message: Any) -> None:
        status.extend([message["status"]] if "status" in message else [])

    await gate({"type": "http", "path": "/rerank", "headers": [(b"host", b"localhost")]}, receive, send)
    return status[0]
