"""The page on which a person judges: who may reach it, what it keeps, and in a real browser what it does."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from judging_pages import CHROMIUM, HERE, PORT, TOKEN, press, served, session
from rerankbench.judging.page import page
from rerankbench.judging.queue import Queue
from rerankbench.judging.record import Record
from unjudged_sweep import grade, texts


@pytest.fixture
def client(sweep: Path) -> TestClient:
    return TestClient(page(Queue(session(sweep)), TOKEN, PORT), headers=HERE)


def answer(client: TestClient, **given: object) -> dict[str, object]:
    pair = client.get(f"/{TOKEN}/pair").json()["pair"]
    found = client.post(f"/{TOKEN}/answer", json={**pair, "answer": "judged", "grade": 1, **given})
    return {"status": found.status_code, **found.json(), "asked": (pair["query_id"], pair["doc_id"])}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/wrong-token/pair", {}),
        ("//pair", {}),
        ("/pair", {}),
        ("/", {}),
        (f"/{TOKEN}/pair", {"host": "evil.example:8123"}),
        (f"/{TOKEN}/pair", {"host": "127.0.0.1:1"}),
        (f"/{TOKEN}/pair", {"origin": "http://evil.example"}),
        (f"/{TOKEN}/docs", {}),
        (f"/{TOKEN}/openapi.json", {}),
    ],
)
def test_nobody_gets_in_without_the_token_or_by_another_name(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    assert client.get(path, headers=HERE | headers).status_code == 404


def test_a_request_about_no_path_is_nobody_here(sweep: Path) -> None:
    """`OPTIONS * HTTP/1.1`, as the server hands it on."""
    scope = {"type": "http", "method": "OPTIONS", "path": "*", "raw_path": b"*", "query_string": b"",
             "headers": [(b"host", HERE["host"].encode())], "server": ("127.0.0.1", PORT)}  # fmt: skip
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    asyncio.run(page(Queue(session(sweep)), TOKEN, PORT)(scope, receive, send))
    assert statuses == [404]


def test_the_token_is_compared_in_constant_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("secrets.compare_digest", lambda *both: bool(compared.append(both)))
    assert client.get(f"/{TOKEN}/pair").status_code == 404
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


def test_answers_come_from_the_page_alone_and_are_answers(client: TestClient, sweep: Path) -> None:
    pair = client.get(f"/{TOKEN}/pair").json()["pair"]
    good = {**pair, "answer": "judged", "grade": 2, "note": ""}
    place = f"/{TOKEN}/answer"
    assert client.post(place, data=good).status_code == 404  # what a form elsewhere could send
    assert client.post(place, json=good, headers=HERE | {"origin": "http://evil.example"}).status_code == 404
    assert (
        client.post(place, content=b"{" * 200_000, headers={"content-type": "application/json"}).status_code
        == 404
    )
    for bad in (
        {"grade": 4},
        {"grade": -1},
        {"grade": "2"},
        {"grade": True},
        {"answer": "skipped"},
        {"answer": "undone"},
        {"query_id": "gone"},
        {"note": "x" * 3000},
        {"judge": "person:ben"},
    ):
        assert client.post(place, json=good | bad).status_code == 422, bad
    assert Record(sweep / "judging").grades() == {}
    assert client.post(place, json=good).status_code == 200


def test_the_page_tells_nothing_of_the_arms_and_allows_no_foreign_code(client: TestClient) -> None:
    shown = client.get(f"/{TOKEN}/")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert shown.headers["referrer-policy"] == "no-referrer"
    told = client.get(f"/{TOKEN}/pair").json()
    assert set(told) == {"judged", "left", "settled", "pair", "query", "title", "document"}
    assert "good" not in shown.text + str(told)


def test_each_answer_is_on_the_disk_before_the_next_pair_is_shown(client: TestClient, sweep: Path) -> None:
    for number in range(1, 5):
        found = answer(client, grade=3, note="why")
        lines = (sweep / "judging" / "qrels.txt").read_text().splitlines()
        assert len(lines) == number == found["judged"]
        assert "{} person:anna {} 3".format(*found["asked"]) in lines  # type: ignore[misc]
    assert {each.note for each in Record(sweep / "judging").latest.values()} == {"why"}


def test_undo_asks_again_and_skipped_pairs_are_not_asked_again(client: TestClient, sweep: Path) -> None:
    first = answer(client, grade=2)["asked"]
    found = client.post(f"/{TOKEN}/undo", json={}).json()
    assert (found["pair"]["query_id"], found["pair"]["doc_id"]) == first
    assert (sweep / "judging" / "qrels.txt").read_text() == ""
    skipped = answer(client, answer="skipped", grade=None)["asked"]
    unclear = answer(client, answer="cannot tell", grade=None)["asked"]
    again = Queue(session(sweep)).session.next(1000)
    assert skipped not in again
    assert unclear not in again
    assert Record(sweep / "judging").grades() == {}


def test_a_second_judge_is_asked_about_the_same_pairs_without_seeing_grades(
    client: TestClient, sweep: Path
) -> None:
    asked = {answer(client, grade=1)["asked"] for _ in range(6)}
    other = TestClient(page(Queue(session(sweep, "person:ben", check=6)), TOKEN, PORT), headers=HERE)
    again = {answer(other, grade=1)["asked"] for _ in range(6)}
    assert again == asked
    assert other.get(f"/{TOKEN}/pair").json()["pair"] is None
    assert Record(sweep / "judging").grades()[next(iter(asked))] == (1, "person:anna+ben")


def test_where_the_disk_is_full_it_says_so_and_the_pair_stays(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rerankbench.judging.record.append", full)
    found = answer(client)
    assert (found["status"], found["error"]) == (507, "not saved: No space left on device")
    now = client.get(f"/{TOKEN}/pair").json()["pair"]
    assert (now["query_id"], now["doc_id"]) == found["asked"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_person_judges_by_keys_in_a_browser_until_it_is_settled(sweep: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    hostile = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    with served(sweep, "--judge", "anna") as (_, url), playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 390, "height": 800})
        complaints: list[str] = []
        opened.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(url)
        opened.locator("#asked").wait_for()
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.keyboard.press("n")
        opened.keyboard.type(f"2 {hostile}")  # keys in the note are no grades
        opened.keyboard.press("Escape")
        press(opened, "0")
        press(opened, "u")
        press(opened, "s")
        for _ in range(200):
            if not opened.locator("#asked").is_visible():
                break
            document = opened.locator("#document").get_attribute("data-pair").split()[1]
            press(opened, str(grade(texts()[document])))
        assert "It is settled which arm is best" in opened.locator("#done").inner_text()
        assert complaints == []
        assert opened.title() == "Judge"
        browser.close()
    assert len(Record(sweep / "judging").grades()) >= 20


@pytest.mark.faults
def test_kill_9_in_the_middle_of_judging_loses_no_answer_that_was_confirmed(sweep: Path) -> None:
    import httpx

    confirmed: dict[tuple[str, str], int] = {}
    for round_ in range(3):
        with served(sweep, "--pool", "10") as (process, url):
            threading.Timer(1.5 + 0.37 * round_, os.kill, [process.pid, signal.SIGKILL]).start()
            try:
                with httpx.Client(timeout=5) as client:
                    for number in range(10_000):
                        pair = client.get(f"{url}pair").json()["pair"]
                        if pair is None:
                            break
                        given = pair | {"answer": "judged", "grade": number % 4, "note": ""}
                        if client.post(f"{url}answer", json=given).status_code == 200:
                            confirmed[pair["query_id"], pair["doc_id"]] = number % 4
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        kept = {pair: value for pair, (value, _) in Record(sweep / "judging").grades().items()}
        assert confirmed.items() <= kept.items()
        assert len(kept) <= len(confirmed) + round_ + 1  # the one under way may be kept, too
    assert confirmed
