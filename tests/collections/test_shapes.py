"""Documents as frameworks write them: found by themselves, read as what they hold, refused where unclear."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import framework_files as ff
from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.reading.objects import read_objects
from rerankbench.collections.reading.rows import new_log
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of

TEXTS = {
    "007": "Paris is the capital of France.",
    "7": 'Берлин "!"\n',
    "c d": "柏林 \u2028 [{}]",
    "e": "",
}
JUDGED = {"7": {"007": 2, "e": 0}, "007": {"c d": 1}}
QUERIES = {key: TEXTS[key] for key in JUDGED}
ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)
texts = st.text(st.characters(codec="utf-8"), max_size=30)


def files(folder: Path, corpus: Path, **keys: str) -> Files:
    """A source of this corpus, and queries and judgements beside it."""
    queries = ff.write(folder / "queries.json", json.dumps(QUERIES))
    qrels = ff.write(folder / "qrels.json", json.dumps(JUDGED))
    return Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels), **keys)


def load(folder: Path, corpus: Path, **keys: str) -> Collection:
    return files(folder, corpus, **keys).load(folder)


def refusal(folder: Path, name: str, content: str, **keys: str) -> str:
    with pytest.raises(UserError) as refused:
        load(folder, ff.write(folder / name, content), **keys)
    return "\n".join(refused.value.problems)


@pytest.mark.parametrize("form", ff.FORMS)
@pytest.mark.parametrize("shape", ff.RECORDS)
def test_every_shape_in_every_form_is_the_same_collection(tmp_path: Path, shape: str, form: str) -> None:
    ending, written = ff.FORMS[form]
    records = [ff.RECORDS[shape](i, text) for i, text in TEXTS.items()]
    found = load(tmp_path, ff.write(tmp_path / f"corpus{ending}", written(records)))
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, JUDGED).fingerprint()


@pytest.mark.parametrize("shape", ff.RECORDS)
def test_so_are_tables_and_data_frames(tmp_path: Path, shape: str) -> None:
    rows = [{"vector": [0.5, 1.5], **ff.RECORDS[shape](i, text)} for i, text in TEXTS.items()]
    expected = collection_of(TEXTS, QUERIES, JUDGED).fingerprint()
    assert load(tmp_path, ff.parquet(tmp_path / "corpus.parquet", rows)).fingerprint() == expected
    assert collection_of(pd.DataFrame(rows), QUERIES, JUDGED).fingerprint() == expected


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("shape", ff.RECORDS)
def test_what_was_found_is_kept_by_its_names(tmp_path: Path, shape: str, ending: str) -> None:
    records = [ff.RECORDS[shape](i, text) for i, text in TEXTS.items()]
    path = tmp_path / f"corpus{ending}"
    ff.parquet(path, records) if ending == ".parquet" else ff.write(path, ff.lines(records))
    kept = files(tmp_path, path).settled()
    assert kept.doc_id_column is not None
    assert kept.text_column is not None
    assert kept.load(tmp_path).fingerprint() == files(tmp_path, path).load(tmp_path).fingerprint()


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", ff.WHOLE)
def test_so_is_one_object_around_all(tmp_path: Path, shape: str, indent: int | None) -> None:
    content = json.dumps(ff.WHOLE[shape](TEXTS), indent=indent)
    found = load(tmp_path, ff.write(tmp_path / "corpus.json", content))
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, JUDGED).fingerprint()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.dictionaries(ids, texts, min_size=1, max_size=30), st.sampled_from(sorted(ff.RECORDS)),
       st.sampled_from(sorted(ff.FORMS)))  # fmt: skip
def test_any_texts_survive_any_shape(tmp_path: Path, drawn: dict[str, str], shape: str, form: str) -> None:
    ending, written = ff.FORMS[form]
    corpus = ff.write(tmp_path / f"corpus{ending}", written(ff.RECORDS[shape](*one) for one in drawn.items()))
    queries = ff.write(tmp_path / "queries.json", json.dumps(drawn))
    qrels = ff.write(tmp_path / "qrels.json", json.dumps({i: {i: 1} for i in drawn}))
    found = Files(corpus=str(corpus), queries=str(queries), qrels=str(qrels)).load(tmp_path)
    expected = collection_of(drawn, drawn, {i: {i: 1} for i in drawn})
    assert found.fingerprint() == expected.fingerprint()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.dictionaries(texts, texts | st.integers() | st.lists(texts)), max_size=8),
       size=st.integers(1, 40), indent=st.none() | st.integers(0, 2))  # fmt: skip
def test_an_array_is_decoded_alike_in_pieces_of_any_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    items: list[dict[str, object]],
    size: int,
    indent: int | None,
) -> None:
    monkeypatch.setattr("rerankbench.collections.reading.objects._AT_ONCE", size)
    path = ff.write(tmp_path / "list.json", json.dumps(items, indent=indent, ensure_ascii=False))
    log = new_log(path)
    assert list(read_objects(path, lambda item: True, log)) == list(enumerate(items, start=1))
    assert log.problems() == []


TRUE_OR_FALSE = {"7": {"007": 1, "e": 0}, "007": {"c d": 1}}
PAIRS = [(q, d, grade) for q, of in TRUE_OR_FALSE.items() for d, grade in of.items()]
POSITIVE = [(q, d) for q, d, grade in PAIRS if grade]


def spelled(yes: object, no: object) -> list[tuple[str, str, object]]:
    return [(q, d, yes if grade else no) for q, d, grade in PAIRS]


def separated(rows: Sequence[Sequence[object]], separator: str) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.csv", separated([("qid", "docno", "label"), *PAIRS], ";")),
        ("qrels.csv", separated([("qid", "docno", "label"), *PAIRS], "\t")),
        ("qrels.tsv", separated(PAIRS, "\t")),
        ("qrels.csv", separated([("qid", "docno", "relevant"), *spelled("yes", "no")], ",")),
        ("qrels.tsv", separated(spelled("Y", "N"), "\t")),
        ("qrels.csv", separated([("qid", "docno", "is_relevant"), *spelled(True, False)], ",")),
        ("qrels.csv", separated(spelled("relevant", "not relevant"), "|")),
        (
            "qrels.json",
            json.dumps({q: {d: bool(g) for d, g in of.items()} for q, of in TRUE_OR_FALSE.items()}),
        ),
        ("qrels.json", json.dumps([dict(zip(("qid", "docno", "rel"), row, strict=True)) for row in PAIRS])),
        ("qrels.jsonl", json.dumps([dict(zip(("qid", "docno", "rel"), row, strict=True)) for row in PAIRS])),
    ],
)
def test_judgements_in_many_forms_are_the_same(tmp_path: Path, name: str, content: str) -> None:
    corpus = ff.write(tmp_path / "corpus.json", json.dumps(TEXTS))
    source = files(tmp_path, corpus)
    found = replace(source, qrels=str(ff.write(tmp_path / name, content))).load(tmp_path)
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, TRUE_OR_FALSE).fingerprint()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.csv", separated([("query_id", "doc_id"), *POSITIVE], ",")),
        ("qrels.tsv", separated(POSITIVE, "\t")),
        ("qrels.csv", separated(POSITIVE, ";")),
        ("qrels.jsonl", ff.lines({"qid": q, "docno": d} for q, d in POSITIVE)),
    ],
)
def test_judgements_without_a_grade_count_as_one(tmp_path: Path, name: str, content: str) -> None:
    source = files(tmp_path, ff.write(tmp_path / "corpus.json", json.dumps(TEXTS)))
    found = replace(source, qrels=str(ff.write(tmp_path / name, content))).load(tmp_path)
    expected = collection_of(TEXTS, QUERIES, {"7": {"007": 1}, "007": {"c d": 1}})
    assert found.fingerprint() == expected.fingerprint()
    assert any("each counts as grade 1" in note for note in found.notes)


@pytest.mark.parametrize("header", ["frage,dokument", "topic_key,doc_key", "question,passage,relevant"])
def test_a_header_that_is_not_known_is_no_judgement(tmp_path: Path, header: str) -> None:
    rows = [row[: header.count(",") + 1] for row in spelled("yes", "no")]
    source = files(tmp_path, ff.write(tmp_path / "corpus.json", json.dumps(TEXTS)))
    path = ff.write(tmp_path / "qrels.csv", f"{header}\n{separated(rows, ',')}")
    with pytest.raises(UserError, match=r"names columns that are not recognised|no column for the"):
        replace(source, qrels=str(path)).load(tmp_path)


def test_a_guess_is_named_in_the_notes(tmp_path: Path) -> None:
    records = [ff.langchain(None, text, source=i) for i, text in TEXTS.items()]
    notes = load(tmp_path, ff.write(tmp_path / "corpus.json", ff.array(records))).notes
    assert any("taken for LangChain documents: 4; id from 'metadata.source'" in note for note in notes)


def test_columns_inside_other_objects_are_named_with_dots(tmp_path: Path) -> None:
    items = [ff.langchain(None, text, source="a", chunk={"n": i}, title="T") for i, text in TEXTS.items()]
    keys = {"doc_id_column": "metadata.chunk.n", "title_column": "metadata.title"}
    found = load(tmp_path, ff.write(tmp_path / "corpus.json", ff.array(items)), **keys)
    assert found.corpus.ids() == list(TEXTS)
    assert found.corpus.texts(found.judged_row)[0] == f"T {TEXTS['007']}"


def test_a_column_that_is_named_settles_what_two_may_hold(tmp_path: Path) -> None:
    records = [{"id": i, "doc_id": i, "text": "x", "body": text} for i, text in TEXTS.items()]
    said = refusal(tmp_path, "corpus.json", ff.array(records))
    assert "2 columns may hold the id, 'id', 'doc_id'; say which: dataset.doc_id_column=id or" in said
    assert "2 columns may hold the text, 'text', 'body'; say which: dataset.text_column=text or" in said
    keys = {"doc_id_column": "doc_id", "text_column": "body"}
    found = load(tmp_path, tmp_path / "corpus.json", **keys)
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, JUDGED).fingerprint()


def test_what_is_settled_reads_the_same(tmp_path: Path) -> None:
    for at, (shape, record) in enumerate(ff.RECORDS.items()):
        corpus = ff.write(tmp_path / f"c{at}.jsonl", ff.lines(record(*one) for one in TEXTS.items()))
        source = files(tmp_path, corpus)
        settled = source.settled()
        assert settled.doc_id_column, shape
        assert settled.load(tmp_path).fingerprint() == source.load(tmp_path).fingerprint(), shape
        assert settled.settled() == settled


def test_so_it_does_in_a_list_of_judgements(tmp_path: Path) -> None:
    rows = [{"qid": q, "docno": d, "score": 0.3, "label": grade} for q, d, grade in PAIRS]
    source = files(tmp_path, ff.write(tmp_path / "corpus.json", json.dumps(TEXTS)))
    source = replace(source, qrels=str(ff.write(tmp_path / "qrels.json", ff.array(rows))))
    with pytest.raises(UserError, match="2 columns may hold the grade, 'score', 'label'; say which"):
        source.load(tmp_path)
    found = replace(source, qrels_grade_column="label").load(tmp_path)
    assert found.fingerprint() == collection_of(TEXTS, QUERIES, TRUE_OR_FALSE).fingerprint()
