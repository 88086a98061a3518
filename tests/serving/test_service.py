"""The service in this process: its answers are what was measured, and nothing that it is sent breaks it."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rerankbench.basics.errors import UserError
from rerankbench.report import deployment
from rerankbench.serving.line import Job, Line
from rerankbench.serving.refusal import Refused
from rerankbench.serving.service import Service
from served_sweep import ask, ask_all, served

QUERY, TEXTS = "what hunts?", ["a lion hunts at night", "paris is in france", "", "a lion hunts at night"]


@pytest.fixture(scope="module")
def measured(swept: Path) -> dict[str, list[dict[str, Any]]]:
    """What the run of `base` wrote of each query's candidates, in first-stage order."""
    for file in sorted(swept.glob("*/result.json")):
        if json.loads(file.read_text())["params"]["reranker"] == "base":
            rows = pq.read_table(file.parent / "scores.parquet").to_pylist()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        found.setdefault(row["query_id"], []).append(row)
    return found


def texts_of(service: Service, rows: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The query and the documents of rows of that table."""
    searching = service.default.searching
    assert searching
    collection = searching.collection
    query = collection.query_texts[collection.query_ids.index(rows[0]["query_id"])]
    return query, collection.corpus.texts(collection.corpus.rows([row["doc_id"] for row in rows]))


def test_reranked_texts_have_the_scores_that_were_measured(
    service: Service, measured: dict[str, list[dict[str, Any]]]
) -> None:
    for rows in measured.values():
        query, texts = texts_of(service, rows)
        answer = ask(service, "/v2/rerank", {"model": "rerank-v3.5", "query": query, "documents": texts})
        found = {entry["index"]: entry["relevance_score"] for entry in answer.json()["results"]}
        wanted = [row["score"] for row in rows]
        np.testing.assert_allclose([found[i] for i in range(len(texts))], wanted, atol=1e-5)
        assert list(found) == sorted(found, key=lambda i: (-found[i], i))


def test_a_search_finds_the_order_that_was_measured(
    service: Service, measured: dict[str, list[dict[str, Any]]]
) -> None:
    for rows in measured.values():
        query, _ = texts_of(service, rows)
        answer = ask(service, "/search", {"query": query, "arm": "base@12", "top_k": 12}).json()
        assert [entry["doc_id"] for entry in answer["first_stage"]] == [row["doc_id"] for row in rows]
        ranked = sorted(rows, key=lambda row: (-row["score"], row["rank"]))
        assert [entry["doc_id"] for entry in answer["results"]] == [row["doc_id"] for row in ranked]
        assert [entry["first_rank"] for entry in answer["results"]] == [row["rank"] for row in ranked]


def test_what_lies_below_the_depth_keeps_its_place(service: Service) -> None:
    entries = ask(service, "/search", {"query": QUERY, "arm": "large@10", "top_k": 12}).json()["results"]
    assert [(e["rank"], e["score"], e["steps"]) for e in entries[10:]] == [(11, None, 0), (12, None, 0)]
    assert [entry["first_rank"] for entry in entries[10:]] == [11, 12]


def test_every_shape_has_the_same_order(service: Service) -> None:
    cohere = ask(service, "/v2/rerank", {"query": QUERY, "documents": TEXTS, "top_n": 3}).json()
    jina = ask(
        service,
        "/v1/rerank",
        {"query": QUERY, "documents": [{"text": t} for t in TEXTS], "return_documents": True},
    ).json()
    raw = ask(service, "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    tei = ask(service, "/rerank", {"query": QUERY, "texts": TEXTS, "return_text": True}).json()
    order = [entry["index"] for entry in raw]
    assert sorted(order) == [0, 1, 2, 3]
    assert [entry["index"] for entry in tei] == [entry["index"] for entry in jina["results"]] == order
    assert [entry["index"] for entry in cohere["results"]] == order[:3]
    assert [entry["document"]["text"] for entry in jina["results"]] == [TEXTS[i] for i in order]
    assert [entry["text"] for entry in tei] == [TEXTS[i] for i in order]
    assert [entry["relevance_score"] for entry in jina["results"]] == [entry["score"] for entry in raw]
    for squeezed, entry in zip(tei, raw, strict=True):
        assert squeezed["score"] == pytest.approx(1 / (1 + math.exp(-entry["score"])))


def test_the_field_of_the_other_shape_may_be_null(service: Service) -> None:
    for body in ({"texts": ["a"], "documents": None}, {"documents": ["a"], "texts": None}):
        assert ask(service, "/rerank", {"query": "a"} | body).status_code == 200


def test_equal_texts_have_equal_scores_in_the_order_given(service: Service) -> None:
    found = ask(service, "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    same = [entry for entry in found if entry["index"] in (0, 3)]
    assert [entry["index"] for entry in same] == [0, 3]
    assert same[0]["score"] == same[1]["score"]


def test_a_model_is_an_arm_by_its_name_and_the_first_arm_by_any_other(service: Service) -> None:
    names = [
        ask(service, "/v1/rerank", {"model": name, "query": QUERY, "documents": TEXTS}).json()["model"]
        for name in ("large@10", "rerank-v3.5", "", None)
    ]
    assert names == ["large@10", "base@12", "base@12", "base@12"]
    assert ask(service, "/search", {"query": QUERY, "arm": "rerank-v3.5"}).status_code == 404
    assert (
        ask(service, "/rerank", {"model": "no reranking", "query": QUERY, "documents": ["x"]}).status_code
        == 400
    )


def test_requests_that_arrive_together_share_batches_and_keep_their_scores(service: Service) -> None:
    alone = [
        ask(service, "/rerank", {"query": f"{QUERY} {i}", "texts": TEXTS, "raw_scores": True})
        for i in range(12)
    ]
    service.line.shared.clear()
    asked = [("/rerank", {"query": f"{QUERY} {i}", "texts": TEXTS, "raw_scores": True}) for i in range(12)]
    together = ask_all(service, asked)
    assert max(service.line.shared) > 1
    for one, other in zip(alone, together, strict=True):
        scores = [{e["index"]: e["score"] for e in each.json()} for each in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


# what is refused


def refused(answer: Any) -> bool:
    """Whether a request is refused as promised: a 4xx, and one line of JSON under the names clients read."""
    body = answer.json()
    assert 400 <= answer.status_code < 500, (answer.status_code, body)
    assert body["error"] == body["message"] != ""
    assert "\n" not in body["error"]
    assert "Traceback" not in answer.text
    assert len(answer.text) < 2000
    return True


BODIES = [
    b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b"{}" * 3, b"[" * 100_000, b'{"a":' * 50_000,
    b'{"query": "a", "documents": ["\\ud800"]}', b'{"query": "\\udfff", "texts": ["a"]}', b"NaN",
    b'{"query": 1, "documents": ["a"]}', b'{"query": "a"}', b'{"documents": ["a"]}',
    b'{"query": "a", "documents": "abc"}', b'{"query": "a", "documents": []}',
    b'{"query": "a", "documents": [1]}', b'{"query": "a", "documents": [null]}',
    b'{"query": "a", "documents": {"0": "a"}}', b'{"query": "a", "documents": [{"title": "a"}]}',
    b'{"query": "a", "texts": [{"text": "a"}]}', b'{"query": "a", "texts": ["a"], "documents": ["a"]}',
    b'{"query": "  ", "documents": ["a"]}', b'{"query": ["a"], "documents": ["a"]}',
    b'{"query": "a", "documents": ["a"], "top_n": 0}',
    b'{"query": "a", "documents": ["a"], "top_n": -1}',
    b'{"query": "a", "documents": ["a"], "top_n": "3"}',
    b'{"query": "a", "documents": ["a"], "top_n": true}',
    b'{"query": "a", "documents": ["a"], "top_n": 1e400}',
    b'{"query": "a", "documents": ["a"], "top_n": 1.5}',
    b'{"query": "a", "documents": ["a"], "top_n": ' + b"9" * 5000 + b"}",
    b'{"query": "a", "texts": ["a"], "raw_scores": "yes"}',
    b'{"query": "a", "texts": ["a"], "raw_scores": 1}',
    b'{"query": "a", "model": 3, "documents": ["a"]}',
    b'{"query": "a", "documents": ["a"], "return_documents": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_request_is_refused_in_one_line(service: Service, body: bytes) -> None:
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        assert refused(ask(service, path, body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "query",
    "documents",
    "texts",
    "model",
    "top_n",
    "return_documents",
    "raw_scores",
    "return_text",
    "arm",
    "top_k",
    "query_id",
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
    st.sampled_from(["/rerank", "/v2/rerank", "/search"]),
)
@example({"query": "a", "top_k": 0}, "/search")
@example({"query": "a", "top_k": 10**30}, "/search")
@example({"query": "a", "query_id": None}, "/search")
def test_whatever_is_sent_is_answered_or_refused(service: Service, body: dict[str, Any], path: str) -> None:
    """Texts of control characters, unpaired surrogates and floats that JSON does not have among them."""
    answer = ask(service, path, body)
    assert answer.status_code == 200 or refused(answer)
    if answer.status_code == 200 and path != "/search":
        listed = answer.json() if "texts" in body else answer.json()["results"]
        most = len(body.get("texts") or body["documents"])
        assert sorted(entry["index"] for entry in listed) == list(range(most))[: len(listed)] or body.get(
            "top_n"
        )


@settings(max_examples=30)
@given(st.binary(max_size=60))
def test_bytes_are_refused(service: Service, body: bytes) -> None:
    assert refused(ask(service, "/rerank", body))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "a", "documents": ["a"] * 6}, 413),
        ({"query": "a", "texts": ["a"] * 6}, 413),
        ({"query": "a", "documents": ["a" * 51]}, 413),
        ({"query": "a" * 51, "documents": ["a"]}, 413),
        ({"query": "a", "documents": ["a"], "more": "x" * 1000}, 413),
        ({"query": "a", "documents": ["a" * 50] * 5}, 200),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_scored(swept: Path, body: Any, status: int) -> None:
    with served(swept, "base@12", documents=5, characters=50, bytes=900) as small:
        assert ask(small, "/rerank", body).status_code == status


def test_a_body_without_a_length_is_cut_off_where_it_is_too_large(service: Service) -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 100_000

    import asyncio

    import httpx

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(service.app())  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
            return await http.post("/rerank", content=endless())

    answer = asyncio.run(send())
    assert answer.status_code == 413
    assert refused(answer)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "localhost.evil", "[::2]"]
)
def test_a_name_that_is_not_this_machines_is_refused(service: Service, host: str) -> None:
    """As a page of another site would use whose name suddenly means this machine."""
    answer = ask_all(service, [("/info", None)], host=host)[0]
    assert answer.status_code == 421
    assert answer.json()["error"] == "only requests to this machine's own name are answered: localhost"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.0.0.1:9000", "[::1]:8080"])
def test_this_machines_own_names_are_answered(service: Service, host: str) -> None:
    assert ask_all(service, [("/health", None)], host=host)[0].json()["status"] == "ok"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/rerank", 405), ("/docs", 404), ("/openapi.json", 404), ("/../etc/passwd", 404)],
)
def test_there_is_nothing_else(service: Service, path: str, status: int) -> None:
    assert (answer := ask(service, path)).status_code == status
    assert refused(answer)


def test_with_a_key_nothing_of_the_collection_is_told_without_it(swept: Path) -> None:
    with served(swept, "base@12", key="s3cret-ä") as locked:
        for path, body in (("/info", None), ("/metrics", None), ("/rerank", {}), ("/search", {"query": "x"})):
            for given_key in (None, "Bearer wrong", "s3cret-ä", "Basic s3cret-ä", "Bearer ", "Bearer s3cret"):
                headers = {"Authorization": given_key.encode()} if given_key else {}
                answer = ask_all(locked, [(path, body)], host="anywhere.example", headers=headers)[0]
                assert answer.status_code == 401
                assert refused(answer)
        right = {"Authorization": "Bearer s3cret-ä".encode()}
        assert ask(locked, "/info", headers=right).status_code == 200
        assert ask(locked, "/health").status_code == ask(locked, "/").status_code == 200


def test_the_key_is_compared_in_constant_time(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("hmac.compare_digest", lambda *both: bool(compared.append(both)))
    with served(swept, "base@12", key="s3cret") as locked:
        assert ask(locked, "/info", headers={"Authorization": "Bearer s3cret"}).status_code == 401
    assert compared == [(b"s3cret", b"s3cret")]


def test_a_mistake_of_ours_is_told_without_its_trace(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(service.models, "scores", broken)
    answer = ask(service, "/rerank", {"query": "a", "documents": ["b"]})
    assert (answer.status_code, answer.json()["error"]) == (500, "the service failed; its log says why")


def test_a_server_behind_it_that_fails_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise UserError("http://127.0.0.1:1: does not answer")

    monkeypatch.setattr(service.models, "scores", broken)
    answer = ask(service, "/rerank", {"query": "a", "documents": ["b"]})
    assert (answer.status_code, answer.json()["error"]) == (502, "http://127.0.0.1:1: does not answer")


# the line


class Slow:
    """Models that score when they are let."""

    def __init__(self, poison: str = "") -> None:
        self.let, self.poison, self.groups = threading.Event(), poison, [list[str]()]
        self.let.set()

    def scores(self, asked: Any) -> list[Any]:
        self.let.wait(20)
        self.groups.append([one.query for one in asked])
        if any(one.query == self.poison for one in asked):
            raise ValueError(self.poison)
        return [np.zeros(len(one.documents), np.float32) for one in asked]


def job(query: str, seconds: float = 20.0, texts: int = 1) -> Job:
    from rerankbench.report.arrangements.course import Asked

    def course() -> Any:
        return (yield Asked({"key": "m", "layer": None}, query, ["x"] * texts))

    return Job(course(), time.monotonic() + seconds)


@pytest.fixture
def line() -> Iterator[tuple[Line, Slow]]:
    models = Slow()
    made = Line(models, 3)  # type: ignore[arg-type]
    yield made, models
    models.let.set()
    made.close()


def wait_until(true: Any) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_full_line_refuses_and_says_when_to_come_back(line: tuple[Line, Slow]) -> None:
    made, models = line
    models.let.clear()
    first = made.enter(job("first"))
    wait_until(lambda: made.at_work == 1)
    others: list[Future[Any]] = [made.enter(job(f"{i}")) for i in range(2)]
    with pytest.raises(Refused) as refusal:
        made.enter(job("one too many"))
    assert refusal.value.status == 429
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 60
    models.let.set()
    assert all(len(each.result(20)) == 1 for each in [first, *others])
    wait_until(lambda: len(made) == 0)
    assert len(made.enter(job("again")).result(20)) == 1


def test_one_request_that_cannot_be_scored_fails_alone(line: tuple[Line, Slow]) -> None:
    made, models = line
    models.poison = "bad"
    models.let.clear()
    first = made.enter(job("first"))
    wait_until(lambda: made.at_work == 1)
    good, bad = made.enter(job("good")), made.enter(job("bad"))
    models.let.set()
    assert len(good.result(20)) == len(first.result(20)) == 1
    with pytest.raises(ValueError, match="bad"):
        bad.result(20)
    assert ["good", "bad"] in models.groups


def test_nothing_is_computed_for_who_waits_no_longer(line: tuple[Line, Slow]) -> None:
    made, models = line
    models.let.clear()
    made.enter(job("first"))
    wait_until(lambda: made.at_work == 1)
    late, left = made.enter(job("late", seconds=0.0)), made.enter(job("left"))
    left.cancel()
    models.let.set()
    with pytest.raises(TimeoutError):
        late.result(20)
    wait_until(lambda: len(made) == 0)
    assert models.groups[1:] == [["first"]]


def test_the_end_answers_what_waits_and_takes_no_more(line: tuple[Line, Slow]) -> None:
    made, models = line
    models.let.clear()
    waiting = [made.enter(job(f"{i}")) for i in range(3)]
    end = threading.Thread(target=made.close)
    end.start()
    wait_until(lambda: not made.open)
    with pytest.raises(Refused) as refusal:
        made.enter(job("late"))
    assert refusal.value.status == 503
    models.let.set()
    end.join(20)
    assert [len(each.result(0)) for each in waiting] == [1, 1, 1]


def test_a_request_that_takes_too_long_is_told_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    let = threading.Event()
    scores = service.models.scores

    def slowly(asked: Any) -> Any:
        let.wait(20)
        return scores(asked)

    monkeypatch.setattr(service.models, "scores", slowly)
    monkeypatch.setattr(service, "limits", type(service.limits)(seconds=0.05))
    answer = ask(service, "/rerank", {"query": "a", "documents": ["b"]})
    let.set()
    assert answer.status_code == 504
    wait_until(lambda: len(service.line) == 0)


# what it tells of itself


def test_it_says_what_it_is(service: Service, swept: Path) -> None:
    info = ask(service, "/info").json()
    assert [arm["name"] for arm in info["arms"]] == ["base@12", "large@10", "no reranking"]
    steps = info["arms"][1]["steps"]
    assert [(step["reranker"], step["depth"], step["precision"]) for step in steps] == [("large", 10, "fp32")]
    found = deployment.read(swept / deployment.FILE)
    assert info["arms"][0]["steps"][0]["hash"] in {step.hash for step in found.steps}
    assert info["environment"]["versions"]["rerankbench"] == info["rerankbench"]


def test_metrics_count_what_was_asked(service: Service) -> None:
    def count() -> float:
        text = ask(service, "/metrics").text
        lines = [
            line
            for line in text.splitlines()
            if line.startswith("rerankbench_requests_total") and '"/rerank"' in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = count()
    ask(service, "/rerank", {"query": "a", "documents": ["b"]})
    ask(service, "/rerank", b"{")
    assert count() == before + 2
    assert "/secret" not in ask(service, "/metrics").text


def test_an_unknown_path_makes_no_metric_of_its_own(service: Service) -> None:
    for number in range(5):
        ask(service, f"/made-up-{number}")
    assert "made-up" not in ask(service, "/metrics").text


def test_nothing_is_loaded_from_elsewhere_and_no_script_but_its_own(service: Service) -> None:
    for path in ("/", "/page.js", "/page.css"):
        answer = ask(service, path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "http://" not in answer.text
        assert "https://" not in answer.text
