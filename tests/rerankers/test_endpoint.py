"""Rerankers behind HTTP: each service's shape, and whatever can go wrong on the way there and back."""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_server import INFO, MODEL, RerankServer, rerank_server, score
from rerankbench import api
from rerankbench.basics import masking
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.executors.local import Local
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.run_context import RunContext
from rerankbench.experiment import estimate
from rerankbench.rerankers.endpoint import Endpoint
from rerankbench.rerankers.scoring.pair_scoring import distinct_pairs, score_store
from rerankbench.rerankers.scoring.text_scoring import TextWork
from rerankbench.rerankers.scoring.text_scoring import score as score_work
from rerankbench.rerankers.served import body, connection
from rerankbench.rerankers.served.answer import Malformed, Places
from rerankbench.rerankers.served.request import Limits, requests

TEXTS = ["a red fox", "the blue sea", "red and blue", "", "a fox at sea", "狐狸 在 海边 red", "fox " * 3000]
QUERIES = ["red fox", "blue sea", "狐狸 在 哪里"]
COLLECTION = collection_of(
    {f"d{n}": text for n, text in enumerate(TEXTS)},
    {f"q{n}": text for n, text in enumerate(QUERIES)},
    {f"q{n}": {"d0": 1} for n in range(len(QUERIES))},
)
ROWS = np.stack([np.roll(np.arange(len(TEXTS)), n) for n in range(len(QUERIES))])
KEY = "sk-4711-do/not+show"
SERVICES: dict[str, dict[str, Any]] = {
    "tei": {},
    "vllm": {},
    "infinity": {},
    "cohere": {},
    "jina": {"path": "/jina/v1/rerank"},
    "voyage": {"path": "/voyage/v1/rerank"},
    "endpoint": {
        "path": "/plain",
        "body": {"question": "{query}", "passages": "{documents}", "top": 5},
        "results": "out.scores",
        "index": None,
        "score": "",
    },
}


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with rerank_server() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(masking, "_known", {})
    for name in ("COHERE", "JINA", "VOYAGE", "MY"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)


def endpoint(server: RerankServer, service: str = "tei", **settings: Any) -> Endpoint:
    """The settings that a service's YAML makes."""
    values, kind = api._option("reranker", service)
    made = api._settings(
        "reranker", kind, (values or {}) | {"url": server.url} | SERVICES[service] | settings
    )
    assert isinstance(made, Endpoint)
    return made


def work_of(settings: Endpoint, cache: Path, rows: Any = ROWS) -> TextWork:
    machine = RunContext(Hardware("cpu", "fp32"), cache)
    origin = settings.origin(cache)
    store = score_store(settings, origin, machine)
    return TextWork(settings, origin, (0,), machine, COLLECTION, distinct_pairs(COLLECTION, rows), store)


def expected(work: TextWork) -> Any:
    queries, documents = work.texts(np.arange(len(work.pairs)))
    return np.float32([score(*pair) for pair in zip(queries, documents, strict=True)])


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_gives_each_pair_its_own_score(
    service: str, server: RerankServer, tmp_path: Path
) -> None:
    """The server sorts by score, as all of them do, so that a score's place says nothing."""
    work = work_of(endpoint(server, service, documents_per_request=3), tmp_path)
    np.testing.assert_array_equal(score_work(work, Local()).values[:, 0], expected(work))
    work.close()
    asked = len(server.asked)
    assert asked == len(QUERIES) * 3  # seven documents, three at a time
    again = work_of(endpoint(server, service), tmp_path)
    np.testing.assert_array_equal(score_work(again, Local()).values[:, 0], expected(work))
    assert len(server.asked) == asked


def test_each_service_is_sent_what_its_documentation_says(server: RerankServer) -> None:
    sent = {}
    for service, own in SERVICES.items():
        reranker = api.load_reranker(service, url=server.url, device="cpu", precision="fp32", **own)
        reranker.score("red fox", TEXTS[:2])
        sent[service] = server.asked[-1]
    of = {service: found for service, (_, _, found) in sent.items()}
    listed = {"query": "red fox", "documents": TEXTS[:2]}
    assert of["tei"] == {"query": "red fox", "texts": TEXTS[:2], "raw_scores": True, "truncate": True}
    assert of["vllm"] == {
        **listed, "model": MODEL, "use_activation": False, "activation": False, "truncate_prompt_tokens": -1
    }  # fmt: skip
    assert of["infinity"] == {**listed, "model": MODEL, "raw_scores": True, "return_documents": False}
    assert of["cohere"] == {**listed, "model": "rerank-v3.5"}
    assert of["jina"] == {**listed, "model": "jina-reranker-v2-base-multilingual", "return_documents": False}
    assert of["voyage"] == {**listed, "model": "rerank-2.5", "return_documents": False, "truncation": True}
    assert of["endpoint"] == {"question": "red fox", "passages": TEXTS[:2], "top": 5}
    paid = {"cohere", "jina", "voyage"}
    for service, (_, headers, _) in sent.items():
        assert headers.get("Authorization") == (f"Bearer {KEY}" if service in paid else None)
        assert headers["Content-Type"] == "application/json"


