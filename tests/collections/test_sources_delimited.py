"""Delimited files and runs of unknown make: mapped, or refused with a cure that works as it is typed."""

from __future__ import annotations

import bz2
import json
import lzma
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.files import Files
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.commands.check.findings import examine
from rerankbench.first_stages.run import Run

TEXTS = {
    "d1": "Cats sleep most of the day and hunt at night.",
    "d2": "Dogs need a walk every morning.",
    "d3": "A bicycle chain, oiled; every month.",
    "d4": "Bread rises because yeast makes gas.",
}
QUERIES = {"q1": "when do cats hunt", "q2": "how to walk a dog"}
GRADES = (("q1", "d1", 2), ("q1", "d4", 1), ("q2", "d2", 1))
LISTS = {"q1": ["d3", "d1", "d4"], "q2": ["d2", "d4", "d1"]}
ENTRIES = [(q, d, rank, 1 - rank / 4) for q, docs in LISTS.items() for rank, d in enumerate(docs, start=1)]


def joined(separator: str, rows: Sequence[Sequence[object]], quoted: bool = False) -> str:
    cell = (lambda value: f'"{value}"') if quoted else str
    return "".join(separator.join(cell(value) for value in row) + "\n" for row in rows)


def three(folder: Path, **contents: tuple[str, str]) -> Files:
    """The collection as three files, some of them with another name and content."""
    usual = {
        "corpus": ("corpus.tsv", joined("\t", list(TEXTS.items()))),
        "queries": ("queries.tsv", joined("\t", list(QUERIES.items()))),
        "qrels": ("qrels.tsv", joined("\t", [("query-id", "corpus-id", "score"), *GRADES])),
    }
    for name, content in (usual | contents).values():
        (folder / name).write_text(content, encoding="utf-8", newline="")
    return Files(**{key: str(folder / name) for key, (name, _) in (usual | contents).items()})


def cured(source: Files, cache: Path) -> Files:
    """The source with what its one message says."""
    with pytest.raises(UserError) as caught:
        source.load(cache)
    (line,) = caught.value.problems
    words = shlex.split(re.sub(r"; if it is a record.*", "", line))
    typed = dict(word.partition("=")[::2] for word in words if word.startswith("dataset.") and "=" in word)
    return replace(source, **{key.removeprefix("dataset."): unquoted(value) for key, value in typed.items()})


