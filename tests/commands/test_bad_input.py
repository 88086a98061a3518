"""Every fault of the table is a clear line and exit code 2; what is odd but right gives the plain figures."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fault_table
from bad_input import FAULTS, Fault
from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir
from commands import run, tiny
from cures import CURES, NEXT
from fault_table import Outcome

# Faults that are several mistakes, or that one file shows in several ways.
SEVERAL = (
    "all three files wrong",
    "a callback of their own",
    "a function of ours as a callback",
    "a link to nothing",
)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What was found so far."""
    return {}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults") / "here"


def outcome(fault: Fault, outcomes: dict[str, Outcome], here: Path, models: Path) -> Outcome:
    if fault.title not in outcomes:
        outcomes[fault.title] = fault_table.run(fault, here, models)
    return outcomes[fault.title]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_a_fault_is_a_clear_line_and_nothing_else(
    fault: Fault, outcomes: dict[str, Outcome], here: Path, models: Path
) -> None:
    found = outcome(fault, outcomes, here, models)
    assert found.code == 2, found.printed
    assert any(fault.said.replace("{here}", "<folder>") in line for line in found.lines), found.lines
    assert "Traceback" not in found.printed
    assert found.left == []
    assert len(found.lines) == 1 or fault.name in SEVERAL, found.lines
    assert all(line.isprintable() and len(line) < 500 for line in found.lines), found.lines
    assert "s3cret" not in found.printed


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_its_cure_leads_to_a_run_or_to_the_next_fault(
    fault: Fault, outcomes: dict[str, Outcome], here: Path, models: Path
) -> None:
    said = outcome(fault, outcomes, here, models).lines
    lines = fault_table.cured_lines(fault, said, here, models)
    if fault.title in NEXT:
        assert any(NEXT[fault.title] in line for line in lines), lines
        assert not set(said) & set(lines)
    else:
        assert lines == []


def test_every_fault_has_one_cure_and_every_cure_a_fault() -> None:
    titles = {fault.title for fault in FAULTS}
    assert len(titles) == len(FAULTS)
    assert set(CURES) == {fault.title for fault in FAULTS if not fault.cure}
    assert set(NEXT) <= titles


def test_the_page_is_what_the_tests_make(
    outcomes: dict[str, Outcome], here: Path, models: Path, tmp_path: Path
) -> None:
    every = {fault.title: outcome(fault, outcomes, here, models) for fault in FAULTS}
    made = fault_table.page(every, fault_table.config_faults(tmp_path / "bad"))
    assert fault_table.PAGE.read_text(encoding="utf-8") == made, "make fault-table writes it anew"


# --- odd but right: the same figures as the plain form ---


def plain(models: Path, folder: Path, *words: str) -> dict[str, dict[str, float]]:
    """The measures of a run of BM25 and a reranker on `folder/data`."""
    first = ["first_stage=bm25", "tracking=none", "reranker=base", f"reranker.model={models / 'base'}"]
    shutil.rmtree(folder / "out", ignore_errors=True)
    assert run(*tiny(models, folder), *first, *words) == 0
    measures: dict[str, dict[str, float]] = json.loads((folder / "out" / "result.json").read_text())[
        "measures"
    ]
    return measures


def rewrite(folder: Path, change: Callable[[bytes], bytes]) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        file = folder / "data" / name
        file.write_bytes(change(file.read_bytes()))


def carriage_returns(folder: Path) -> None:
    rewrite(folder, lambda content: content.replace(b"\n", b"\r\n"))


def byte_order_marks(folder: Path) -> None:
    rewrite(folder, lambda content: b"\xef\xbb\xbf" + content)


def no_last_line_end(folder: Path) -> None:
    rewrite(folder, lambda content: content.rstrip(b"\n"))


def blank_lines(folder: Path) -> None:
    rewrite(folder, lambda content: content.replace(b"\n", b"\n\n"))


def strange_ids(folder: Path) -> None:
    """Quotes, spaces, slashes, a formula and a tag: an id is a name and nothing else."""
    names = {"007": 'a "b" \'c\'', "7": "=1+1/../x", "c": "<script>|é", "gone": "not there",
             "q1": 'q "1" 🙂', "q2": "../q 2"}  # fmt: skip
    documents = [(names.get(key, key), title, text) for key, title, text in CAPITALS]
    queries = [(names.get(key, key), title, text) for key, title, text in QUESTIONS]
    beir(folder / "data", documents, queries, [(names[q], names[d], grade) for q, d, grade in GRADES])


def a_megabyte(folder: Path) -> None:
    """A megabyte of blanks behind each text, which neither BM25 nor the tokenizer makes a word of."""
    documents = [(key, title, text + " " * 1_000_000) for key, title, text in CAPITALS]
    beir(folder / "data", documents)


def grades_as_decimals(folder: Path) -> None:
    """Grades as 2.0, as spreadsheets write them."""
    file = folder / "data" / "qrels" / "test.tsv"
    file.write_text(re.sub(r"(\d)\n", r"\1.0\n", file.read_text()))


def judged_twice(folder: Path) -> None:
    """The same judgement twice is one judgement."""
    file = folder / "data" / "qrels" / "test.tsv"
    file.write_text(file.read_text() + "q1\t007\t2\n")


def behind_links(folder: Path) -> None:
    """A link to the files, and a path with `..` that stays where it leads."""
    (folder / "data").rename(folder / "elsewhere")
    (folder / "data").symlink_to(folder / "x" / ".." / "elsewhere")
    (folder / "x").mkdir()


ODD = [carriage_returns, byte_order_marks, no_last_line_end, blank_lines, strange_ids, a_megabyte,
       grades_as_decimals, judged_twice, behind_links]  # fmt: skip


@pytest.fixture(scope="module")
def usual(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    return plain(models, tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("change", ODD, ids=lambda change: change.__name__)
def test_what_is_odd_but_right_gives_the_plain_figures(
    change: Callable[[Path], None], usual: dict[str, dict[str, float]], models: Path, tmp_path: Path
) -> None:
    beir(tmp_path / "data")
    change(tmp_path)
    assert plain(models, tmp_path) == usual


def test_a_query_beyond_max_length_is_scored_by_its_beginning(models: Path, tmp_path: Path) -> None:
    """24 tokens of a query are read at max_length=32: what follows them changes nothing."""
    lines = [f"{query} Q0 {document} {rank} {-rank} x" for query in ("q1", "q2")
             for rank, document in enumerate(("007", "7", "c", "d"))]  # fmt: skip
    run_file = tmp_path / "run.trec"
    run_file.write_text("\n".join(lines))
    found = []
    for tail in ("", " and then some more" * 2000):
        begun = [(key, "", (text + " ") * 50 + tail) for key, _, text in QUESTIONS]
        beir(tmp_path / "data", queries=begun)
        words = ["first_stage=run", f"first_stage.path={run_file}", "reranker.max_length=32"]
        plain(models, tmp_path, *words)
        found.append((tmp_path / "out" / "reranked.trec").read_text())
    assert found[0] == found[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_named(models: Path, tmp_path: Path, capsys: Any) -> None:
    beir(tmp_path / "data")
    (tmp_path / "data" / "corpus.jsonl").chmod(0)
    assert run(*tiny(models, tmp_path), "first_stage=bm25", "reranker=none", "tracking=none") == 2
    assert "corpus.jsonl: you may not read it; change its permissions" in capsys.readouterr().err