def test_each_yaml_has_the_services_own_address() -> None:
    """As their documentation gives it."""
    found = {}
    for service in SERVICES:
        values, kind = api._option("reranker", service)
        url = {"url": "http://h"} if "url" not in (values or {}) else {}
        own = SERVICES["endpoint"] if service == "endpoint" else {}
        made = api._settings("reranker", kind, (values or {}) | url | own)
        assert isinstance(made, Endpoint)
        found[service] = f"{made.base}{made.path} {made.about}"
    assert found == {
        "tei": "http://h/rerank /info",
        "vllm": "http://h/v1/rerank /v1/models",
        "infinity": "http://h/rerank /models",
        "cohere": "https://api.cohere.com/v2/rerank None",
        "jina": "https://api.jina.ai/v1/rerank None",
        "voyage": "https://api.voyageai.com/v1/rerank None",
        "endpoint": "http://h/plain None",
    }


# --- what the scores are stored under ---


def folder(settings: Endpoint, cache: Path) -> str:
    machine = RunContext(Hardware("cpu", "fp32"), cache)
    return score_store(settings, settings.origin(cache), machine).folder.name


def test_another_model_version_or_address_is_another_reranker(server: RerankServer, tmp_path: Path) -> None:
    one = endpoint(server)
    known = folder(one, tmp_path)
    server.info |= {"max_concurrent_requests": 7}  # which changes no score
    same = [one, replace(one, url=f"{one.url}/"), replace(one, concurrency=9, timeout=5.0, retries=1)]
    same += [replace(one, documents_per_request=2), replace(one, key_variable="MY_API_KEY")]
    assert {folder(settings, tmp_path) for settings in same} == {known}
    with rerank_server() as other:
        others = {folder(replace(one, url=other.url), tmp_path)}
    others |= {folder(replace(one, body={**one.body, "truncate": False}), tmp_path)}
    others |= {folder(replace(one, characters_per_text=9), tmp_path)}
    for change in ({"model_sha": "beef"}, {"model_dtype": "float16"}, {"version": "2"}, {"model_id": "b"}):
        server.info = INFO | change
        others.add(folder(one, tmp_path))
    assert len(others | {known}) == 8
    voyage = endpoint(server, "voyage")
    assert folder(voyage, tmp_path) != folder(replace(voyage, model="rerank-2.5-lite"), tmp_path)