def unquoted(value: str) -> str:
    """A value as Hydra reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return str(OverridesParser.create().parse_override(f"key={value}").value())


def fingerprint(source: Files, cache: Path) -> str:
    return source.load(cache).fingerprint()


HEADERS = [
    ("article_no", "body_text"),
    ("Artikel-Nr", "Inhalt"),
    ("記事番号", "本文"),
    ("docname", "words"),
    ("it's key", "the long words"),
    ("articleNo", "bodyText"),
    ("V1", "V2"),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[0])
@pytest.mark.parametrize(
    ("name", "separator"),
    [*[("corpus.csv", one) for one in ",;|"], ("corpus.tsv", "\t"), ("corpus.txt", "\t")],
)
def test_a_header_that_we_do_not_know_is_no_document(
    tmp_path: Path, name: str, separator: str, header: tuple[str, str]
) -> None:
    expected = fingerprint(three(tmp_path), tmp_path)
    rows = [header, *TEXTS.items()]
    source = three(tmp_path, corpus=(name, joined(separator, rows, quoted=name.endswith("csv"))))
    assert fingerprint(cured(source, tmp_path), tmp_path) == expected


@pytest.mark.parametrize(
    "ids", [list("1234"), ["a-1", "b-2", "c-3", "d-4"], ["paris", "london", "rome", "oslo"]]
)
def test_a_header_is_told_from_ids_of_any_make(tmp_path: Path, ids: list[str]) -> None:
    documents = dict(zip(ids, TEXTS.values(), strict=True))
    grades = [("q1", ids[0], 1)]
    files = {
        "qrels": ("qrels.tsv", joined("\t", grades)),
        "corpus": ("corpus.csv", joined(",", [("article", "body_text"), *documents.items()], quoted=True)),
    }
    assert cured(three(tmp_path, **files), tmp_path).load(tmp_path).corpus.ids() == ids
    bare = joined(",", list(documents.items()), quoted=True)
    bare_files = three(tmp_path, **(files | {"corpus": ("corpus.csv", bare)}))
    assert bare_files.load(tmp_path).corpus.ids() == ids


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("corpus.csv", joined(";", [("_id", "text"), *TEXTS.items()], quoted=True)),
        ("corpus.csv", joined("|", [("ID", "Text"), *TEXTS.items()])),
        ("corpus.csv", joined("\t", [("Doc ID", "CONTENT"), *TEXTS.items()])),
        ("corpus.csv", "\ufeff" + joined(",", [("docno", "Text"), *TEXTS.items()], quoted=True)),
        ("corpus.csv", joined("|", list(TEXTS.items()))),
        ("corpus.csv", joined(", ", [("docno", "text"), *TEXTS.items()], quoted=True)),
        ("corpus.tsv", joined("|", list(TEXTS.items()))),
        ("corpus.tsv", joined("\t", [("_id", "text"), *TEXTS.items()], quoted=True)),
        ("corpus.txt", joined("\t", list(TEXTS.items()))),
        ("corpus.txt", joined(";", list(TEXTS.items()), quoted=True)),
    ],
)
def test_separators_capitals_and_quotes_are_understood(tmp_path: Path, name: str, content: str) -> None:
    expected = fingerprint(three(tmp_path), tmp_path)
    assert fingerprint(three(tmp_path, corpus=(name, content)), tmp_path) == expected


@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.sampled_from(["\t", ",", ";", "|"]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
        min_size=2,
        max_size=6,
    ),
)
def test_documents_without_a_header_are_all_read_whatever_stands_between(
    tmp_path: Path, separator: str, texts: list[str]
) -> None:
    """An id with a number in it is never taken for a header, and no text for another column."""
    documents = {f"doc{at}": text for at, text in enumerate(texts)}
    rows = [(key, text.replace('"', '""')) for key, text in documents.items()]
    grades = ("qrels.tsv", "q1\tdoc0\t1\n")
    source = three(tmp_path, corpus=("corpus.csv", joined(separator, rows, quoted=True)), qrels=grades)
    loaded = source.load(tmp_path)
    assert loaded.corpus.ids() == list(documents)
    assert loaded.corpus.texts(loaded.corpus.rows(list(documents))) == texts


def test_what_pandas_calls_columns_without_names_is_a_header(tmp_path: Path) -> None:
    source = three(tmp_path, corpus=("corpus.csv", joined(",", [("0", "1"), *TEXTS.items()], quoted=True)))
    assert cured(source, tmp_path).load(tmp_path).corpus.ids() == list(TEXTS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.csv", joined(";", [("vraag", "stuk", "cijfer"), *GRADES])),
        ("qrels.tsv", joined("\t", [("cijfer", "stuk", "vraag"), *[row[::-1] for row in GRADES]])),
        ("qrels.csv", joined(",", [("Query ID", "Corpus-ID", "points"), *GRADES])),
        ("swapped.tsv", joined("\t", [(doc, query, grade) for query, doc, grade in GRADES])),
        ("swapped.csv", joined(",", [("qid", "docno", "rel"), *[(d, q, g) for q, d, g in GRADES]])),
        ("swapped.qrels", joined(" ", [(doc, "0", query, grade) for query, doc, grade in GRADES])),
    ],
)
def test_the_cure_for_judgements_leads_to_the_same_judgements(
    tmp_path: Path, name: str, content: str
) -> None:
    expected = fingerprint(three(tmp_path), tmp_path)
    assert fingerprint(cured(three(tmp_path, qrels=(name, content)), tmp_path), tmp_path) == expected


@pytest.mark.parametrize("name", ["qrels.tsv", "qrels.jsonl", "qrels.csv"])
def test_judgements_without_grades_are_of_grade_1_and_it_is_said_once(tmp_path: Path, name: str) -> None:
    rows = [("query-id", "corpus-id"), *[row[:2] for row in GRADES]]
    content = joined("\t" if name.endswith("tsv") else ",", rows)
    if name.endswith("jsonl"):
        content = "".join(json.dumps({"query-id": q, "corpus-id": d}) + "\n" for q, d, _ in GRADES)
    loaded = three(tmp_path, qrels=(name, content)).load(tmp_path)
    assert loaded.judged_grade.tolist() == [1, 1, 1]
    assert [note for note in loaded.notes if "grade" in note] == [
        "judgements without a grade: 3; the file has no column of grades: each counts as grade 1"
    ]


def test_a_grade_that_only_some_judgements_have_is_a_fault(tmp_path: Path) -> None:
    lines = [{"query-id": "q1", "corpus-id": "d1"}, {"query-id": "q1", "corpus-id": "d2", "score": 0}]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    with pytest.raises(UserError, match="1 of 2 judgements lack the grade"):
        three(tmp_path, qrels=("qrels.jsonl", content)).load(tmp_path)


def test_a_key_twice_in_a_line_is_a_fault_with_its_place(tmp_path: Path) -> None:
    content = '{"_id": "d1", "text": "a", "x": 1, "x": 2}\n{"_id": "d2", "text": "b", "_id": "d3"}\n'
    with pytest.raises(UserError) as caught:
        three(tmp_path, corpus=("corpus.jsonl", content)).load(tmp_path)
    (line,) = caught.value.problems
    assert line.startswith(f"{tmp_path}/corpus.jsonl:2: has '_id' twice: keep one")


def test_faults_of_one_kind_are_one_line(tmp_path: Path) -> None:
    rows = [(q, d, "high" if at else grade) for at, (q, d, grade) in enumerate([*GRADES, *GRADES])]
    with pytest.raises(UserError) as caught:
        three(tmp_path, qrels=("qrels.tsv", joined("\t", rows))).load(tmp_path)
    assert caught.value.problems == [
        f"{tmp_path}/qrels.tsv:2: the grade is 'high': it must be a whole number of at most ten digits "
        "(and 4 more of this kind: lines 3, 4, 5, ...)"
    ]


@pytest.mark.parametrize("ending", ["bz2", "xz", "zst"])
def test_other_compression_is_read(tmp_path: Path, ending: str) -> None:
    source = three(tmp_path)
    content = Path(source.corpus).read_bytes()
    packed = tmp_path / f"corpus.tsv.{ending}"
    if ending == "zst":
        with pa.output_stream(str(packed), compression="zstd") as sink:
            sink.write(content)
    else:
        packed.write_bytes({"bz2": bz2.compress, "xz": lzma.compress}[ending](content))
    assert fingerprint(replace(source, corpus=str(packed)), tmp_path) == fingerprint(source, tmp_path)


def test_the_check_says_what_each_column_was_taken_for(tmp_path: Path) -> None:
    header = ("No", "Text", "lang")
    rows = [header, *[(key, text, "en") for key, text in TEXTS.items()]]
    source = three(tmp_path, corpus=("corpus.csv", joined(";", rows, quoted=True)))
    found = {one.what: one for one in examine(replace(source, doc_id_column="No"), tmp_path)}
    assert found["columns read of corpus.csv"].examples == ("id from 'No'", "text from 'Text'")
    assert found["columns read of corpus.csv"].effect == "not read: 'lang'"
    assert found["columns read of queries.tsv"].examples == ("id from 'column 1'", "text from 'column 2'")


# --- runs ---


@pytest.fixture
def collection() -> Collection:
    return collection_of(TEXTS, QUERIES, {q: {d: g for p, d, g in GRADES if p == q} for q in QUERIES})


def listed(run: Run, collection: Collection) -> dict[str, list[str]]:
    found = run.read(collection, 10)
    lists = (collection.corpus.ids(rows[rows >= 0]) for rows in found.rows)
    return dict(zip(collection.query_ids, lists, strict=True))


def run_of(folder: Path, name: str, content: str) -> Run:
    (folder / name).write_text(content, encoding="utf-8")
    return Run(str(folder / name))


RANKED = [(q, d, rank) for q, d, rank, _ in ENTRIES]
SCORED = [(q, d, score) for q, d, _, score in ENTRIES]
TREC = [(q, "Q0", d, rank, score) for q, d, rank, score in ENTRIES]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("msmarco.tsv", joined("\t", RANKED)),
        ("msmarco.run", joined("\t", RANKED)),
        ("zero.tsv", joined("\t", [(q, d, rank - 1) for q, d, rank in RANKED])),
        ("shuffled.tsv", joined("\t", sorted(RANKED, key=lambda row: row[1]))),
        ("named.tsv", joined("\t", [("qid", "docno", "rank"), *RANKED])),
        ("named.txt", joined(" ", [("qid", "docno", "Rank"), *RANKED])),
        ("named.jsonl", "".join(json.dumps({"qid": q, "docno": d, "rank": r}) + "\n" for q, d, r in RANKED)),
        ("scores.tsv", joined("\t", SCORED)),
        ("scores.run", joined(",", SCORED)),
        ("exponents.run", joined(" ", [(q, d, f"{score:e}") for q, d, score in SCORED])),
        ("semicolons.run", joined(";", [("QID", "Doc-No", "SCORE"), *SCORED])),
        ("blanks.csv", joined(", ", [("qid", "docno", "score"), *SCORED])),
        ("tags.trec", joined(" ", [(*row, "BM25 + RM3") for row in TREC])),
        ("tabs.trec", joined("\t", [(*row, "my tag") for row in TREC])),
        ("untagged.trec", joined(" ", TREC)),
        ("constant.trec", joined(" ", [(q, "Q0", d, 0, score, "t") for q, d, score in SCORED])),
    ],
)  # fmt: skip
def test_runs_of_many_makes_stand_in_the_order_of_their_author(
    tmp_path: Path, collection: Collection, name: str, content: str
) -> None:
    assert listed(run_of(tmp_path, name, content), collection) == LISTS


def test_guessed_ranks_are_said(tmp_path: Path, collection: Collection) -> None:
    run = run_of(tmp_path, "msmarco.tsv", joined("\t", RANKED))
    assert run.read(collection, 10).notes == (
        "run entries whose last column has no name: 6; it counts 1, 2, 3 for each query and was taken for "
        "the rank; first_stage.order_by=score takes it for scores",
    )
    turned = {query: docs[::-1] for query, docs in LISTS.items()}
    assert listed(replace(run, order_by="score"), collection) == turned
    falling = run_of(tmp_path, "falling.tsv", joined("\t", [(q, d, 4 - rank) for q, d, rank in RANKED]))
    assert (listed(falling, collection), falling.read(collection, 10).notes) == (LISTS, ())


DISTANCES = [(q, d, rank, 1 - score) for q, d, rank, score in ENTRIES]
CSV_HEADER = ("qid", "docno", "rank", "score")
QUESTIONABLE = [
    ("run.csv", joined(",", [CSV_HEADER, *DISTANCES]), "contradict"),
    ("run.trec", joined(" ", [(q, "Q0", d, rank, far, "t") for q, d, rank, far in DISTANCES]), "contradict"),
    ("run.csv", joined(",", [("qid", "docno", "score"), *RANKED]), "as ranks do"),
]


@pytest.mark.parametrize(("name", "content", "said"), QUESTIONABLE)
def test_a_run_with_two_orders_is_refused_with_the_key_that_decides(
    tmp_path: Path, collection: Collection, name: str, content: str, said: str
) -> None:
    run = run_of(tmp_path, name, content)
    with pytest.raises(UserError, match=said) as caught:
        run.read(collection, 10)
    first = re.findall(r"first_stage\.order_by=(\w+)", caught.value.problems[0])[0]
    assert listed(replace(run, order_by=first), collection) == LISTS
    assert listed(replace(run, order_by="distance"), collection) == LISTS


def test_distances_without_ranks_are_a_finding_with_the_key(tmp_path: Path, collection: Collection) -> None:
    rows = [("qid", "docno", "score"), *[(q, d, distance) for q, d, _, distance in DISTANCES]]
    run = run_of(tmp_path, "run.csv", joined(",", rows))
    (finding,) = run.read(collection, 10).findings
    assert (finding.severity, finding.count) == ("warning", 6)
    assert "first_stage.order_by=distance" in finding.effect
    assert listed(replace(run, order_by="distance"), collection) == LISTS
    named = run_of(tmp_path, "named.csv", joined(",", [("qid", "docno", "distance"), *rows[1:]]))
    assert "set first_stage.score_column=distance" in named.problems()[0]
    assert "first_stage.order_by=distance" in replace(named, score_column="distance").problems()[0]
    assert listed(replace(named, score_column="distance", order_by="distance"), collection) == LISTS


def test_ranks_are_not_taken_for_scores_by_name(tmp_path: Path, collection: Collection) -> None:
    run = run_of(tmp_path, "run.tsv", joined("\t", [("qid", "docno", "rank"), *RANKED]))
    (line,) = replace(run, score_column="rank").problems()
    assert "leave it out" in line
    assert run.problems() == []
    assert listed(run, collection) == LISTS


def test_columns_without_a_header_are_given_by_number(tmp_path: Path, collection: Collection) -> None:
    rows = [(score, "x", doc, query) for query, doc, score in SCORED]
    run = run_of(tmp_path, "run.csv", joined(",", rows))
    (line,) = run.problems()
    words = dict(re.findall(r"first_stage\.(\w+)=(\w+)", line))
    assert words.keys() == {"query_column", "doc_column", "score_column"}
    right = replace(run, query_column="4", doc_column="3", score_column="1")
    assert (right.problems(), listed(right, collection)) == ([], LISTS)
    assert replace(right, query_column="5").problems() == [
        f"{tmp_path}/run.csv:1: first_stage.query_column=5: the columns have the numbers 1 to 4"
    ]


def test_swapped_columns_of_a_run_are_told_with_the_cure(tmp_path: Path, collection: Collection) -> None:
    run = run_of(tmp_path, "run.trec", joined(" ", [(d, "Q0", q, r, s, "t") for q, _, d, r, s in TREC]))
    with pytest.raises(UserError, match="swapped") as caught:
        run.read(collection, 10)
    words = dict(re.findall(r"first_stage\.(\w+)=(\w+)", caught.value.problems[0]))
    assert listed(replace(run, **words), collection) == LISTS


def test_several_systems_in_one_file_are_told(tmp_path: Path, collection: Collection) -> None:
    both = joined(" ", [(*row, tag) for tag in ("bm25", "dense") for row in TREC])
    with pytest.raises(UserError, match=r"runs of several systems \('bm25', 'dense'\), keep one"):
        run_of(tmp_path, "run.trec", both).read(collection, 10)
    halves = joined(" ", [(*row, "a" if row[0] == "q1" else "b") for row in TREC])
    (finding,) = run_of(tmp_path, "run.trec", halves).read(collection, 10).findings
    assert (finding.what, finding.examples) == ("tags in one run", ("'a'", "'b'"))


@pytest.mark.parametrize(
    ("change", "said"), [(str.upper, "capitals: 'D3' for 'd3'"), (lambda i: i + "\u00a0", "white space")]
)
def test_ids_that_differ_only_in_capitals_or_blanks_are_told(
    tmp_path: Path, collection: Collection, change: type[str], said: str
) -> None:
    run = run_of(tmp_path, "run.tsv", joined("\t", [(q, change(d), score) for q, d, score in SCORED]))
    with pytest.raises(UserError, match=f"they differ only in {said}"):
        run.read(collection, 10)
