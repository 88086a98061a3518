"""Collections from files: what is read is what was written, and what is wrong is told with its place."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collection_faults import CORPUS_FAULTS, QRELS_FAULTS, QUERIES_FAULTS, SEVEN
from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, jsonl, table
from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.sample import Sample

FORMATS = (".jsonl", ".csv", ".tsv", ".parquet")
any_text = st.text(st.characters(codec="utf-8"), max_size=20)
any_id = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6).filter(str.strip)


def load(folder: Path, **options: Any) -> Collection:
    return Beir(path=str(folder), **options).load(folder / "cache")


def problems(source: Beir | Files, cache: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        source.load(cache)
    return caught.value.problems


def three_files(folder: Path, extension: str) -> Files:
    """The capitals as three files of one format."""
    corpus = table(folder / f"corpus{extension}", ("_id", "title", "text"), CAPITALS)
    queries = table(folder / f"queries{extension}", ("_id", "text"), [(i, text) for i, _, text in QUESTIONS])
    qrels = table(folder / f"qrels{extension}", ("query-id", "corpus-id", "score"), GRADES)
    return Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels))


def test_beir_keeps_order_ids_and_texts(tmp_path: Path) -> None:
    collection = load(beir(tmp_path / "capitals"))
    assert (collection.name, collection.split, collection.reduced) == ("capitals", "test", False)
    assert collection.corpus.ids() == ["007", "7", "c", "d"]
    assert collection.corpus.texts(collection.corpus.rows(["007", "c"])) == [
        "France Paris is the capital of France.",
        "柏林和巴黎都是首都。",
    ]
    assert (collection.query_ids, collection.query_texts) == (["q1", "q2"], ["capital of France?", "首都"])
    assert collection.judged_query.tolist() == [0, 0, 1, 1]
    assert collection.judged_row.tolist() == [0, 1, 2, -1]
    assert collection.judged_grade.tolist() == [2, 0, 1, 1]
    assert collection.missing_ids == ("gone",)


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_holds_the_same_collection(tmp_path: Path, extension: str) -> None:
    assert (
        three_files(tmp_path, extension).load(tmp_path).fingerprint()
        == load(beir(tmp_path / "b")).fingerprint()
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.tuples(any_id, any_text, any_text), min_size=1, max_size=5, unique_by=lambda row: row[0]))
@pytest.mark.parametrize("extension", [".jsonl", ".parquet", ".csv"])
def test_any_unicode_survives(tmp_path: Path, extension: str, documents: list[tuple[str, str, str]]) -> None:
    if extension == ".csv":  # a raw NUL byte is refused there, and csv.writer leaves a lone \r unquoted
        documents = [tuple(x.replace("\0", "").replace("\r", "") for x in row) for row in documents]  # type: ignore[misc]
    corpus = table(tmp_path / f"corpus{extension}", ("_id", "title", "text"), documents)
    queries = jsonl(tmp_path / "queries.jsonl", [{"_id": row[0], "text": row[2]} for row in documents])
    qrels = jsonl(
        tmp_path / "qrels.jsonl", [{"query-id": i, "corpus-id": i, "score": 1} for i, _, _ in documents]
    )
    source = Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels), join_titles=False)
    loaded = source.load(tmp_path)
    rows = loaded.judged_row
    assert loaded.corpus.ids() == loaded.query_ids == [row[0] for row in documents]
    assert loaded.corpus.texts(rows) == loaded.query_texts == [row[2] for row in documents]
    titled = replace(source, join_titles=True, title_separator="|").load(tmp_path)
    assert titled.corpus.texts(rows) == ["|".join(filter(None, row[1:])) for row in documents]


def test_tsv_quotes_are_text_and_msmarco_needs_no_header(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text('0\t"Quoted" and \'so\' on, half "open\n1\tsecond\n')
    (tmp_path / "queries.tsv").write_text("300\twho?\n")
    (tmp_path / "qrels.txt").write_text("300 0 0 1\n300 0 1 0\n")
    files = [str(tmp_path / name) for name in ("collection.tsv", "queries.tsv", "qrels.txt")]
    collection = Files(corpus=files[0], queries=files[1], qrels=files[2]).load(tmp_path)
    assert collection.corpus.texts(collection.judged_row)[0] == '"Quoted" and \'so\' on, half "open'


def test_csv_fields_may_hold_line_ends_and_a_megabyte(tmp_path: Path) -> None:
    text = 'two\r\nlines, "quoted"\n' + "x" * 1_000_000
    source = three_files(tmp_path, ".csv")
    table(tmp_path / "corpus.csv", ("_id", "text"), [("007", text), ("7", ""), ("c", "")])
    assert source.load(tmp_path).corpus.texts(source.load(tmp_path).judged_row[:1]) == [text]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (("docno", "headline", "contents"), {}),
        (("number", "name", "body"), {"doc_id_column": "number", "title_column": "name"}),
        (("key", "a", "b"), {"doc_id_column": "key", "title_column": "a", "text_column": "b"}),
    ],
)
@pytest.mark.parametrize("extension", FORMATS)
def test_columns_by_guess_and_by_config(
    tmp_path: Path, extension: str, header: tuple[str, ...], columns: dict[str, str]
) -> None:
    source = replace(three_files(tmp_path, extension), **columns)
    table(tmp_path / f"corpus{extension}", header, CAPITALS)
    assert source.load(tmp_path).fingerprint() == load(beir(tmp_path / "b")).fingerprint()


def test_query_and_judgement_columns_by_config(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".csv")
    table(tmp_path / "queries.csv", ("n", "w"), [(i, text) for i, _, text in QUESTIONS])
    table(tmp_path / "qrels.csv", ("g", "d", "q"), [(grade, doc, query) for query, doc, grade in GRADES])
    named = {"query_id_column": "n", "query_text_column": "w"}
    judged = {"qrels_query_column": "q", "qrels_doc_column": "d", "qrels_grade_column": "g"}
    assert replace(source, **named, **judged).load(tmp_path).judged_grade.tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\t007\t2\nq1\t7\t0\nq2\tc\t1\nq2\tgone\t1\n"),
        ("bare.tsv", "q1\t007\t2\nq1\t7\t0\nq2\tc\t1\nq2\tgone\t1\n"),
        ("trec.tsv", "q1\t0\t007\t2\nq1\t0\t7\t0\nq2\t0\tc\t1\nq2\t0\tgone\t1\n"),
        ("qrels.trec", "q1 0 007 2\nq1 0 7 0\n\nq2 0 c 1\nq2  0\tgone 1\r\n"),
        ("qrels.txt", "\ufeffq1 Q0 007 2\nq1 Q0 7 0\nq2 Q0 c 1\nq2 Q0 gone 1"),
        ("qrels.json", '{"q1": {"007": 2, "7": 0}, "q2": {"c": 1, "gone": 1.0}}'),
        ("records.json", json.dumps([{"qid": q, "docno": d, "label": grade} for q, d, grade in GRADES])),
        ("crlf.tsv", "query-id\tcorpus-id\tscore\r\nq1\t007\t2\r\nq1\t7\t0\r\nq2\tc\t1\r\nq2\tgone\t1\r\n"),
    ],
)
def test_judgements_in_every_usual_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    source = replace(three_files(tmp_path, ".jsonl"), qrels=str(tmp_path / name))
    assert source.load(tmp_path).fingerprint() == load(beir(tmp_path / "b")).fingerprint()


def test_gzip_is_read(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".jsonl")
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "corpus.jsonl").read_bytes()))
    assert replace(source, corpus=str(packed)).load(tmp_path).corpus.ids() == ["007", "7", "c", "d"]


def test_parquet_in_parts_is_one_table(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".parquet")
    for number, rows in enumerate((CAPITALS[:1], CAPITALS[1:])):
        table(tmp_path / f"corpus-0000{number}-of-00002.parquet", ("_id", "title", "text"), rows)
    source = replace(source, corpus=str(tmp_path / "corpus-00000-of-00002.parquet"))
    assert source.load(tmp_path).corpus.ids() == ["007", "7", "c", "d"]


def test_byte_order_marks_and_carriage_returns_are_no_text(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b")
    before = load(folder).fingerprint()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(folder).fingerprint() == before


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    odd = "next\u2028line\u0085and\x0bon"
    assert odd in load(beir(tmp_path, documents=[*CAPITALS, ("odd", "", odd)])).corpus.texts(
        load(tmp_path).corpus.rows(["odd"])
    )


def test_a_title_may_first_appear_in_a_later_line(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    jsonl(
        folder / "corpus.jsonl",
        [
            {"_id": "7", "text": "a"},
            {"_id": "c", "text": "b", "title": "T"},
            {"_id": "x", "text": "c", "title": None},
        ],
    )
    assert load(folder).corpus.texts(load(folder).corpus.rows(["7", "c", "x"])) == ["a", "T b", "c"]


def test_whole_numbers_are_ids_and_noted(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    jsonl(folder / "corpus.jsonl", [{"_id": 7, "text": "a"}, {"_id": 12345678901234567890, "text": "b"}])
    collection = load(folder)
    assert collection.corpus.ids() == ["7", "12345678901234567890"]
    assert any(note.startswith("ids in corpus.jsonl are numbers: 2") for note in collection.notes)


def test_parquet_ids_may_be_integers_but_not_floats(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".parquet")
    pq.write_table(pa.table({"_id": [7, 8], "text": ["a", "b"]}), tmp_path / "corpus.parquet")
    assert source.load(tmp_path).corpus.ids() == ["7", "8"]
    pq.write_table(pa.table({"_id": [7.0, None], "text": ["a", "b"]}), tmp_path / "corpus.parquet")
    assert problems(source, tmp_path) == [
        f"{tmp_path}/corpus.parquet row 1: the id is of type float, 7.0: "
        "ids are strings; write the column as text",
        f"{tmp_path}/corpus.parquet row 2: the id is null, None: give every record an id",
    ]


FAULTS = [
    pytest.param(name, *fault, id=title)
    for name, faults in (
        ("corpus.jsonl", CORPUS_FAULTS),
        ("queries.jsonl", QUERIES_FAULTS),
        ("qrels/test.tsv", QRELS_FAULTS),
    )
    for title, fault in faults.items()
]


@pytest.mark.parametrize(("name", "content", "expected"), FAULTS)
def test_one_fault_is_one_line_with_its_place_and_value(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    folder = beir(tmp_path / "b")
    (folder / name).write_bytes(content)
    told = problems(Beir(path=str(folder)), tmp_path / "cache")
    assert len(told) == 1
    assert f"{folder}/{name}{expected}" in told[0]
    assert told[0].isprintable()
    assert len(told[0]) < 500
    assert not (tmp_path / "cache").exists()


def test_every_column_that_is_missing_is_a_line(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    jsonl(folder / "corpus.jsonl", [{"key": "7", "words": "a"}])
    told = problems(Beir(path=str(folder)), tmp_path)
    assert [line.partition("looked for")[0] for line in told] == [
        f"{folder}/corpus.jsonl: no column for the id: ",
        f"{folder}/corpus.jsonl: no column for the text: ",
    ]
    assert told[0].endswith("found 'key', 'words'; rename the column")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("corpus.csv", b'_id,text\n7,"open\nc,b\n', "corpus.csv:2: is not valid CSV"),
        ("corpus.csv", b'_id,text\n7,"a"b\n', "corpus.csv:2: is not valid CSV"),
        ("corpus.csv", b"_id,text\n7,a\nc,b,more\n", "corpus.csv:3: has 3 columns instead of 2"),
        ("corpus.csv", b'_id,text\n7,"two\nlines"\n7,b\n', "corpus.csv:4: the id '7' was used by line 2"),
        ("corpus.csv", b"_id,text,text\n7,a,b\n", "corpus.csv: two columns are named 'text'"),
        ("corpus.csv", b"7,a\nc,b\0\n", "corpus.csv:2: holds a NUL byte"),
        ("corpus.tsv", b"_id\ttext\n7\ta\tb\n", "corpus.tsv:2: has 3 columns instead of 2"),
        ("corpus.tsv", b"7\tx\ty\n", "corpus.tsv:1: has 3 columns, not 2, and no header"),
        (
            "corpus.parquet",
            b"PAR1 but not really",
            "corpus.parquet: cannot be read as parquet",
        ),
        (
            "corpus.jsonl.gz",
            gzip.compress(SEVEN, mtime=0)[:-9],
            "corpus.jsonl.gz: cannot be read",
        ),
        (
            "corpus.jsonl.gz",
            b'{"_id": "7", "text": "a"}\n',
            "corpus.jsonl.gz: is not compressed: take .gz off its name",
        ),
        ("qrels.json", b'{"q1": {"7": 1}', "qrels.json: is not valid JSON"),
        ("qrels.json", b'[["q1", "7", 1]]', "qrels.json: holds [['q1', '7', 1]] at the top"),
        ("qrels.json", b'{"q1": [["7"]]}', "qrels.json entry 1: query 'q1' has [['7']]"),
        ("qrels.json", b'{"q1": {"7": 1}, "q1": {"c": 1}}', "qrels.json entry 2: query 'q1' appears twice"),
        (
            "qrels.json",
            b'{"q1": {"7": 1, "7": 0}}',
            "entry 2: query 'q1', document '7' has grade 0, but 1 in entry 1",
        ),
        ("qrels.json", b'{"q1": {"7": 1.5}}', "qrels.json entry 1: the grade is 1.5"),
        (
            "qrels.json",
            b'{"q1": {"7": true, "c": 2}}',
            "qrels.json: 1 of 2 grades are words such as 'true': write all as numbers",
        ),
        ("qrels.json", b'{"q1": {"7": null}}', "qrels.json entry 1: the grade is None"),
        (
            "qrels.trec",
            b"q1 0 7 1\nq1 0 my doc 1\n",
            "qrels.trec:2: has 5 columns instead of 4: 'q1 0 my doc 1'",
        ),
    ],
)
def test_faults_of_the_other_formats(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    source = three_files(tmp_path, ".jsonl")
    (tmp_path / name).write_bytes(content)
    source = replace(source, **{name.partition(".")[0]: str(tmp_path / name)})
    told = problems(source, tmp_path / "cache")
    assert len(told) == 1
    assert expected in told[0]


def test_parquet_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".parquet")
    raw = pa.array([b"caf\xe9"], pa.binary())
    wrong = pa.StringArray.from_buffers(1, *raw.buffers()[1:])
    pq.write_table(pa.table({"_id": ["7"], "text": wrong}), tmp_path / "corpus.parquet")
    assert "Invalid UTF8" in problems(source, tmp_path)[0]


def test_faults_of_all_files_are_told_together_and_each_kind_once(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    with (folder / "corpus.jsonl").open("a") as file:
        file.writelines("{}\n" for _ in range(30))
    with (folder / "queries.jsonl").open("a") as file:
        file.write("[]\n")
    with (folder / "qrels/test.tsv").open("a") as file:
        file.write("q1\t7\tx\n")
    told = problems(Beir(path=str(folder)), tmp_path)
    assert [line.split(":")[0].removeprefix(f"{folder}/") for line in told] == (
        ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]
    )
    first = len((folder / "corpus.jsonl").read_text().splitlines()) - 29
    assert told[0] == (
        f"{folder}/corpus.jsonl:{first}: lacks '_id', 'text'; this line is '{{}}': add what it lacks "
        f"(and 29 more of this kind: lines {first + 1}, {first + 2}, {first + 3}, ...)"
    )


def test_faulty_records_are_left_out_of_what_inspect_gives(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "c", "text": "again"}\n{"_id": "e", "text": "fine"}\n[]\n')
    collection, told = Beir(path=str(folder)).inspect(tmp_path)
    assert collection is not None
    assert collection.corpus.ids() == ["007", "7", "c", "d", "e"]
    assert len(told) == 2


def test_what_was_left_out_is_counted(tmp_path: Path) -> None:
    judgements = [*GRADES, ("q9", "007", 1), ("q1", "d", -2), ("q1", "007", 2), ("q2", "07", 0)]
    collection = load(beir(tmp_path, judgements=judgements, queries=[*QUESTIONS, ("q4", "", " ")]))
    counted = {finding.what: (finding.count, finding.examples) for finding in collection.findings}
    assert counted == {
        "judgements repeated": (1, ("'q1'",)),
        "queries without judgements in this split": (2, ("'q3'", "'q4'")),
        "judged queries that the queries file does not have": (1, ("'q9'",)),
        "judged documents that the corpus does not have": (2, ("'gone'", "'07'")),
        "judgements below 0": (1, ()),
        "document ids of judgements that differ from known ones only in zeros": (1, ("'07' for '007'",)),
    }
    assert collection.notes == tuple(finding.line() for finding in collection.findings)
    assert "queries without judgements in this split: 2 ('q3', 'q4'); left out" in "\n".join(collection.notes)


def test_a_query_with_nothing_relevant_and_one_without_text_are_noted(tmp_path: Path) -> None:
    judgements = [("q1", "7", 2), ("q2", "7", 1)]
    queries = [("q1", "", "a"), ("q2", "", "\u3000")]
    notes = load(beir(tmp_path, queries=queries, judgements=judgements), relevance_threshold=2).notes
    assert notes[0].startswith("judged queries without a document of grade 2 or more: 1")
    assert notes[1].startswith("judged queries without text: 1 ('q2'); there is nothing to search for")


def test_the_threshold_is_kept_and_checked(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    assert load(folder, relevance_threshold=2).relevance_threshold == 2
    assert (
        "dataset.relevance_threshold=3; set dataset.relevance_threshold=2, or check"
        in problems(Beir(path=str(folder), relevance_threshold=3), tmp_path)[0]
    )


def test_limit_queries_takes_the_first_judged_ones(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    collection = load(folder, limit_queries=1)
    assert (collection.query_ids, collection.judged_grade.tolist(), collection.reduced) == (
        ["q1"],
        [2, 0],
        True,
    )
    assert any("left out by limit_queries: 1" in note for note in collection.notes)
    assert not load(folder, limit_queries=2).reduced
    assert load(folder, limit_queries=2).fingerprint() == load(folder).fingerprint()


def test_a_first_query_without_anything_relevant_may_be_all_there_is(tmp_path: Path) -> None:
    folder = beir(tmp_path, judgements=[("q1", "7", 0), ("q2", "c", 1)])
    notes = load(folder, limit_queries=1).notes
    assert any(note.startswith("judged queries without a document of grade 1 or more: 1") for note in notes)


def test_sample_docs_keeps_judged_documents_and_file_order(tmp_path: Path) -> None:
    documents = [(f"d{number:03d}", "", f"text {number}") for number in range(200)]
    folder = beir(
        tmp_path, documents=documents, judgements=[("q1", "d150", 1), ("q2", "d003", 2), ("q2", "gone", 1)]
    )
    whole = load(folder)
    samples = [load(folder, sample_docs=20, sample_seed=seed) for seed in (0, 0, 1)]
    for sample in samples:
        ids = sample.corpus.ids()
        assert (len(ids), ids, sample.reduced) == (20, sorted(ids), True)
        assert sample.corpus.ids(sample.judged_row[sample.judged_row >= 0]) == ["d150", "d003"]
        assert sample.corpus.texts(sample.judged_row[:1]) == ["text 150"]
        assert sample.judged_grade.tolist() == whole.judged_grade.tolist()
        assert any("left out by sample_docs: 180" in note for note in sample.notes)
    assert samples[0].fingerprint() == samples[1].fingerprint() != samples[2].fingerprint()
    assert load(folder, sample_docs=1).corpus.ids() == ["d003", "d150"]
    assert not load(folder, sample_docs=200).reduced


@pytest.mark.parametrize("key", ["relevance_threshold", "limit_queries", "sample_docs", "sample_seed"])
def test_impossible_numbers_are_told_before_loading(tmp_path: Path, key: str) -> None:
    least = 0 if key == "sample_seed" else 1
    told = Beir(path=str(beir(tmp_path)), **{key: least - 1}).problems()
    assert told == [f"dataset.{key}={least - 1}: must be at least {least}"]


def test_what_is_missing_is_told_before_loading(tmp_path: Path) -> None:
    assert Beir(path=str(tmp_path / "no")).problems() == [
        f"dataset.path={tmp_path}/no: there is no such folder; "
        "it should hold corpus.jsonl, queries.jsonl and qrels/"
    ]
    folder = beir(tmp_path / "b")
    assert "is a file, not a folder" in Beir(path=str(folder / "corpus.jsonl")).problems()[0]
    assert Beir(path=str(folder), split="dev").problems() == [
        f"dataset.split=dev: no {folder}/qrels/dev.tsv; splits here: test"
    ]
    assert "splits here: test" in Beir(path=str(folder), split="../qrels/test").problems()[0]
    (folder / "queries.jsonl").unlink()
    assert Beir(path=str(folder)).problems() == [
        f"dataset.path={folder}/queries.jsonl: there is no such file; check the path"
    ]


def test_every_missing_file_and_unknown_column_is_told_at_once(tmp_path: Path) -> None:
    source = three_files(tmp_path, ".csv")
    missing = replace(source, corpus=str(tmp_path / "no.csv"), qrels=str(tmp_path))
    assert missing.problems() == [
        f"dataset.corpus={tmp_path}/no.csv: there is no such file; check the path",
        f"dataset.qrels={tmp_path}: is a folder; give a file",
    ]
    wrong = replace(source, text_column="words", query_id_column="number", qrels_grade_column="grade")
    assert [line.partition("; set ")[2] for line in wrong.problems()] == [
        "dataset.text_column=text",
        "dataset.query_id_column=_id",
        "dataset.qrels_grade_column=score",
    ]
    assert "looked for words, found '_id', 'title', 'text'" in wrong.problems()[0]


@pytest.mark.parametrize("extension", FORMATS)
def test_an_unknown_column_is_told_for_every_format(tmp_path: Path, extension: str) -> None:
    told = replace(three_files(tmp_path, extension), text_column="words").problems()
    assert len(told) == 1
    assert told[0].startswith(f"{tmp_path}/corpus{extension}: no column for the text: looked for words")


def test_a_text_is_harmless_in_messages(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "\\u001b[31m", "text": 1}\n{"x": "\\u001b[2J' + "y" * 9999 + '"}\n'
    )
    told = problems(Beir(path=str(folder)), tmp_path)
    assert all("\x1b" not in line and len(line) < 400 for line in told)


def test_the_sample_loads_and_names_itself(tmp_path: Path) -> None:
    collection = Sample().load(tmp_path)
    assert (collection.name, collection.split, collection.notes) == ("sample", "test", ())
    assert len(collection.corpus) >= 250
    assert len(collection.query_ids) >= 50
    assert list(tmp_path.iterdir()) == []


REAL = os.environ.get("RERANKBENCH_CHECK_DATA")


@pytest.mark.skipif(not REAL, reason="RERANKBENCH_CHECK_DATA is not set")
@pytest.mark.parametrize(
    ("name", "documents", "queries", "judgements", "missing"),
    [
        ("scifact", 5183, 300, 339, 0),
        ("cranfield", 1400, 225, 1837, 0),
        ("dl19", 7738, 43, 9260, 3441),
        ("xquad-zh", 240, 1190, 1190, 0),
    ],
)
def test_real_collections(
    tmp_path: Path, name: str, documents: int, queries: int, judgements: int, missing: int
) -> None:
    collection = Beir(path=f"{REAL}/{name}").load(tmp_path)
    assert (len(collection.corpus), len(collection.query_ids), len(collection.judged_grade)) == (
        documents,
        queries,
        judgements,
    )
    assert len(set(collection.missing_ids)) == missing
    lines = (Path(REAL or "") / name / "corpus.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    entries = [json.loads(line) for line in lines]
    texts = [f"{entry['title']} {entry['text']}" if entry["title"] else entry["text"] for entry in entries]
    assert collection.corpus.ids() == [entry["_id"] for entry in entries]
    assert collection.corpus.texts(collection.corpus.rows(collection.corpus.ids())) == texts