def test_a_bump_of_this_machines_arithmetic_buys_no_score_again(
    server: RerankServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = endpoint(server, "cohere")
    before = folder(settings, tmp_path)
    monkeypatch.setattr("rerankbench.engine.store.rows.ARITHMETIC", 999_999)
    assert folder(settings, tmp_path) == before


def test_what_a_server_does_not_serve_is_said(server: RerankServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"reranker.model=other: .*/info serves {MODEL}; give one of these"):
        endpoint(server, model="other").origin(tmp_path)
    with pytest.raises(UserError, match=f"reranker.model=other: .*/v1/models serves {MODEL}"):
        endpoint(server, "vllm", model="other").origin(tmp_path)
    server.info["data"] = [{"id": "a"}, {"id": "b"}]
    with pytest.raises(UserError, match=r"serves a, b; choose one with reranker\.model=NAME"):
        endpoint(server).origin(tmp_path)
    assert endpoint(server, model="b").origin(tmp_path).label == "b"
    server.info["data"] = []
    with pytest.raises(UserError, match=r"describes no model; set reranker\.about=null"):
        endpoint(server).origin(tmp_path)
    with pytest.raises(UserError, match=r"answered 404: no such place; look at reranker\.url"):
        endpoint(server, about="/nowhere").origin(tmp_path)


# --- what goes wrong ---


def outcome(settings: Endpoint, cache: Path) -> str:
    """The one line of a failure."""
    work = work_of(settings, cache)
    with pytest.raises(UserError) as caught:
        score_work(work, Local())
    work.close()
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("service", ["tei", "voyage"])
@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("short", r"2 scores for 3 documents; it answered .*score"),
        ("long", "4 scores for 3 documents"),
        ("twice", "two scores for document [0-2] of 3"),
        ("beyond", "a score for document 3, while there are 3, counted from 0"),
        ("negative", "a score for document -1, while there are 3"),
        ("unnumbered", "an entry has the index None, which is not a whole number"),
        ("nan", "document [0-2] has the score nan, which is not a finite number"),
        ("null", "document [0-2] has the score None"),
        ("text", "document [0-2] has the score '0.5'"),
        ("truth", "document [0-2] has the score True"),
        ("infinite", "document [0-2] has the score 1000000"),
        ("large", r"document [0-2] has the score 1e\+300, which is not a finite number"),
        ("no list", "there is no list of scores .*; it answered .*no model is loaded"),
        ("half JSON", "answered something that is not JSON: "),
        ("deep JSON", "answered something that is not JSON"),
        ("200 page", r"answered something that is not JSON: 502 Bad\\x1b\[31m Gateway \\u202e nginx$"),
        ("400", r"answered 400: what \\x1b\[2Jis thisis this.*\.\.\.$"),
        ("redirect", "answered 307; it redirects to http://127.0.0.1:1/elsewhere, which is not followed"),
        ("endless", r"answered more than 1,00\d,\d{3} bytes"),
    ],
)
def test_an_answer_that_is_wrong_is_an_error_in_the_servers_words(
    service: str, trouble: str, told: str, server: RerankServer, tmp_path: Path
) -> None:
    """At once: asking again would change nothing, and may cost money. What came before it is kept."""
    server.troubles.extend(["", trouble])
    settings = endpoint(server, service, documents_per_request=3, concurrency=1)
    line = outcome(settings, tmp_path)
    assert line.startswith(f"{server.url}{settings.path}: ")
    assert len(line) < 700
    assert line.isprintable()
    assert re.search(told, line), line
    assert len(server.asked) == 2
    assert len(work_of(settings, tmp_path).missing()) == len(TEXTS) * len(QUERIES) - 3


@pytest.mark.parametrize("trouble", ["500", "502 page", "cut off", "slow0.4", "dripping"])
def test_what_is_over_in_a_moment_is_asked_again(trouble: str, server: RerankServer, tmp_path: Path) -> None:
    settings = endpoint(server, documents_per_request=3, timeout=0.3)
    work = work_of(settings, tmp_path)
    server.troubles.extend([trouble, trouble])
    np.testing.assert_array_equal(score_work(work, Local()).values[:, 0], expected(work))
    work.close()
    assert len(server.asked) == 9 + 2


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("500", "answered 500: CUDA out of memory, 3 times; scores that were obtained before are kept"),
        ("502 page", r"answered 502: 502 Bad\x1b[31m Gateway \u202e nginx, 3 times"),
        ("cut off", "no answer ("),
        ("slow", "no whole answer within reranker.timeout=0.1 s (raise it, or lower reranker.documents"),
    ],
)
def test_what_is_not_over_soon_ends_with_the_servers_words(
    trouble: str, told: str, server: RerankServer, tmp_path: Path
) -> None:
    settings = endpoint(server, retries=2, concurrency=1, timeout=0.1)
    server.troubles.extend([trouble] * 99)
    assert told in outcome(settings, tmp_path)
    assert len(server.asked) == 3


def test_a_server_that_says_when_to_come_back_is_believed(server: RerankServer, tmp_path: Path) -> None:
    work = work_of(endpoint(server, concurrency=1), tmp_path, ROWS[:1, :2])
    server.troubles.append("429")
    started = time.monotonic()
    score_work(work, Local())
    assert time.monotonic() - started >= 1.0
    server.troubles.append("429 for long")
    line = outcome(endpoint(server, characters_per_text=50, concurrency=1), tmp_path)
    assert "answered 429: the month is used up; it asks to wait 86,400 s" in line


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert connection.asked_wait("7") == 7.0
    assert 25 < (connection.asked_wait(soon) or 0) <= 30
    assert connection.asked_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [connection.asked_wait(text) for text in (None, "soon", "-3", "1e9", "")] == [None] * 5
    assert connection.pause(3, None) < connection.MOST_WAIT
    assert connection.pause(50, None) <= 1.25 * connection.MOST_WAIT
    assert connection.pause(3, 7.0) == 7.0


