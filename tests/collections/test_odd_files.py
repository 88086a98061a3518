"""Files that other machines and tools write: the same collection, or a line that says what differs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, jsonl
from rerankbench.collections.candidates import read_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.layout import DOCUMENTS as DOCUMENTS_LAYOUT
from rerankbench.collections.reading.rows import column_problems
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.one_file import OneFile

DOCUMENTS = [{"_id": i, "title": title, "text": text} for i, title, text in CAPITALS]
PAIRS = [{"query_id": q, "doc_id": d, "score": grade} for q, d, grade in GRADES]


@pytest.fixture
def usual(tmp_path: Path) -> str:
    return Beir(path=str(beir(tmp_path / "usual"))).load(tmp_path / "cache").fingerprint()


def of_files(folder: Path, **files: Path) -> Collection:
    """The usual collection with some files in the place of its own."""
    data = beir(folder / "data")
    every = {"corpus": data / "corpus.jsonl", "queries": data / "queries.jsonl",
             "qrels": data / "qrels" / "test.tsv"} | files  # fmt: skip
    return Files(**{key: str(path) for key, path in every.items()}).load(folder / "cache")


def lines(rows: list[dict[str, Any]], end: str = "\n") -> str:
    return "".join(json.dumps(row) + end for row in rows)


TABLE = pd.DataFrame(DOCUMENTS)
CORPORA: dict[str, tuple[str, Callable[[], str | bytes]]] = {
    "of old Macs": ("corpus.jsonl", lambda: lines(DOCUMENTS, "\r")),
    "CSV of old Macs": ("corpus.csv", lambda: TABLE.to_csv(index=False, lineterminator="\r")),
    "joined, each with a mark": ("corpus.jsonl", lambda: "".join(f"\ufeff{lines([d])}" for d in DOCUMENTS)),
    "in capitals": ("CORPUS.JSONL.GZ", lambda: gzip.compress(lines(DOCUMENTS).encode())),
    "pandas, by columns": ("corpus.json", lambda: TABLE.to_json()),
    "pandas, by columns, called jsonl": ("corpus.jsonl", lambda: TABLE.to_json()),
    "pandas, by rows": ("corpus.json", lambda: TABLE.to_json(orient="index")),
    "lists under columns": ("corpus.json", lambda: json.dumps(TABLE.to_dict("list"), indent=1)),
}  # fmt: skip


@pytest.mark.parametrize("written", CORPORA)
def test_a_corpus_written_elsewhere_is_the_same(written: str, usual: str, tmp_path: Path) -> None:
    name, made = CORPORA[written]
    content = made()
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert of_files(tmp_path, corpus=tmp_path / name).fingerprint() == usual


def test_a_corpus_behind_a_link_is_read(usual: str, tmp_path: Path) -> None:
    """As the hub's own cache holds every file."""
    blob = jsonl(tmp_path / "0a1b2c", DOCUMENTS)
    (tmp_path / "corpus.jsonl").symlink_to(blob)
    assert of_files(tmp_path, corpus=tmp_path / "corpus.jsonl").fingerprint() == usual


def test_files_of_a_beir_folder_may_be_compressed(usual: str, tmp_path: Path) -> None:
    data = beir(tmp_path / "data")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (data / f"{name}.gz").write_bytes(gzip.compress((data / name).read_bytes()))
        (data / name).unlink()
    assert Beir(path=str(data)).load(tmp_path / "cache").fingerprint() == usual


@pytest.mark.parametrize("by_rows", [False, True])
def test_judgements_as_a_table_in_json_are_the_same(by_rows: bool, usual: str, tmp_path: Path) -> None:
    file = tmp_path / "judged.json"
    file.write_text(pd.DataFrame(PAIRS).to_json(orient="records" if by_rows else "columns"))
    assert of_files(tmp_path, qrels=file).fingerprint() == usual


