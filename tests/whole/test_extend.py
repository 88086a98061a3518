"""docs/extend.md as a reader follows it: its packages installed, its commands typed, its scores stored."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import warm
from acme_server import Acme, acme, shared
from commands import results
from rerankbench.engine.store.rows import RowStore, pair_keys, text_digests
from scratch_packages import install, offer

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()
ARTICLES = {f"a{n}": text for n, text in enumerate([
    "reset your password in the settings", "the printer is out of paper", "invoices are sent each month",
    "paper for the printer is in the cupboard", "a password has twelve characters", "pay an invoice by card",
])}  # fmt: skip
QUESTIONS = {
    "q1": "how do I reset a password",
    "q2": "where is paper for the printer",
    "q3": "pay my invoice",
}
ANSWERS = [("q1", "a0", 2), ("q1", "a4", 1), ("q2", "a3", 1), ("q3", "a5", 1)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the page's packages on a path, and the database that its collection reads."""
    (tmp_path / "site").mkdir()
    assert install(tmp_path / "site", PAGE) == ["acme-reranker", "desk-collection", "tfidf-stage"]
    with closing(sqlite3.connect(tmp_path / "desk.sqlite")) as database, database:
        database.execute("create table articles (id text, body text)")
        database.execute("create table questions (id text, text text)")
        database.execute("create table answers (question text, article text, grade integer)")
        database.executemany("insert into articles values (?, ?)", ARTICLES.items())
        database.executemany("insert into questions values (?, ?)", QUESTIONS.items())
        database.executemany("insert into answers values (?, ?, ?)", ANSWERS)
    return tmp_path


@pytest.fixture
def service() -> Iterator[Acme]:
    with acme() as server:
        yield server


def typed(place: Path, *WORDS: str) -> subprocess.CompletedProcess[str]:
    """A command with the packages installed."""
    return warm.typed(*WORDS, cwd=place, site=place / "site")


def lenient(place: Path, service: Acme) -> list[str]:
    """The page's own option, in a folder that the command is told of."""
    (place / "own" / "reranker").mkdir(parents=True, exist_ok=True)
    yaml = PAGE.partition("```yaml\n")[2].partition("```")[0].replace("http://localhost:8000", service.url)
    (place / "own" / "reranker" / "lenient.yaml").write_text(yaml)
    return ["--config-dir", "own"]


WORDS = (
    "dataset=desk", "dataset.path=desk.sqlite", "first_stage=tfidf", "candidates=3", "cutoffs=[1,3]",
    "report.measure=ndcg_at_3", "tracking=none", "device=cpu", "report.race.seconds=0", "cache_dir=cache",
    "hydra.run.dir=out", "hydra.sweep.dir=sweep",
)  # fmt: skip


def test_the_pages_packages_run_together_and_their_scores_are_stored(place: Path, service: Acme) -> None:
    first = typed(place, *lenient(place, service), "-m", "reranker=none,lenient", *WORDS)
    assert first.returncode == 0, first.stderr
    arm = results(place / "sweep")["tfidf + lenient@3"]
    assert arm["model"]["label"] == "acme-7"
    assert arm["model"]["parameters"] is None
    assert arm["pairs"] == {"total": service.pairs, "scored": service.pairs, "reused": 0}
    assert service.pairs > len(QUESTIONS)

    (folder,) = (place / "cache" / "scores").iterdir()
    pairs = [(query, text) for query in QUESTIONS.values() for text in ARTICLES.values()]
    keys = pair_keys(text_digests(q for q, _ in pairs), text_digests(t for _, t in pairs))
    values, known = RowStore(folder, {}).lookup(keys, [0])
    assert known.sum() == service.pairs
    want = np.array([shared(*pair) for pair in pairs], np.float32)
    np.testing.assert_array_equal(values[known, 0], want[known])

    asked = service.pairs
    again = typed(place, *lenient(place, service), "reranker=lenient", *WORDS)
    assert again.returncode == 0, again.stderr
    assert service.pairs == asked


def test_a_service_that_gives_up_loses_nothing(place: Path, service: Acme) -> None:
    url = f"reranker.url={service.url}"
    service.patience = 0
    failed = typed(place, "reranker=acme", url, *WORDS)
    assert failed.returncode == 2
    assert f"{service.url}/score: no answer (HTTP Error 503" in failed.stderr
    assert "Traceback" not in failed.stderr
    service.patience = 10**9
    assert typed(place, "reranker=acme", url, *WORDS).returncode == 0


def test_an_installed_option_is_listed_explained_and_checked(place: Path, service: Acme) -> None:
    url = f"reranker.url={service.url}"
    offer(place / "site", "broken-part", {"rerankbench.rerankers": {"broken": "there_is_no_such:Thing"}})
    shown = typed(place, "--help", "reranker", "reranker=acme").stdout  # one process, the slow part
    assert re.search("acme +of the installed package acme-reranker", shown)
    assert "reranker.style=strict" in shown
    assert re.search("broken +of the installed package broken-part", shown)
    wrong = typed(place, "reranker=acme", url, *WORDS, "reranker.style=loose", "dataset.path=nowhere.sqlite")
    assert wrong.returncode == 2
    assert "reranker.style=loose: choose strict or lenient" in wrong.stderr
    assert "nowhere.sqlite: there is no such file" in wrong.stderr
    own = typed(place, *lenient(place, service), "reranker=lenient", *WORDS, "dry_run=true")
    assert own.returncode == 0, own.stderr
    assert service.pairs > 0  # a pilot

    broken = typed(place, "reranker=broken", *WORDS)
    assert broken.returncode == 2
    assert "offered by the installed package broken-part, which cannot be imported" in broken.stderr
    assert "Traceback" not in broken.stderr
