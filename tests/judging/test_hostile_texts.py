"""Judging texts and ids that nobody would make up: markup, formulas, line breaks, long, right to left."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from collections_on_disk import jsonl
from commands import run
from judging_pages import CHROMIUM, HERE, PORT, TOKEN, press, served, session
from rerankbench.commands import judge
from rerankbench.judging import qrels
from rerankbench.judging.page import page, readable
from rerankbench.judging.queue import Queue
from rerankbench.judging.record import Record
from rerankbench.judging.session import Session

MARKUP = "topic <script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
LONG = "topic " + "word " * 10_000
TEXTS = {
    'a,b;"c"': MARKUP,
    "line\nbreak": LONG,
    " blanks\tand tabs ": "topic \u05e9\u05dc\u05d5\u05dd, \u05e2\u05d5\u05dc\u05dd\u200f!\r\n(1)",
    "same-1": "topic topic",
    "same-2": "topic topic",
    "=1+1": '=HYPERLINK("http://evil.example";"topic topic topic")',
    "rtl\u202eid": "\u05e9\u05dc\u05d5\u05dd topic",
}
QUERIES = {"q,1\n": "topic", "'=q\"2": "topic word"}
GRADES = {name: number % 4 for number, name in enumerate(TEXTS)} | {"same-2": 3}  # as "same-1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    jsonl(folder / "corpus.jsonl", [{"_id": name, "text": text} for name, text in TEXTS.items()])
    jsonl(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in QUERIES.items()])
    for number in range(2):  # two first stages
        words = [
            "dataset=files", f"dataset.corpus={folder / 'corpus.jsonl'}", "reranker=none",
            f"dataset.queries={folder / 'queries.jsonl'}", "first_stage=bm25", f"first_stage.b={number}",
            "tracking=none", "device=cpu", "candidates=10", "cutoffs=[1,10]",
            f"cache_dir={folder / 'cache'}", f"hydra.run.dir={folder / 'sweep' / str(number)}",
        ]  # fmt: skip
        assert run(*words) == 0
    return folder / "sweep"


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sweep"))


def test_every_text_is_shown_once_and_kept_by_each_of_its_ids(sweep: Path) -> None:
    client = TestClient(page(Queue(session(sweep, pool=10)), TOKEN, PORT), headers=HERE)
    found = client.get(f"/{TOKEN}/pair").json()
    given, asked = {}, 0
    while found["pair"] is not None:
        doc_id = found["pair"]["doc_id"]
        assert found["document"] == readable(TEXTS[doc_id])
        asked += 1
        for copy in (name for name, text in TEXTS.items() if text == TEXTS[doc_id]):
            given[found["pair"]["query_id"], copy] = GRADES[doc_id]
        body = found["pair"] | {"answer": "judged", "grade": GRADES[doc_id]}
        found = client.post(f"/{TOKEN}/answer", json=body).json()
    assert {doc_id for _, doc_id in given} == set(TEXTS)
    assert asked < len(given)
    assert qrels.read(sweep / "judging" / "qrels.json").grades == given


def test_a_text_is_read_as_it_is_but_nothing_in_it_is_hidden() -> None:
    assert readable("a\r\nb\rc") == "a\nb\nc"
    assert readable("\u05e9\u200f!\u00ad") == "\u05e9\u200f!\u00ad"
    assert readable("\u202eevil\x1b[1m\u2066") == "\\u202eevil\\x1b[1m\\u2066"


@pytest.mark.parametrize("saved", ["by Excel in English", "by Excel in German", "by LibreOffice"])
def test_a_spreadsheet_brings_every_grade_back_to_its_id(sweep: Path, tmp_path: Path, saved: str) -> None:
    file = tmp_path / "pairs.csv"
    assert judge.main([str(sweep), "--pool", "10", "--export", str(file)]) == 0
    rows = list(csv.DictReader(file.open(encoding="utf-8-sig", newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    assert all(len(cell) < 32_767 for row in rows for cell in row.values())
    assert sum("[cut here: the passage is longer" in row["document"] for row in rows) == len(QUERIES)
    for row in rows:
        row["grade"] = str(GRADES[row["doc_id"].removeprefix("'")])
    separator = ";" if "German" in saved else ","
    encoding = "utf-8" if "Libre" in saved else "utf-8-sig"
    quoting = csv.QUOTE_ALL if "Libre" in saved else csv.QUOTE_MINIMAL
    with file.open("w", encoding=encoding, newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), delimiter=separator, quoting=quoting)
        writer.writeheader()
        writer.writerows(rows)
    assert judge.main([str(sweep), "--import", str(file), "--judge", "anna"]) == 0
    kept = {pair: grade for pair, (grade, _) in Record(sweep / "judging").grades().items()}
    assert len(kept) > len(rows) == len({(row["query"], row["document"]) for row in rows})
    assert all(grade == GRADES[doc_id] for (_, doc_id), grade in kept.items())


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_shows_them_as_texts(sweep: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with served(sweep, "--pool", "10") as (_, url), playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 390, "height": 800})
        opened.goto(url)
        opened.locator("#asked").wait_for()
        seen = {}
        for _ in range(2 * len(TEXTS) * len(QUERIES)):
            if not opened.locator("#asked").is_visible():
                break
            text = opened.locator("#document").text_content()
            direction = opened.evaluate("getComputedStyle(document.getElementById('document')).direction")
            seen[text] = direction, opened.locator("#longer").is_visible()
            assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if text == LONG:
                opened.keyboard.press("PageDown")  # the passage has the focus, whatever was pressed
                opened.wait_for_function("() => document.getElementById('passage').scrollTop > 0")
            press(opened, "1")
        assert seen[MARKUP] == ("ltr", False)
        assert seen[LONG] == ("ltr", True)
        assert seen[readable(TEXTS["rtl\u202eid"])][0] == "rtl"
        assert set(seen) == {readable(text) for text in TEXTS.values()}
        assert opened.title() == "Judge"
        browser.close()


def copy_of(pair: tuple[str, str]) -> tuple[str, str]:
    """The same query with the other document of the same text."""
    return pair[0], {"same-1": "same-2", "same-2": "same-1"}[pair[1]]


def test_undo_after_a_restart_takes_back_the_last_answer_and_kappa_is_shown_for_two(sweep: Path) -> None:
    asked = []
    for grade in (1, 0, 3):
        client = TestClient(page(Queue(session(sweep, pool=10)), TOKEN, PORT), headers=HERE)
        pair = client.get(f"/{TOKEN}/pair").json()["pair"]
        asked.append((pair["query_id"], pair["doc_id"]))
        client.post(f"/{TOKEN}/answer", json=pair | {"answer": "judged", "grade": grade})
    again = TestClient(page(Queue(session(sweep, pool=10)), TOKEN, PORT), headers=HERE)
    found = again.post(f"/{TOKEN}/undo", json={}).json()
    assert (found["pair"]["query_id"], found["pair"]["doc_id"]) == asked[2]
    kept = Record(sweep / "judging").grades()
    assert {pair: grade for pair, (grade, _) in kept.items()} == {
        asked[0]: 1,
        asked[1]: 0,
        copy_of(asked[1]): 0,
    }
    found = again.post(f"/{TOKEN}/undo", json={}).json()  # both of its ids
    assert (found["pair"]["query_id"], found["pair"]["doc_id"]) == asked[1]
    assert list(Record(sweep / "judging").grades()) == [asked[0]]
    again.post(f"/{TOKEN}/answer", json=found["pair"] | {"answer": "judged", "grade": 0})
    other = TestClient(page(Queue(session(sweep, "person:ben", check=2)), TOKEN, PORT), headers=HERE)
    for _ in range(2):
        pair = other.get(f"/{TOKEN}/pair").json()["pair"]
        same = kept[pair["query_id"], pair["doc_id"]][0]
        other.post(f"/{TOKEN}/answer", json=pair | {"answer": "judged", "grade": same})
    lines = Session.of([str(sweep)], None, "person:ben", 10, None, None).lines()
    assert "agreement  anna and ben: 3 pairs judged by both, Cohen's kappa 1.00 (relevant or not)" in str(
        lines
    )