def test_decimals_of_a_database_are_ids_and_grades(tmp_path: Path) -> None:
    decimals = {
        "query_id": ["q1", "q1"],
        "doc_id": pa.array([7, 8], pa.decimal128(22, 0)),
        "score": pa.array([2, 1]).cast(pa.decimal128(22, 2)),
    }
    pq.write_table(pa.table(decimals), tmp_path / "judged.parquet")
    found = of_files(tmp_path, qrels=tmp_path / "judged.parquet")
    assert found.judged_grade.tolist() == [2, 1]
    assert found.missing_ids == ("8",)


def test_documents_listed_for_a_query_are_relevant_and_in_a_run_ranked(tmp_path: Path) -> None:
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps({"q1": ["7", "007"], "q2": ["c"]}))
    found = of_files(tmp_path, qrels=listed)
    assert found.judged_grade.tolist() == [1, 1, 1]
    assert read_trec(listed, found, 3).rows.tolist() == [[1, 0], [2, -1]]
    listed.write_text(json.dumps({"q1": [["7", 0.5], ["007", 1]]}))
    assert read_trec(listed, found, 3).rows.tolist()[0] == [0, 1]


@pytest.mark.parametrize(
    ("in_corpus", "judged", "way"),
    [
        ("d\u00e9", "de\u0301", "the form of Unicode"),
        ("d1", "\u200bd1", "characters that nobody sees"),
        ("\ufeffd1", "d1", "characters that nobody sees"),
    ],
)
def test_ids_that_only_look_alike_are_told_apart(
    in_corpus: str, judged: str, way: str, tmp_path: Path
) -> None:
    corpus = jsonl(tmp_path / "corpus.jsonl", [{"_id": in_corpus, "text": "a"}, *DOCUMENTS])
    qrels = tmp_path / "judged.json"
    qrels.write_text(json.dumps({"q1": {judged: 1, "007": 1}}))
    notes = of_files(tmp_path, corpus=corpus, qrels=qrels).notes
    assert any(f"differ from known ones only in {way}: 1" in note for note in notes), notes


def test_texts_before_their_ids_are_told_where_no_setting_names_columns(tmp_path: Path) -> None:
    (tmp_path / "corpus.tsv").write_text("Paris is a capital\t7\nBerlin is one too\tc\n")
    (told,) = column_problems(tmp_path / "corpus.tsv", DOCUMENTS_LAYOUT)
    assert told.endswith("the texts seem to stand first and the ids behind them: put the ids first")


def test_a_file_of_no_known_shape_says_what_to_give_instead(tmp_path: Path) -> None:
    jsonl(tmp_path / "triples.jsonl", [{"anchor": "a", "positive": "b"}])
    (told,) = OneFile(path=str(tmp_path / "triples.jsonl")).problems()
    assert told.endswith("write one of these, or three files: dataset=files")


def test_documents_and_grades_in_each_others_column_are_told(tmp_path: Path) -> None:
    corpus = jsonl(tmp_path / "corpus.jsonl", [{"_id": str(i), "text": "a"} for i in range(9)])
    (tmp_path / "judged.tsv").write_text(
        "".join(f"q1\t1\t{i}\n" if i < 2 else f"q{i}\t1\t{i}\n" for i in (1, 3, 4, 5))
    )
    queries = jsonl(tmp_path / "queries.jsonl", [{"_id": f"q{i}", "text": "a"} for i in range(9)])
    notes = of_files(tmp_path, corpus=corpus, queries=queries, qrels=tmp_path / "judged.tsv").notes
    assert any("different grades, of only 1 different documents: 4" in note for note in notes), notes


def test_a_query_of_nothing_that_can_be_seen_asks_for_nothing(tmp_path: Path) -> None:
    unseen = [{"_id": i, "text": "\u200b \u00a0" if i == "q1" else text} for i, _, text in QUESTIONS]
    notes = of_files(tmp_path, queries=jsonl(tmp_path / "queries.jsonl", unseen)).notes
    assert any(note.startswith("judged queries without text: 1 ('q1')") for note in notes), notes
