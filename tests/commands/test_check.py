"""Every planted oddity is found, with its count, an example and its effect; a clean collection has none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from collections_on_disk import beir, jsonl, table
from rerankbench.basics.finding import Finding
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.commands.check.findings import examine, findings
from rerankbench.commands.check.findings import table as findings_table
from rerankbench.first_stages.run import Run


def words(texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
    """A tokenizer whose tokens are words."""
    assert not add_special_tokens
    return {"input_ids": [text.split() for text in texts]}


def by_name(found: list[Finding]) -> dict[str, Finding]:
    assert len({one.what for one in found}) == len(found)
    return {one.what: one for one in found}


def warnings(found: list[Finding]) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {one.what: (one.count, one.examples) for one in found if one.severity != "info"}


def test_a_clean_collection_has_only_its_sizes() -> None:
    clean = collection_of({"a": "one two", "b": "three"}, {"q": "who"}, {"q": {"a": 2, "b": 0}})
    assert [(one.what, one.count, one.examples) for one in findings(clean, None, words, 16)] == [
        ("documents", 2, ()),
        ("judged queries", 1, ("median 2 judgements", "most 2")),
        ("judgements", 2, ("grade 0: 1", "grade 2: 1")),
        ("documents measured, in tokens", 2, ("median 2", "95% up to 2", "longest 2")),
        ("queries measured, in tokens", 1, ("median 1", "95% up to 1", "longest 1")),
    ]


ODD_DOCUMENTS = [
    ("007", "", "the spy"),
    ("e1", "", ""),
    ("e2", "", " \u3000\n"),
    ("e3", "", ""),
    ("d1", "", "twice"),
    ("d2", "", "twice"),
    ("d3", "", "twice"),
    ("my doc", "", "an id with a space"),
    ("m1", "", "caf\u00c3\u00a9 and it\u00e2\u20ac\u2122s"),
    ("m2", "", "replaced \ufffd"),
    ("self", "", "the whole text of a query"),
    ("long", "", "word " * 30),
]
ODD_QUERIES = [
    ("self", "", "the whole text of a query"),
    ("q1", "", "asked twice"),
    ("q2", "", "asked twice"),
    ("q3", "", "query " * 20),
    ("q4", "", "unjudged"),
    ("q5", "", ""),
    ("d1", "", "another thing"),
]
ODD_JUDGEMENTS = [
    ("self", "007", 1),
    ("q1", "7", 1),
    ("q1", "e1", 1),
    ("q2", "gone", 1),
    ("q3", "d1", -1),
    ("q3", "07.0", 0),
    ("q5", "007", 1),
    ("q9", "007", 1),
    ("d1", "007", 1),
]
ODDITIES = {
    "documents": ("info", 12, ()),
    "judged queries": ("info", 6, ("median 1 judgements", "most 2")),
    "judgements": ("info", 8, ("grade -1: 1", "grade 0: 1", "grade 1: 6")),
    "queries without judgements in this split": ("info", 1, ("'q4'",)),
    "judged queries that the queries file does not have": ("warning", 1, ("'q9'",)),
    "judged documents that the corpus does not have": ("warning", 3, ("'7'", "'gone'", "'07.0'")),
    "document ids of judgements that differ from known ones only in zeros": (
        "warning",
        2,
        ("'7' for '007'", "'07.0' for '007'"),
    ),
    "judgements below 0": ("info", 1, ()),
    "judged queries without a document of grade 1 or more": ("warning", 1, ()),
    "judged queries without text": ("warning", 1, ("'q5'",)),
    "documents without text": ("warning", 3, ("'e1'", "'e2'", "'e3'")),
    "relevant documents without text": ("warning", 1, ("'e1'",)),
    "documents with the same text as an earlier one": ("warning", 2, ("'d2'", "'d3'")),
    "documents with signs of a wrong encoding": ("warning", 2, ("'m1'", "'m2'")),
    "judged queries with the same text as an earlier one": ("info", 1, ("'q2'",)),
    "document ids with white space": ("info", 1, ("'my doc'",)),
    "queries that are documents too": ("warning", 1, ("'self'",)),
    "query ids that are also the id of another document": ("info", 1, ("'d1'",)),
    "documents that do not fit into max_length=16 beside a query": ("warning", 1, ("'long'",)),
    "queries that fill max_length=16 alone": ("warning", 1, ("'q3'",)),
    "columns read of corpus.jsonl": (
        "info",
        3,
        ("id from '_id'", "title from 'title'", "text from 'text'"),
    ),
    "columns read of queries.jsonl": ("info", 2, ("id from '_id'", "text from 'text'")),
    "columns read of test.tsv": (
        "info",
        3,
        ("query from 'query-id'", "document from 'corpus-id'", "grade from 'score'"),
    ),
}


def test_a_dozen_planted_oddities_are_found(tmp_path: Path) -> None:
    source = Beir(path=str(beir(tmp_path, ODD_DOCUMENTS, ODD_QUERIES, ODD_JUDGEMENTS)))
    found = by_name(examine(source, tmp_path, tokenizer=words, max_length=16))
    assert {
        what: (one.severity, one.count, one.examples) for what, one in found.items() if "measured" not in what
    } == ODDITIES
    assert all(one.effect for what, one in found.items() if found[what].severity != "info")
    assert [one.severity for one in found.values()] == sorted(
        (one.severity for one in found.values()), reverse=True
    )


def test_dropping_same_ids_turns_the_advice_round() -> None:
    texts = {"q": "the whole text", "x": "another", "r": "something else"}
    collection = collection_of(
        texts, {"q": "the whole text", "r": "who?"}, {"q": {"x": 1}, "r": {"x": 1}}, drop_same_id=True
    )
    found = by_name(findings(collection))
    assert found["queries that are documents too"].severity == "info"
    assert found["query ids that are also the id of another document"].severity == "warning"
    assert found["query ids that are also the id of another document"].examples == ("'r'",)


@pytest.mark.parametrize(("tokens", "cut"), [(10, 0), (11, 1)])
def test_a_document_is_cut_when_it_does_not_fit_beside_the_query(tokens: int, cut: int) -> None:
    # 16 tokens: 3 special ones, 3 of the query, 10 of the document
    collection = collection_of({"a": "w " * tokens, "b": "w"}, {"q": "one two three"}, {"q": {"a": 1}})
    found = by_name(findings(collection, None, words, 16))
    counts = [one.count for what, one in found.items() if what.startswith("documents that do not fit")]
    assert counts == [cut][:cut]
    if cut:
        assert (
            "50.0% of those measured lose their end"
            in found["documents that do not fit into max_length=16 beside a query"].effect
        )


def test_lengths_of_a_large_corpus_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankbench.commands.check.lengths._MEASURED_DOCS", 5)
    collection = collection_of({str(n): "w " * n for n in range(1, 50)}, {"q": "?"}, {"q": {"1": 1}})
    assert by_name(findings(collection))["documents measured, in characters"].count == 5
    assert findings(collection) == findings(collection)


def test_candidates_are_judged_against_what_they_could_reach() -> None:
    judged = {"q1": {"a": 1, "b": 2, "gone": 1}, "q2": {"c": 1, "d": 0}, "q3": {"a": 1}}
    collection = collection_of({i: i for i in "abcde"}, {"q1": "x", "q2": "y", "q3": "z"}, judged)
    rows = np.array([[3, 0, 1, 4], [3, 4, -1, -1], [-1, -1, -1, -1]])
    scores = np.array([[3, 2, 2, 1], [1, 1, -np.inf, -np.inf], [-np.inf] * 4], np.float32)
    found = by_name(findings(collection, Candidates(rows, scores)))
    best_q1 = (2 + 1 / np.log2(3)) / (2 + 1 / np.log2(3) + 1 / 2)
    unjudged = found["candidates at ranks 1 to 4 that nobody judged"]
    assert (unjudged.severity, unjudged.count, unjudged.examples) == (
        "warning",
        3,
        (f"Judged@4 {(2 / 4 + 1 / 2) / 3:.4f}",),
    )
    outside = found["relevant judgements outside the 4 candidates"]
    assert (outside.count, outside.examples) == (3, (f"Recall@4 {(2 / 3) / 3:.4f}",))
    assert outside.effect.endswith(f"the best possible nDCG@4 is {best_q1 / 3:.4f}")
    assert found["queries without a relevant candidate"].examples == ("'q2'", "'q3'")
    assert found["queries with fewer than 4 candidates"].examples == ("'q2'",)
    assert found["candidates with the same score as the one above"].count == 2


def test_empty_candidates_are_no_accident() -> None:
    collection = collection_of({"a": "x"}, {"q": "y"}, {"q": {"a": 1}})
    none = Candidates(np.zeros((1, 0), np.int64), np.zeros((1, 0), np.float32))
    assert by_name(findings(collection, none))["documents"].count == 1


def test_faults_and_oddities_of_files_are_told_together(tmp_path: Path) -> None:
    corpus = [{"_id": "1", "text": "a"}, {"_id": "1", "text": "b"}, {"_id": "2"}, {"_id": 3, "text": ""}]
    jsonl(tmp_path / "corpus.jsonl", corpus)
    table(tmp_path / "queries.csv", ("qid", "query"), [("q", "who"), ("p", "unjudged")])
    (tmp_path / "qrels.txt").write_text("q 0 1 1\nq 0 1 2\nq 0 3 high\n")
    (tmp_path / "run.trec").write_text("q Q0 1 1 nan t\n")
    files = {
        key: str(tmp_path / name)
        for key, name in (("corpus", "corpus.jsonl"), ("queries", "queries.csv"), ("qrels", "qrels.txt"))
    }
    found = by_name(examine(Files(**files), tmp_path, Run(path=str(tmp_path / "run.trec"))))
    errors = [
        what.removeprefix(f"{tmp_path}/").partition(": ")[0]
        for what, one in found.items()
        if one.severity == "error"
    ]
    assert errors == ["corpus.jsonl:3", "corpus.jsonl:2", "qrels.txt:3", "qrels.txt:2", "run.trec:1"]
    assert found["documents without text"].examples == ("'3'",)
    assert found["ids in corpus.jsonl are numbers"].count == 1
    assert found["queries without judgements in this split"].count == 1


def test_what_cannot_be_loaded_at_all_is_only_its_faults(tmp_path: Path) -> None:
    found = examine(Beir(path=str(tmp_path / "no")), tmp_path)
    assert [(one.severity, "there is no such folder" in one.what) for one in found] == [("error", True)]


def test_the_table_shows_everything_and_obeys_nothing(tmp_path: Path) -> None:
    evil = "[red]\x1b[31m<script>"
    collection = collection_of({evil: "", "b": "x"}, {"q": "y"}, {"q": {"b": 1}})
    console = Console(width=200, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(findings_table(findings(collection)))
    shown = capture.get()
    assert "\\x1b[31m<script>" in shown
    assert "[red]" in shown
    assert "they still take ranks and pairs" in shown
    assert "\x1b[31m" not in shown


REAL = os.environ.get("RERANKBENCH_CHECK_DATA")


@pytest.mark.skipif(not REAL, reason="RERANKBENCH_CHECK_DATA is not set")
def test_cranfields_empty_documents_are_found(tmp_path: Path) -> None:
    found = by_name(examine(Beir(path=f"{REAL}/cranfield"), tmp_path))
    assert (found["documents without text"].count, found["documents without text"].examples) == (
        2,
        ("'471'", "'995'"),
    )


@pytest.mark.skipif(not REAL, reason="RERANKBENCH_CHECK_DATA is not set")
def test_the_ceiling_of_bm25_on_dl19_is_the_published_one(tmp_path: Path) -> None:
    run = Run(path=f"{REAL}/dl19/runs/bm25.trec")
    found = by_name(examine(Beir(path=f"{REAL}/dl19"), tmp_path, run))
    outside = found["relevant judgements outside the 100 candidates"]
    assert outside.examples == ("Recall@100 0.4531",)
    assert outside.effect.endswith("nDCG@10 is 0.8922")
    assert found["candidates at ranks 1 to 100 that nobody judged"].examples == ("Judged@100 0.5249",)
