"""Files given in each other's place: told as that, with settings that, typed, give the collection meant."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import read_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of

DOCUMENTS = {
    "d1": "Cats sleep most of the day and hunt at night.",
    "d2": "Dogs need a walk every morning, and another one in the evening.",
    "d3": "Bread rises because yeast makes gas, which the dough holds.",
}
QUERIES = {"q1": "when do cats hunt", "q2": "walking a dog"}
JUDGED = {"q1": {"d1": 1}, "q2": {"d2": 1, "d3": 0}}
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "".join(f"{q}\t{d}\t{grade}\n" for q, of in JUDGED.items() for d, grade in of.items())


def table(texts: dict[str, str], header: str = "") -> str:
    return header + "".join(f"{one}\t{text}\n" for one, text in texts.items())


def files(folder: Path, **written: str) -> Files:
    """Files of the collection, each under the key that is given, with its content."""
    for key, content in written.items():
        (folder / f"{key}.tsv").write_text(content, encoding="utf-8")
    return Files(**{key: str(folder / f"{key}.tsv") for key in written})


def told(source: Files, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        source.load(cache)
    (line,) = caught.value.problems
    return line


def as_typed(source: Files, line: str) -> Files:
    """The source with the settings that a line gives behind its last semicolon."""
    words = shlex.split(line.rpartition("; ")[2].replace("set ", " "))
    typed = dict(word.removeprefix("dataset.").partition("=")[::2] for word in words if "=" in word)
    return replace(
        source, **{key: None if value == "null" else value.strip("'") for key, value in typed.items()}
    )


def meant() -> Collection:
    return collection_of(DOCUMENTS, QUERIES, JUDGED)


def test_corpus_and_queries_exchanged_are_told_from_ids_and_texts(tmp_path: Path) -> None:
    source = files(tmp_path, corpus=table(QUERIES), queries=table(DOCUMENTS), qrels=QRELS)
    line = told(source, tmp_path)
    assert "corpus and queries are exchanged" in line
    assert "swapped" not in line
    assert as_typed(source, line).load(tmp_path).fingerprint() == meant().fingerprint()


def test_columns_that_the_config_names_go_with_their_files(tmp_path: Path) -> None:
    corpus, queries = table(QUERIES, "nr\tvraag\n"), table(DOCUMENTS, "stuk\tinhoud\n")
    source = replace(
        files(tmp_path, corpus=corpus, queries=queries, qrels=QRELS),
        doc_id_column="nr", text_column="vraag", query_id_column="stuk", query_text_column="inhoud",
    )  # fmt: skip
    assert as_typed(source, told(source, tmp_path)).load(tmp_path).fingerprint() == meant().fingerprint()


def test_swapped_columns_of_judgements_are_still_told_as_that(tmp_path: Path) -> None:
    turned = "".join(f"{d}\t{q}\t{grade}\n" for q, of in JUDGED.items() for d, grade in of.items())
    source = files(tmp_path, corpus=table(DOCUMENTS), queries=table(QUERIES), qrels=turned)
    line = told(source, tmp_path)
    assert "its query and document columns are swapped" in line
    assert "exchanged" not in line
    assert as_typed(source, line).load(tmp_path).fingerprint() == meant().fingerprint()


def test_where_number_and_length_of_texts_disagree_both_ways_out_are_told(tmp_path: Path) -> None:
    many = {**QUERIES, "q3": "why does bread rise"}
    few = {name: DOCUMENTS[name] for name in ("d1", "d2")}
    source = files(tmp_path, corpus=table(few), queries=table(many), qrels="d1\tq1\t1\nd2\tq2\t1\n")
    line = told(source, tmp_path)
    columns, _, exchange = line.partition("; if ")
    judged = {"q1": {"d1": 1}, "q2": {"d2": 1}}
    assert as_typed(source, columns).load(tmp_path).fingerprint() == (
        collection_of(few, many, judged).fingerprint()
    )
    assert exchange.startswith(f"{source.corpus} holds the queries and {source.queries} the documents, set ")


def test_files_whose_columns_fit_only_in_each_others_place_are_told_before_reading(tmp_path: Path) -> None:
    corpus = "qid\tquery\n" + table(QUERIES)
    queries = "docno\ttext\n" + table(DOCUMENTS)
    source = files(tmp_path, corpus=corpus, queries=queries, qrels=QRELS)
    (line,) = source.problems()
    assert line.startswith(
        f"dataset.corpus={source.corpus} and dataset.queries={source.queries}: the files are"
    )
    assert as_typed(source, line).load(tmp_path).fingerprint() == meant().fingerprint()


def test_judgements_given_as_the_corpus_are_told(tmp_path: Path) -> None:
    source = files(tmp_path, corpus=QRELS, queries=table(QUERIES), qrels="docno\ttext\n" + table(DOCUMENTS))
    (line,) = source.problems()
    assert as_typed(source, line).load(tmp_path).fingerprint() == meant().fingerprint()


def test_three_files_in_a_circle_are_told(tmp_path: Path) -> None:
    documents, queries = "docno\ttext\n" + table(DOCUMENTS), "qid\tquery\n" + table(QUERIES)
    source = files(tmp_path, corpus=queries, queries=QRELS, qrels=documents)
    (line,) = source.problems()
    assert as_typed(source, line).load(tmp_path).fingerprint() == meant().fingerprint()


def test_a_run_given_as_the_judgements_is_told(tmp_path: Path) -> None:
    source = files(tmp_path, corpus=table(DOCUMENTS), queries=table(QUERIES))
    run = tmp_path / "run.trec"
    run.write_text("".join(f"q1 Q0 {d} {rank} {9 - rank}.5 bm25\n" for rank, d in enumerate(DOCUMENTS, 1)))
    (line,) = replace(source, qrels=str(run)).problems()
    cure = f"set dataset.qrels=null first_stage=run \"first_stage.path='{run}'\", or give the judgements"
    assert line == f"{run}: is a run, in TREC's six columns; {cure}"
    listed = read_trec(run, source.load(tmp_path), 10)
    assert listed.lengths().tolist() == [3, 0]


def test_judgements_given_as_a_run_are_warned_of(tmp_path: Path) -> None:
    def warned(rows: str) -> bool:
        (tmp_path / "run.tsv").write_text(HEADER + rows)
        found = read_trec(tmp_path / "run.tsv", meant(), 10).findings
        return any(one.what == "ranked documents, all judged and scored by their grades" for one in found)

    assert warned(QRELS.removeprefix(HEADER))
    assert not warned("q1\td1\t1\nq2\td2\t1\nq2\td3\t0.5\n")  # a score of its own
    assert not warned("q1\td1\t1\nq1\td2\t1\n")  # a document that nobody judged
    assert not warned(QRELS.removeprefix(HEADER) + "q1\td3\t0\n")


def test_a_corpus_without_its_text_is_not_taken_for_queries(tmp_path: Path) -> None:
    """Answers with their questions would fit as queries, but the queries are where they belong."""
    corpus = "id\tquestion\treply\n" + "".join(f"{d}\tq\t{text}\n" for d, text in DOCUMENTS.items())
    source = files(tmp_path, corpus=corpus, queries="id\ttext\n" + table(QUERIES), qrels=QRELS)
    (line,) = source.problems()
    assert "no column for the text" in line


def test_a_folder_with_exchanged_files_is_told_in_words_that_fit_it(tmp_path: Path) -> None:
    for name, texts in (("corpus", QUERIES), ("queries", DOCUMENTS)):
        lines = [json.dumps({"_id": one, "text": text}) + "\n" for one, text in texts.items()]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(QRELS, encoding="utf-8")
    with pytest.raises(UserError, match="are exchanged; exchange the names of the two files"):
        Beir(path=str(tmp_path)).load(tmp_path / "cache")


def test_objects_in_memory_are_told_too() -> None:
    with pytest.raises(
        UserError, match="in memory documents holds the queries and in memory queries the doc"
    ):
        collection_of(QUERIES, DOCUMENTS, JUDGED)


def test_without_judgements_queries_that_look_like_documents_are_warned_of(tmp_path: Path) -> None:
    few = {"q1": QUERIES["q1"]}
    source = files(tmp_path, corpus=table(few), queries=table(DOCUMENTS))
    (warning,) = (one for one in source.load(tmp_path).findings if one.severity == "warning")
    cure = warning.effect.removeprefix("if corpus and queries are exchanged, ")
    assert as_typed(source, cure).load(tmp_path).query_ids == ["q1"]
    straight = files(tmp_path, corpus=table(DOCUMENTS), queries=table(few)).load(tmp_path)
    assert not [one for one in straight.findings if one.severity == "warning"]


def test_queries_that_are_the_documents_are_refused_unless_each_asks_for_others(tmp_path: Path) -> None:
    twice = {"corpus": table(DOCUMENTS), "queries": table(DOCUMENTS)}
    source = files(tmp_path, **twice)
    for same in (source, replace(source, queries=source.corpus)):  # a copy of the file, and the file itself
        with pytest.raises(UserError, match=r"the queries are the documents.* set dataset.drop_same_id=true"):
            same.load(tmp_path)
    found = replace(source, drop_same_id=True).load(tmp_path)
    assert [note.partition(":")[0] for note in found.notes] == ["queries that are the documents themselves"]
    with pytest.raises(UserError, match="in memory queries: the queries are the documents"):
        collection_of(DOCUMENTS, DOCUMENTS)


def test_a_table_may_hold_the_documents_and_other_texts_as_their_queries(tmp_path: Path) -> None:
    rows = "".join(f"{one}\tabout {one}\t{text}\n" for one, text in DOCUMENTS.items())
    (tmp_path / "faq.tsv").write_text("id\tquestion\ttext\n" + rows, encoding="utf-8")
    faq = str(tmp_path / "faq.tsv")
    found = Files(corpus=faq, queries=faq, query_text_column="question").load(tmp_path)
    assert (found.query_texts[0], found.notes) == ("about d1", ())