def test_nothing_that_was_answered_is_lost_where_one_request_fails(
    server: RerankServer, tmp_path: Path
) -> None:
    """Of four on their way at once one fails for good: what the others get may be paid for.

    Which of them comes first is chance, so all have one document.
    """
    server.troubles.extend(["400", "slow0.2", "slow0.2", "slow0.2"])
    settings = endpoint(server, "cohere", documents_per_request=1, concurrency=4)
    outcome(settings, tmp_path)
    asked = server.pairs
    assert len(work_of(settings, tmp_path).missing()) == len(TEXTS) * len(QUERIES) - (asked - 1)
    work = work_of(settings, tmp_path)
    np.testing.assert_array_equal(score_work(work, Local()).values[:, 0], expected(work))
    assert server.pairs == len(work.pairs) + 1


def test_no_server_is_said_with_its_address(tmp_path: Path, server: RerankServer) -> None:
    settings = replace(endpoint(server), url="http://127.0.0.1:9", retries=0)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/info: no answer \(.*refused.*running\?"):
        settings.origin(tmp_path)


# --- how it is asked ---


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_on_their_way_than_allowed(
    concurrency: int, server: RerankServer, tmp_path: Path
) -> None:
    server.troubles.extend(["slow0.03"] * 99)
    work = work_of(endpoint(server, "cohere", documents_per_request=2, concurrency=concurrency), tmp_path)
    score_work(work, Local())
    assert server.busiest == concurrency


def test_a_server_that_takes_fewer_documents_gets_fewer(server: RerankServer, tmp_path: Path) -> None:
    """text-embeddings-inference says so itself: three."""
    score_work(work_of(endpoint(server), tmp_path), Local())
    assert max(len(found["texts"]) for _, _, found in server.asked) == 3
    line = outcome(endpoint(server, about=None, model="x"), tmp_path)
    assert "answered 413: batch size 7 > maximum 3; if the request is too large, lower" in line


def test_no_query_is_taken_apart_for_another_request(server: RerankServer, tmp_path: Path) -> None:
    """Seven documents of each query and batches of five times two requests: one request a query is paid."""
    work = work_of(endpoint(server, "cohere", documents_per_request=10, concurrency=1), tmp_path)
    score_work(work, Local())
    assert [len(found["documents"]) for _, _, found in server.asked] == [len(TEXTS)] * len(QUERIES)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=9))), st.integers(1, 4), st.integers(1, 9))
def test_requests_hold_every_pair_once_and_no_more_than_they_may(
    pairs: list[tuple[str, str]], most: int, tokens: int
) -> None:
    queries, documents = [query for query, _ in pairs], [text for _, text in pairs]
    made = list(requests(queries, documents, Limits(most, tokens)))
    found = [(place, request.query, text) for request in made
             for place, text in zip(request.positions.tolist(), request.documents, strict=True)]  # fmt: skip
    assert found == [(place, *pair) for place, pair in enumerate(pairs)]
    assert all(len(request.documents) <= most for request in made)
    assert all(request.tokens <= tokens or len(request.documents) == 1 for request in made)


def test_places_in_a_template_are_filled_once() -> None:
    template = {"q": "Query: {query}", "d": ["{documents}"], "m": "{model}", "n": 3, "no": None}
    made = body.filled(template, "{model} {documents} {query}", ["{query}"], "m1")
    assert made == {"q": "Query: {model} {documents} {query}", "d": [["{query}"]], "m": "m1", "n": 3}
    assert "m" not in body.filled(template, "q", [], "")


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["results", "index", "score"]), inner, max_size=3)
    ),
)


