"""Whole collections in one file, as frameworks write them: the same collection, or a clear refusal."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import framework_files as ff
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.collections.sources.one_file import OneFile

PASSAGES = {"0": "Paris is the capital.", "1": "Берлин \u2028", "2": "首都", "3": "Rome"}
QUESTIONS = {"0": "capital of France?", "1": "столица"}
GRADED = {"0": {"0": 1, "1": 0}, "1": {"2": 1, "3": 0}}
POSITIVE = {q: {d: grade for d, grade in of.items() if grade} for q, of in GRADED.items()}
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def refusal(folder: Path, name: str, content: str, **keys: str) -> str:
    with pytest.raises(UserError) as refused:
        OneFile(path=str(ff.write(folder / name, content)), **keys).load(folder)
    return "\n".join(refused.value.problems)


def test_flag_embeddings_lines(tmp_path: Path) -> None:
    path = ff.write(tmp_path / "train.jsonl", ff.flag_embedding(PASSAGES, QUESTIONS, GRADED))
    found = OneFile(path=str(path)).load(tmp_path)
    assert found.fingerprint() == collection_of(PASSAGES, QUESTIONS, GRADED).fingerprint()
    assert found.name == "train"


@pytest.mark.parametrize("names", ["user_input retrieved_contexts", "question contexts"])
def test_rows_of_ragas(tmp_path: Path, names: str) -> None:
    path = ff.write(tmp_path / "rows.jsonl", ff.ragas(PASSAGES, QUESTIONS, GRADED, names))
    found = OneFile(path=str(path)).load(tmp_path)
    assert found.fingerprint() == collection_of(PASSAGES, QUESTIONS, POSITIVE).fingerprint()


def test_a_qa_dataset_of_llama_index_keeps_its_ids(tmp_path: Path) -> None:
    path = ff.write(tmp_path / "qa.json", ff.qa_dataset(PASSAGES, QUESTIONS, POSITIVE))
    found = OneFile(path=str(path)).load(tmp_path)
    assert found.fingerprint() == collection_of(PASSAGES, QUESTIONS, POSITIVE).fingerprint()


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.json", "rows.parquet", "squad.json"])
def test_squad_in_each_of_its_forms(tmp_path: Path, form: str) -> None:
    """A question without an answer has no judgement; its passage stays."""
    questions, judged = {**QUESTIONS, "2": "unanswerable?"}, {"0": {"0": 1}, "1": {"1": 1}, "2": {"2": 0}}
    passages = {i: PASSAGES[i] for i in "012"}
    rows, path = ff.squad_rows(passages, questions, judged), tmp_path / form
    match form:
        case "rows.parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case "squad.json":
            ff.write(path, ff.squad(passages, questions, judged))
        case _:
            ff.write(path, (ff.lines if form == "rows.jsonl" else ff.array)(rows))
    found = OneFile(path=str(path)).load(tmp_path)
    expected = collection_of(passages, QUESTIONS, {"0": {"0": 1}, "1": {"1": 1}})
    assert found.fingerprint() == expected.fingerprint()


def test_titles_of_squad_are_joined_as_other_titles_are(tmp_path: Path) -> None:
    rows = [
        {**row, "title": "Capitals"}
        for row in ff.squad_rows(PASSAGES, QUESTIONS, {"0": {"0": 1}, "1": {"1": 1}})
    ]
    path = ff.write(tmp_path / "rows.jsonl", ff.lines(rows))
    found = OneFile(path=str(path), title_separator=": ").load(tmp_path)
    assert found.corpus.texts(found.judged_row)[0] == f"Capitals: {PASSAGES['0']}"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3, unique=True)), min_size=1, max_size=6)
)
def test_the_shapes_agree_on_any_collection(tmp_path: Path, drawn: list[tuple[str, list[str]]]) -> None:
    """Passages that several queries share are one document, numbered as they first appear."""
    numbers = {text: str(at) for at, text in enumerate(dict.fromkeys(t for _, of in drawn for t in of))}
    passages = {at: text for text, at in numbers.items()}
    queries = {str(at): query for at, (query, _) in enumerate(drawn)}
    judged = {str(at): {numbers[text]: 1 for text in of} for at, (_, of) in enumerate(drawn)}
    expected = collection_of(passages, queries, judged).fingerprint()
    for name, written in (("a.jsonl", ff.flag_embedding), ("b.jsonl", ff.ragas), ("c.json", ff.qa_dataset)):
        path = ff.write(tmp_path / name, written(passages, queries, judged))
        assert OneFile(path=str(path)).load(tmp_path).fingerprint() == expected


@pytest.mark.parametrize(
    ("name", "content", "keys", "said"),
    [
        ("a.jsonl", [{"question": "a?", "contexts": ["b"], "ground_truth": "c"}], {},
         "set dataset.relevant_column=contexts if they are the relevant ones, or "
         "dataset.relevant_column=none to run without judgements"),
        ("a.jsonl", [{"question": "a?", "contexts": ["b"], "context": "b", "answers": [{"text": "b"}]}], {},
         "may be written as rows of ragas or rows of SQuAD; say which: dataset.shape=ragas or data"),
        ("a.jsonl", [{"q": "a?", "text": "b"}], {},
         "holds no collection of a known shape, its keys are 'q', 'text'"),
        ("a.jsonl", [{"query": "a", "pos": "b"}], {},
         "a.jsonl:1: 'pos' is 'b': write a list of passages, [\"..\"]"),
        ("a.jsonl", [{"query": "a", "pos": ["b", 3]}], {},
         "a passage is 3: passages and titles are strings"),
        ("a.jsonl", [{"query": "a", "pos": ["b"], "neg": ["b"]}], {},
         "has grade 0, but 1 in line 1: keep one"),
        ("a.jsonl", [{"query": "a", "pos": ["b"]}, {"query": "c"}], {"shape": "flag_embedding"},
         "a.jsonl:2: is none of FlagEmbedding's lines: has ['query'], not query + pos"),
        ("a.jsonl", [{"query": "a", "pos": ["b"]}], {"shape": "flag"},
         "dataset.shape=flag: choose one of flag_emb"),
        ("a.jsonl", [{"query": "a", "pos": ["b"]}], {"relevant_column": "pos"},
         "dataset.relevant_column=pos: FlagEmbedding's lines say themselves what is relevant; leave it out"),
        ("a.jsonl", [{"question": "a", "contexts": ["b"]}], {"relevant_column": "context"},
         "dataset.relevant_column=context: there is no such list; choose one of contexts"),
        ("a.txt", [{"query": "a", "pos": ["b"]}], {},
         "give a .json, .jsonl, .csv or .parquet file"),
        ("a.jsonl", [{"context": "a", "question": "b", "answers": []}], {},
         "a question has no id: 'b'; give it one"),
        ("a.jsonl", [{"paragraphs": ["a"]}], {},
         "'paragraphs' is ['a']: write a list of objects"),
        ("a.jsonl", [{"queries": {}, "corpus": [], "relevant_docs": {}}], {},
         "'corpus' is []: write an object"),
        ("a.jsonl", [{"queries": {"q": "a"}, "corpus": {"d": "b"}, "relevant_docs": {"q": "d"}}], {},
         "query 'q' has 'd': write a list of ids"),
        ("a.jsonl", [{"id": "q", "context": "a", "question": "b", "answers": ["a"]}] * 2, {},
         "the id 'q' was used by line 1"),
    ],
)  # fmt: skip
def test_what_is_unclear_or_wrong_is_refused(
    tmp_path: Path, name: str, content: list[object], keys: dict[str, str], said: str
) -> None:
    assert said in refusal(tmp_path, name, ff.lines(content), **keys)


def test_what_ragas_retrieved_counts_as_relevant_when_that_is_said(tmp_path: Path) -> None:
    path = ff.write(tmp_path / "a.jsonl", ff.lines([{"question": "a?", "contexts": ["b", "c"]}]))
    found = OneFile(path=str(path), relevant_column="contexts").load(tmp_path)
    assert (
        found.fingerprint()
        == collection_of({"0": "b", "1": "c"}, {"0": "a?"}, {"0": {"0": 1, "1": 1}}).fingerprint()
    )


def test_rows_of_ragas_that_say_nothing_of_relevance_run_without_judgements(tmp_path: Path) -> None:
    path = ff.write(tmp_path / "a.jsonl", ff.lines([{"question": "a?", "contexts": ["b", "c"]}]))
    found = OneFile(path=str(path), relevant_column="none").load(tmp_path)
    assert found.fingerprint() == collection_of({"0": "b", "1": "c"}, {"0": "a?"}).fingerprint()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("spelled", [str, json.dumps])  # csv and pandas write str(list)
@pytest.mark.parametrize("columns", ["user_input retrieved_contexts", "question contexts"])
def test_lists_in_a_csv_file_are_lists(
    tmp_path: Path, separator: str, spelled: Callable[[object], str], columns: str
) -> None:
    passages = {**PASSAGES, "1": "a, 'b' and \"c\"\nd; e\tf", "3": "[1]"}
    rows = [json.loads(line) for line in ff.ragas(passages, QUESTIONS, GRADED, columns).splitlines()]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(["", *rows[0]])  # pandas writes its index, too
        for at, row in enumerate(rows):
            writer.writerow([at, *(spelled(v) if isinstance(v, list) else v for v in row.values())])
    found = OneFile(path=str(tmp_path / "rows.csv")).load(tmp_path)
    assert found.fingerprint() == collection_of(passages, QUESTIONS, POSITIVE).fingerprint()


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("pos", "['a' 'b']"),  # numpy's, which Python would take for one passage
        ("pos", "['a'\n 'b']"),
        ("pos", "['a', ..., 'b']"),
        ("pos", "['a"),
        ("pos", "[__import__('os')]"),
        ("neg", "{'text': array(['a'], dtype=object)}"),
    ],
)
def test_a_list_that_cannot_be_read_for_sure_is_refused(tmp_path: Path, column: str, cell: str) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["query", "pos", "neg"])
        writer.writeheader()
        writer.writerow({"query": "a", "pos": "['b']", "neg": "", column: cell})
    with pytest.raises(
        UserError, match=f"a.csv:2: '{column}' is .*cannot be read as a list; write the file as"
    ):
        OneFile(path=str(tmp_path / "a.csv")).load(tmp_path)


def test_rows_of_another_width_and_broken_csv_are_told(tmp_path: Path) -> None:
    said = refusal(tmp_path, "a.csv", "query,pos\na,['b'],c\n\nd,['e']\n")
    assert "a.csv:2: has 3 columns instead of 2" in said
    assert "quote cells that hold ','" in said
    said = refusal(tmp_path, "a.csv", "query,pos\na\rb,['c']\n")
    assert "a.csv:2: is not a row of CSV (new-line character" in said
    assert "write the file as .jsonl or .parquet, which keep lists" in said


def test_a_guess_is_told_and_can_be_kept(tmp_path: Path) -> None:
    source = OneFile(path=str(ff.write(tmp_path / "a.jsonl", ff.ragas(PASSAGES, QUESTIONS, GRADED))))
    assert (
        "queries of a.jsonl read as rows of ragas: 2; dataset.shape=ragas says so"
        in source.load(tmp_path).notes
    )
    settled = source.settled()
    assert (settled.shape, settled.relevant_column) == ("ragas", "reference_contexts")
    assert settled.load(tmp_path).fingerprint() == source.load(tmp_path).fingerprint()