@given(ANSWERS)
def test_any_answer_is_scores_or_malformed(answer: Any) -> None:
    for places in (
        Places("results", "index", "score"),
        Places("", None, ""),
        Places("results", None, "score"),
    ):
        try:
            found = places.scores(answer, 2)
        except Malformed:
            continue
        assert found.shape == (2,)
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "localhost:8080"}, "give an address such as http://127.0.0.1:8080"),
        ({"url": "ftp://h"}, "give an address such as"),
        ({"url": "http://h:notaport"}, "no address"),
        ({"url": "http://me:hidden1@h"}, "holds a user or a password; put what it needs into an environment"),
        ({"url": "https://h/?api_key=hidden1"}, "holds a key; put it into an environment variable"),
        ({"url": "https://h/?version=2"}, "has settings behind"),
        ({"path": "rerank"}, "reranker.path=rerank: give a path that begins with /"),
        ({"path": "/r?token=hidden1"}, "holds a key"),
        ({"body": {}}, "reranker.body: it is empty"),
        ({"body": {"q": "x", "d": "{documents}"}}, "it sends no query"),
        ({"body": {"q": "{query}"}}, "has to be"),
        (
            {"body": {"q": "{query}", "d": "{documents}", "api_key": "hidden1"}},
            "body.api_key: a key in a config",
        ),
        ({"body": {"q": "{query}", "d": "{documents}", "m": "{model}"}}, "reranker.model is needed"),
        ({"key_variable": "hidden1-key"}, "reranker.key_variable: give the name of an environment variable"),
        ({"key_header": "a b"}, "reranker.key_header=a b: this cannot be the name"),
        ({"concurrency": 0}, "reranker.concurrency=0: choose between 1 and 256"),
        ({"timeout": float("nan")}, "reranker.timeout=nan: choose between"),
        ({"price_per_request": -1.0}, "give what asking costs, 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], told: str) -> None:
    good = {"url": "http://h", "body": {"query": "{query}", "documents": "{documents}"}}
    (line,) = Endpoint(**(good | settings)).problems()
    assert told in line
    assert "hidden1" not in line


# --- keys ---


def test_a_key_is_sent_and_shown_nowhere(
    server: RerankServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    masking.install()
    server.key = KEY
    settings = endpoint(server, key_variable="MY_API_KEY", key_header="api-key")
    work = work_of(settings, tmp_path)
    score_work(work, Local())
    assert work.model.connection.key is not None  # type: ignore[attr-defined]
    monkeypatch.setenv("MY_API_KEY", f"{KEY}-old")
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(UserError) as caught:
            settings.origin(tmp_path)
        logging.getLogger("rerankbench").warning("it was %s", KEY)
    shown = "".join(traceback.format_exception(caught.value))
    assert "answered 401: the key *** is not known; is the key in MY_API_KEY the right one?" in shown
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()).decode("latin-1")
    for text in (shown, caplog.text, written, repr(work.reranker), repr(work.model.connection.key)):  # type: ignore[attr-defined]
        assert KEY not in text


def test_a_key_that_is_not_there_is_asked_for_before_anything(
    server: RerankServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COHERE_API_KEY")
    told = "reranker.key_variable=COHERE_API_KEY: the environment has no COHERE_API_KEY; export it"
    with pytest.raises(UserError, match=told):
        api.load_reranker("cohere", url=server.url, device="cpu", precision="fp32", cache_dir=tmp_path)
    monkeypatch.setenv("COHERE_API_KEY", "a\nb: c")
    with pytest.raises(UserError, match="holds cannot be a key"):
        api.load_reranker("cohere", url=server.url, device="cpu", precision="fp32", cache_dir=tmp_path)
    server.key = KEY
    with pytest.raises(UserError, match=r"401: .*; if it wants a key, name its environment variable"):
        endpoint(server).origin(tmp_path)
    assert not server.asked


def test_a_key_goes_nowhere_unencrypted_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    given = Endpoint(url="http://tei.example:80", key_variable="MY_API_KEY")
    given.connection().close()
    assert "the key goes there unencrypted" in caplog.text
    caplog.clear()
    for url in ("https://tei.example", "http://127.0.0.1:3", "http://[::1]:3", "http://localhost:3"):
        replace(given, url=url).connection().close()
    assert not caplog.text


# --- what it costs ---


def test_a_forecast_says_what_a_run_would_cost_and_asks_nothing(
    server: RerankServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COHERE_API_KEY")  # no key is needed to know the price
    settings = endpoint(server, "cohere", documents_per_request=5)
    work = work_of(settings, tmp_path)
    queries, documents = work.texts(np.arange(len(work.pairs)))
    tokens = sum(-(-len(text.encode()) // 4) for text in [*queries, *documents])
    line = estimate.text_step(work).line()
    assert f"6 requests with about {tokens:,} tokens, for about 0.012 by the prices in the config" in line
    assert "how long is not known" in line
    voyage = work_of(endpoint(server, "voyage"), tmp_path)
    assert f"for about {tokens * 0.05 / 1e6:,.4g} by" in estimate.text_step(voyage).line()
    other = work_of(endpoint(server, "voyage", model="rerank-2.5-lite"), tmp_path)
    assert "at a price that is known for rerank-2.5 only; give" in estimate.text_step(other).line()
    given = endpoint(server, "voyage", model="m", price_of=None, price_per_million_tokens=1e6)
    assert f"for about {tokens:,} by" in estimate.text_step(work_of(given, tmp_path)).line()
    jina = work_of(endpoint(server, "jina"), tmp_path)
    assert "at a price that is not known; give reranker.price_per_request" in estimate.text_step(jina).line()
    assert not server.asked
    free = estimate.text_step(work_of(endpoint(server), tmp_path))
    assert free.timed
    assert (
        "9 requests with about" not in free.line()
    )  # its own limit of three is not known before it is asked
    assert server.asked
