"""Run files: what is read, in which order, what is refused; and that what is written is read back exactly."""

from __future__ import annotations

import gzip
import json
import os
import re
from itertools import pairwise
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import Candidates, read_trec, write_qrels, write_trec
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.evaluation import measures

any_id = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5).filter(
    str.strip
)


@pytest.fixture
def letters() -> Collection:
    """Documents a to e, queries q1 and q2."""
    return collection_of(
        {i: i * 3 for i in "abcde"}, {"q1": "one", "q2": "two"}, {"q1": {"a": 1}, "q2": {"b": 2}}
    )


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


def names(collection: Collection, candidates: Candidates) -> list[list[str]]:
    return [collection.corpus.ids(row[row >= 0]) for row in candidates.rows]


def problems(path: Path, collection: Collection) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_trec(path, collection, 10)
    return caught.value.problems


RUN = "q2 Q0 a 1 2.5 t\nq1 Q0 b 1 1e1 t\nq1 Q0 c 2 -3 t\nq2 Q0 d 2 .5 t\n"


def test_a_trec_run_becomes_arrays_in_the_order_of_the_queries(tmp_path: Path, letters: Collection) -> None:
    candidates = read_trec(written(tmp_path / "run.trec", RUN), letters, 100)
    assert names(letters, candidates) == [["b", "c"], ["a", "d"]]
    assert candidates.scores.tolist() == [[10.0, -3.0], [2.5, 0.5]]
    assert (candidates.rows.dtype, candidates.scores.dtype, candidates.notes) == (np.int64, np.float32, ())


def assert_read_as_run(folder: Path, letters: Collection, name: str, content: str) -> None:
    expected = read_trec(written(folder / "expected.trec", RUN), letters, 100)
    candidates = read_trec(written(folder / name, content), letters, 100)
    assert candidates.rows.tolist() == expected.rows.tolist()
    assert candidates.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.txt", RUN.replace(" ", "\t")),
        ("run.res", "\ufeff" + RUN.replace("\n", "\r\n") + "\n"),
        ("run", RUN.replace(" ", "   ")[:-1]),
        ("run.json", '{"q1": {"b": 10, "c": -3}, "q2": {"a": 2.5, "d": 0.5}}'),
        ("run.csv", 'qid,docno,score\nq1,"b",10\nq1,c,-3\nq2,a,2.5\nq2,d,0.5\n'),
        ("run.tsv", "rank\tqid\tdocid\tscore\n2\tq1\tc\t-3\n1\tq1\tb\t10\n1\tq2\ta\t2.5\n2\tq2\td\t0.5\n"),
        ("run.jsonl", "".join(
            f'{{"q_id": "{query}", "doc_id": "{doc}", "score": {score}}}\n'
            for query, doc, score in [("q1", "b", 10), ("q1", "c", -3), ("q2", "a", 2.5), ("q2", "d", 0.5)]
        )),
    ],
)  # fmt: skip
def test_every_form_of_a_run_is_the_same(
    tmp_path: Path, letters: Collection, name: str, content: str
) -> None:
    assert_read_as_run(tmp_path, letters, name, content)


def hit(doc_id: str, score: float | None) -> dict[str, object]:
    """As Elasticsearch returns it."""
    return {"_index": "letters", "_id": doc_id, "_score": score, "_source": {"id": "e", "text": "hits"}}


HITS = {"q1": [hit("c", -3), hit("b", 10)], "q2": [hit("a", 2.5), hit("d", 0.5)]}
ANSWERS = {q: {"took": 3, "hits": {"total": {"value": 2}, "hits": hits}} for q, hits in HITS.items()}
# PyTerrier counts ranks from 0; its docid is a number inside the index, here another document's id.
PYTERRIER = {
    "qid": ["q1", "q1", "q2", "q2"],
    "docid": ["c", "b", "d", "a"],
    "docno": ["b", "c", "a", "d"],
    "rank": [0, 1, 0, 1],
    "score": [10.0, -3.0, 2.5, 0.5],
    "query": ["one", "one", "two", "two"],
}
RECORDS = [dict(zip(PYTERRIER, row, strict=True)) for row in zip(*PYTERRIER.values(), strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [("run.json", json.dumps(shape)) for shape in (HITS, ANSWERS, RECORDS)]
    + [("run.jsonl", "".join(json.dumps({"qid": q, **one}) + "\n" for q, of in HITS.items() for one in of))],
    ids=["hits", "answers", "records", "lines"],
)
def test_runs_of_search_engines_and_tables(
    tmp_path: Path, letters: Collection, name: str, content: str
) -> None:
    assert_read_as_run(tmp_path, letters, name, content)


def test_a_parquet_of_pyterrier_is_read_by_docno(tmp_path: Path, letters: Collection) -> None:
    pq.write_table(pa.table(PYTERRIER), tmp_path / "run.parquet")
    assert names(letters, read_trec(tmp_path / "run.parquet", letters, 9)) == [["b", "c"], ["a", "d"]]


def test_gzip_and_parquet_runs(tmp_path: Path, letters: Collection) -> None:
    (tmp_path / "run.trec.gz").write_bytes(gzip.compress(RUN.encode()))
    assert names(letters, read_trec(tmp_path / "run.trec.gz", letters, 9)) == [["b", "c"], ["a", "d"]]
    columns = {
        "qid": ["q1", "q1", "q2"],
        "docid": ["a", "b", "c"],
        "score": pa.array([0.5, 1, 2], pa.float32()),
    }
    pq.write_table(pa.table(columns), tmp_path / "run.parquet")
    assert names(letters, read_trec(tmp_path / "run.parquet", letters, 9)) == [["b", "a"], ["c"]]


def test_equal_scores_keep_the_rank_then_the_line(tmp_path: Path, letters: Collection) -> None:
    lines = ["q1 Q0 a 3 1 t", "q1 Q0 b 2 1 t", "q1 Q0 c 2 1 t", "q1 Q0 d 1 2 t", "q1 Q0 e 9 0 t"]
    run = read_trec(written(tmp_path / "run.trec", "\n".join(lines)), letters, 9)
    assert names(letters, run)[0] == ["d", "b", "c", "a", "e"]
    reversed_run = read_trec(written(tmp_path / "run.trec", "\n".join(lines[::-1])), letters, 9)
    assert names(letters, reversed_run)[0] == ["d", "c", "b", "a", "e"]


def test_json_ties_keep_the_order_of_the_file(tmp_path: Path, letters: Collection) -> None:
    run = read_trec(written(tmp_path / "run.json", '{"q1": {"c": 1, "a": 1, "b": 1}}'), letters, 9)
    assert names(letters, run)[0] == ["c", "a", "b"]


def test_scores_are_compared_before_they_are_rounded(tmp_path: Path, letters: Collection) -> None:
    run = written(tmp_path / "run.trec", "q1 Q0 a 1 1.00000000001 t\nq1 Q0 b 2 1.00000000002 t\n")
    candidates = read_trec(run, letters, 9)
    assert names(letters, candidates)[0] == ["b", "a"]
    assert candidates.scores[0].tolist() == [1.0, 1.0]


def test_depth_cuts_and_short_lists_are_padded(tmp_path: Path, letters: Collection) -> None:
    lines = [f"q1 Q0 {doc_id} 0 {-rank} t" for rank, doc_id in enumerate("edcba")]
    candidates = read_trec(written(tmp_path / "run.trec", "\n".join([*lines, "q2 Q0 a 1 1 t"])), letters, 3)
    assert candidates.rows.tolist() == [[4, 3, 2], [0, -1, -1]]
    assert candidates.scores.tolist() == [[0, -1, -2], [1, -np.inf, -np.inf]]
    assert candidates.lengths().tolist() == [3, 1]


def test_what_does_not_match_is_left_out_and_noted(tmp_path: Path, letters: Collection) -> None:
    content = "q1 Q0 zz 1 9 t\nq1 Q0 b 2 8 t\nq9 Q0 a 1 1 t\nq8 Q0 a 1 1 t\n"
    candidates = read_trec(written(tmp_path / "run.trec", content), letters, 9)
    assert names(letters, candidates) == [["b"], []]
    assert [finding.severity for finding in candidates.findings] == ["info", "warning", "warning"]
    assert candidates.notes == tuple(finding.line() for finding in candidates.findings)
    assert candidates.notes == (
        "queries of the run that this split does not judge: 2 ('q9', 'q8'); left out",
        "judged queries for which the run has nothing: 1 ('q2'); they count 0 in every mean",
        "documents of the run that the corpus does not have: 1 ('zz'); "
        "left out, the documents below them move up: there is no text to rerank",
    )


def test_of_many_that_do_not_match_the_first_are_named(tmp_path: Path) -> None:
    queries = {f"q{number}": "text" for number in range(6)}
    collection = collection_of({"a": "x", "b": "y"}, queries, {query: {"a": 1} for query in queries})
    strays = [f"{name}{number}" for name in "sd" for number in range(5)]
    lines = [f"{stray} Q0 a 1 1 t" for stray in strays[:5]] + [f"q5 Q0 {stray} 1 1 t" for stray in strays[5:]]
    run = written(tmp_path / "run.trec", "\n".join([*lines, lines[0].replace(" a ", " b "), "q5 Q0 a 1 1 t"]))
    assert [(finding.count, finding.examples) for finding in read_trec(run, collection, 9).findings] == [
        (5, ("'s0'", "'s1'", "'s2'")),
        (5, ("'q0'", "'q1'", "'q2'")),
        (5, ("'d0'", "'d1'", "'d2'")),
    ]


def test_lost_zeros_are_noted(tmp_path: Path) -> None:
    padded = collection_of(
        {"007": "bond", "a": "b"}, {"01": "who", "q": "x"}, {"01": {"007": 1}, "q": {"a": 1}}
    )
    notes = read_trec(
        written(tmp_path / "run.trec", "1 Q0 a 1 1 t\nq Q0 7 1 2 t\nq Q0 a 2 1 t\n"), padded, 9
    ).notes
    assert any(
        note.startswith("query ids of the run that differ from known ones only in zeros: 1") for note in notes
    )
    assert any("document ids of the run that differ" in note and "'7' for '007'" in note for note in notes)


def test_a_document_with_the_query_id_is_dropped_where_asked(tmp_path: Path) -> None:
    texts = {"q1": "one", "x": "two"}
    run = written(tmp_path / "run.trec", "q1 Q0 q1 1 9 t\nq1 Q0 x 2 8 t\n")
    kept = collection_of(texts, {"q1": "one"}, {"q1": {"x": 1}})
    dropping = collection_of(texts, {"q1": "one"}, {"q1": {"x": 1}}, drop_same_id=True)
    assert names(kept, read_trec(run, kept, 1)) == [["q1"]]
    dropped = read_trec(run, dropping, 1)
    assert names(dropping, dropped) == [["x"]]
    assert dropped.notes == ("candidates with the id of their query: 1; removed, drop_same_id is set",)
    assert dropped.findings[0].severity == "info"
    mixed = written(tmp_path / "mixed.trec", "q1 Q0 q1 1 9 t\nq1 Q0 gone 2 8 t\nq1 Q0 x 3 7 t\n")
    assert names(dropping, read_trec(mixed, dropping, 2)) == [["x"]]
    assert read_trec(mixed, dropping, 2).rows.tolist() == [[1]]
    assert [finding.count for finding in read_trec(mixed, dropping, 2).findings] == [1, 1]
    without = written(tmp_path / "without.trec", "q1 Q0 x 2 8 t\n")
    assert read_trec(without, dropping, 1).notes == ()
    alone = read_trec(written(tmp_path / "alone.trec", "q1 Q0 q1 1 9 t\n"), dropping, 1)
    assert (alone.rows.shape, alone.scores.shape) == ((1, 0), (1, 0))


SIX = "write 6, as in line 1; an id cannot hold a space here"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("q1 Q0 my doc 1 1 t", f"run.trec:2: has 7 columns instead of 6: 'q1 Q0 my doc 1 1 t'; {SIX}"),
        ("q1 Q0 b 2 1", f"run.trec:2: has 5 columns instead of 6: 'q1 Q0 b 2 1'; {SIX}"),
        (
            "q1 Q0 b 2 0,5 t",
            "run.trec:2: the score is '0,5': it must be a finite number, with a point for decimals",
        ),
        ("q1 Q0 b 2 nan t", "run.trec:2: the score is 'nan': it must be a finite number"),
        ("q1 Q0 b 2 -inf t", "run.trec:2: the score is '-inf': it must be a finite number"),
        (
            "q1 Q0 b 2 1e999 t",
            "run.trec:2: the score is '1e999': it must be a finite number in single precision",
        ),
        (
            "q1 Q0 b 2 4e38 t",
            "run.trec:2: the score is '4e38': it must be a finite number in single precision",
        ),
        ("q1 Q0 b 2 high t", "run.trec:2: the score is 'high': it must be a finite number"),
        ("q1 Q0 b 2 1_0 t", "run.trec:2: the score is '1_0': it must be a finite number"),
        ("q1 Q0 b 2 ٣ t", "run.trec:2: the score is '٣': it must be a finite number"),
        ("q1 Q0 b two 1 t", "run.trec:2: the rank is 'two': it must be a whole number"),
        (
            "q1 Q0 b 99999999999999999999 1 t",
            "run.trec:2: the rank is '99999999999999999999': it must be a whole number",
        ),
        ("q1 Q0 a 2 1 t", "run.trec:2: query 'q1' has document 'a' twice, first in line 1: remove one"),
        (
            "q1 Q0 b\0 2 1 t",
            "run.trec:2: holds a NUL byte at byte offset 21: the file is damaged, binary or UTF-16; "
            "save it as text in UTF-8, or fetch it again",
        ),
    ],
)
def test_faults_of_a_run_are_told_with_line_and_value(
    tmp_path: Path, letters: Collection, line: str, expected: str
) -> None:
    told = problems(written(tmp_path / "run.trec", f"q1 Q0 a 1 2 t\n{line}\nq1 Q0 c 3 0 t\n"), letters)
    assert told == [f"{tmp_path}/{expected}"]


# Doubled braces, since the expected lines are formatted.
SHAPE = '{{"query id": {{"document id": number}}}}, or a list of objects with one column a key'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("run.trec", "", "first_stage.path={path}: the file is empty; write it again or give another one"),
        (
            "run.trec",
            "\n\n",
            "{path}: none of its query ids (it is empty) is in in memory, split test ('q1', 'q2')"
            ": is the run of another collection or split?",
        ),
        (
            "run.trec",
            "".join(f"{query} Q0 a 1 1 t\n" for query in range(1, 6)),
            "{path}: none of its query ids ('1', '2', '3') is in in memory, split test ('q1', 'q2')"
            ": is the run of another collection or split?",
        ),
        (
            "run.trec",
            "".join(f"q1 Q0 {document} 1 1 t\n" for document in "vwxyz"),
            "{path}: none of its document ids ('v', 'w', 'x') is in the corpus of in memory ('a', 'b', 'c')"
            ": is the run of another collection, or did the ids lose zeros?",
        ),
        (
            "run.trec",
            "q1 0 a 1\n",
            "{path}:1: has 4 columns, not 3, 5 or 6, and no header: 'q1 0 a 1'; "
            "add a header, for instance query-id, corpus-id, score",
        ),
        (
            "run.json",
            "{}",
            "{path}: none of its query ids (it is empty) is in in memory, split test ('q1', 'q2')"
            ": is the run of another collection or split?",
        ),
        (
            "run.json",
            '{"q1": {"a": "1e2x"}}',
            "{path} entry 1: the score is '1e2x': it must be a finite number",
        ),
        (
            "run.json",
            '{"q1": {"a": NaN}}',
            "{path} entry 1: the score is nan: it must be a finite number in single precision",
        ),
        ("run.json", '{"q1": {"a": true}}', "{path} entry 1: the score is True: it must be a finite number"),
        (
            "run.json",
            '{"q1": {"b": 1, "a": 1, "a": 1}}',
            "{path} entry 3: query 'q1' has document 'a' twice, first in entry 2: remove one",
        ),
        (
            "run.json",
            '{"q1": 5}',
            "{path} entry 1: query 'q1' has 5: the shape is " + SHAPE,
        ),
        (
            "run.csv",
            "qid,docno,points\nq1,a,1\n",
            "{path}:1: no column for the score: "
            "looked for score | _score | similarity | sim | docscore, "
            "found 'qid', 'docno', 'points'; rename the column",
        ),
        (
            "run.json",
            '{"q1": [{"_id": "a", "_score": null}]}',
            "{path} entry 1: the score is None: it must be a finite number",
        ),
        (
            "run.json",
            '{"q1": [{"_id": "a"}]}',
            "{path} entry 1: no column for the score: "
            "looked for score | _score | similarity | sim | docscore, "
            "found '_id', 'query-id'; rename the column",
        ),
        (
            "run.json",
            '{"q1": [["a"], ["b"]]}',
            "{path} entry 1: query 'q1' has [['a'], ['b']]: the shape is " + SHAPE,
        ),
        (
            "run.json",
            '[{"docno": "a", "score": 1}]',
            "{path} entry 1: no column for the query: looked for "
            "query-id | query_id | qid | q_id | topic_id | topic | query, "
            "found 'docno', 'score'; rename the column",
        ),
        (
            "run.json",
            '[["q1", "a", 1]]',
            "{path}: holds [['q1', 'a', 1]] at the top: the shape is " + SHAPE,
        ),
    ],
)
def test_runs_that_cannot_be_used(
    tmp_path: Path, letters: Collection, name: str, content: str, expected: str
) -> None:
    path = written(tmp_path / name, content)
    assert problems(path, letters) == [expected.format(path=path)]


def test_a_missing_run_and_a_folder(tmp_path: Path, letters: Collection) -> None:
    assert problems(tmp_path / "no.trec", letters) == [
        f"first_stage.path={tmp_path}/no.trec: there is no such file; check the path"
    ]
    assert problems(tmp_path / "no" / "where.trec", letters) == [
        f"first_stage.path={tmp_path}/no/where.trec: there is no such file; "
        f"{tmp_path}/no is not a folder: check the path"
    ]
    written(tmp_path / "bm25.trec.gz", "")
    assert problems(tmp_path / "bm25.trec", letters) == [
        f"first_stage.path={tmp_path}/bm25.trec: there is no such file; did you mean bm25.trec.gz?"
    ]
    assert problems(tmp_path, letters) == [f"first_stage.path={tmp_path}: is a folder; give a file"]


def test_every_fault_of_a_line_is_told(tmp_path: Path, letters: Collection) -> None:
    run = written(tmp_path / "run.csv", "qid,docno,score,rank\n,,high,first\nq1,a,1,1\n")
    assert problems(run, letters) == [
        f"{run}:2: the query id is empty, '': give every record an id",
        f"{run}:2: the document id is empty, '': give every record an id",
        f"{run}:2: the score is 'high': it must be a finite number",
        f"{run}:2: the rank is 'first': it must be a whole number",
    ]


def test_a_corpus_of_two_shows_both_ids(tmp_path: Path) -> None:
    two = collection_of({"a": "x", "b": "y"}, {"q": "z"}, {"q": {"a": 1}})
    (told,) = problems(written(tmp_path / "run.trec", "q Q0 c 1 1 t\n"), two)
    assert "is in the corpus of in memory ('a', 'b'): " in told


def test_arrays_that_are_no_ranked_lists_are_a_bug() -> None:
    for rows, scores in [((2, 3), (2, 2)), ((2,), (2,))]:
        with pytest.raises(ValueError, match=re.escape(f"rows {rows} and scores {scores} must be the same")):
            Candidates(np.zeros(rows, np.int64), np.zeros(scores, np.float32))


def test_the_largest_number_of_single_precision_is_a_score(tmp_path: Path, letters: Collection) -> None:
    largest = float(np.finfo(np.float32).max)
    run = written(
        tmp_path / "run.trec", f"q1 Q0 a -1 {largest} t\nq1 Q0 b +2. {-largest} t\nq1 Q0 c 1.0 0 t\n"
    )
    assert read_trec(run, letters, 3).scores.tolist()[0] == [largest, 0.0, -largest]


def test_scores_or_ranks_that_only_some_entries_have(tmp_path: Path, letters: Collection) -> None:
    entries = [{"qid": "q1", "docno": "a", "rank": 1}, {"qid": "q1", "docno": "b", "score": 3}]
    run = written(tmp_path / "run.json", json.dumps(entries))
    assert problems(run, letters) == [
        f"{run} entry {number}: lacks the {what} that others have: give it to each"
        for number, what in ((1, "score"), (2, "rank"))
    ]


def test_blanks_around_a_score_are_no_part_of_it(tmp_path: Path, letters: Collection) -> None:
    run = written(tmp_path / "run.csv", "qid,docno,score\nq1,b, 1.5\nq1,a,2 \nq2,b,1\n")
    assert names(letters, read_trec(run, letters, 10)) == [["a", "b"], ["b"]]


def test_judgements_given_as_a_run_are_noted(tmp_path: Path, letters: Collection) -> None:
    head = "qid,docno,score\n"
    for name, lines, counts in [
        ("all", "q1,a,1\nq2,b,2\n", [2]),
        ("one", "q2,b,2\n", [1, 1]),  # and q1 has nothing
        ("other grade", "q1,a,1\nq2,b,1\n", []),
        ("not judged", "q1,a,1\nq2,c,2\n", []),
        ("more than judged", "q1,a,1\nq1,b,0\nq2,b,2\n", []),
    ]:
        findings = read_trec(written(tmp_path / f"{name}.csv", head + lines), letters, 10).findings
        assert [finding.count for finding in findings] == counts, name
        if counts:
            assert findings[-1].severity == "warning"
            assert findings[-1].line() == (
                f"ranked documents, all judged and scored by their grades: {counts[-1]}; "
                "the file seems to be the judgements; figures of a first stage need its run"
            )


def test_a_run_of_several_tags_is_noted(tmp_path: Path, letters: Collection) -> None:
    run = written(tmp_path / "run.trec", "q1 Q0 a 1 2 one\nq2 Q0 b 1 1 two\nq2 Q0 c 2 .5 two\n")
    (finding,) = read_trec(run, letters, 10).findings
    assert finding.severity == "warning"
    assert finding.line() == (
        "tags in one run: 2 ('one', 'two'); "
        "taken together as one run; split the file if they are several systems' runs"
    )
    entries = [{"qid": q, "docno": "b", "score": 1, "tag": tag} for q, tag in (("q1", "one"), ("q2", None))]
    untagged = written(tmp_path / "run.json", json.dumps(entries))
    assert read_trec(untagged, letters, 10).findings == ()


def test_candidates_show_their_size(letters: Collection) -> None:
    found = Candidates(np.array([[0, 1, 2]] * 2), np.zeros((2, 3), np.float32))
    assert repr(found) == "<Candidates of 2 queries, at most 3 of each>"


def test_many_faults_are_told_at_once_and_counted(tmp_path: Path, letters: Collection) -> None:
    told = problems(written(tmp_path / "run.trec", RUN + "q1 Q0 b 1 x t\n" * 30 + RUN * 2), letters)
    assert told == [
        f"{tmp_path}/run.trec:5: the score is 'x': it must be a finite number "
        "(and 29 more of this kind: lines 6, 7, 8, ...)",
        f"{tmp_path}/run.trec:35: query 'q2' has document 'a' twice, first in line 1: remove one "
        "(and 7 more of this kind: lines 36, 37, 38, ...)",
    ]


def ranked(
    collection: Collection, seed: int, depth: int, levels: int = 1000
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Random lists of random lengths, with scores on few levels so that many tie."""
    rng = np.random.default_rng(seed)
    queries, documents = len(collection.query_ids), len(collection.corpus)
    rows = np.stack([rng.permutation(documents)[:depth] for _ in range(queries)])
    lengths = rng.integers(0, depth + 1, queries)
    lengths[0] = depth
    padding = np.arange(rows.shape[1]) >= lengths[:, None]
    scores = -np.sort(-rng.integers(0, levels, rows.shape) / 7, axis=1).astype(np.float32)
    return np.where(padding, -1, rows), np.where(padding, np.float32(-np.inf), scores)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(any_id, min_size=1, max_size=8, unique=True),
    st.lists(any_id, min_size=1, max_size=4, unique=True),
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 10**6]),
)
def test_what_is_written_is_read_back_exactly(
    tmp_path: Path, doc_ids: list[str], query_ids: list[str], seed: int, levels: int
) -> None:
    judgements = {query_id: dict.fromkeys(doc_ids, 1) for query_id in query_ids}
    collection = collection_of(dict.fromkeys(doc_ids, "x"), dict.fromkeys(query_ids, "y"), judgements)
    rows, scores = ranked(collection, seed, len(doc_ids), levels)
    path = write_trec(tmp_path / "run.trec", collection, rows, scores, "tag")
    back = read_trec(path, collection, len(doc_ids))
    assert back.rows.tolist() == rows.tolist()
    again = write_trec(tmp_path / "again.trec", collection, back.rows, back.scores, "tag")
    assert again.read_bytes() == path.read_bytes()
    spaced = any(name.split() != [name] for name in [*doc_ids, *query_ids])
    assert (path.suffix == ".json") == (spaced or query_ids[0].startswith("\ufeff"))


def test_distinct_decreasing_scores_are_written_with_all_their_digits(
    tmp_path: Path, letters: Collection
) -> None:
    scores = np.array([[0.1, 1e-8, -1 / 3], [7, 5, 3]], np.float32)
    rows = np.array([[0, 1, 2], [4, 3, 2]])
    back = read_trec(write_trec(tmp_path / "run.trec", letters, rows, scores, "t"), letters, 3)
    assert back.scores.tobytes() == scores.tobytes()


def test_the_format_is_trecs(tmp_path: Path, letters: Collection) -> None:
    rows = np.array([[2, 0, -1], [-1, -1, -1]])
    path = write_trec(tmp_path / "run.trec", letters, rows, None, "my system")
    assert path.read_text() == "q1 Q0 c 1 3.0 my_system\nq1 Q0 a 2 2.0 my_system\n"
    assert write_qrels(tmp_path / "qrels", letters).read_text() == "q1 0 a 1\nq2 0 b 2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qrels", "run.trec"]


@pytest.mark.parametrize(
    "scores", [[5, 5, 5, 5, 5], [0, 0, 0, -1e-45, -1e-45], [1, 9, 2, 9, 3], [3e38, 3e38, 0, 0, 0]]
)
def test_written_scores_strictly_decrease_in_single_precision(
    tmp_path: Path, letters: Collection, scores: list[float]
) -> None:
    rows = np.array([[4, 0, 3, 1, 2], [0, 1, 2, 3, 4]])
    path = write_trec(
        tmp_path / "run.trec", letters, rows, np.array([scores, [5, 4, 3, 2, 1]], np.float32), "t"
    )
    lines = [line.split() for line in path.read_text().splitlines()][:5]
    numbers = [np.float32(line[4]) for line in lines]
    assert [line[2] for line in lines] == list("eadbc")
    assert all(above > below for above, below in pairwise(numbers))
    assert all(
        abs(number) > 1e-38 or number == 0 for number in numbers[1:]
    )  # no denormal that may be flushed


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_a_bug(tmp_path: Path, letters: Collection, wrong: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        write_trec(tmp_path / "run.trec", letters, np.zeros((2, 1), np.int64), np.array([[1], [wrong]]), "t")
    lowest = np.full((2, 2), np.finfo(np.float32).min)
    with pytest.raises(ValueError, match="within single precision"):
        write_trec(tmp_path / "run.trec", letters, np.array([[0, 1], [0, 1]]), lowest, "t")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["two words", "tab\tbed", "no\u00a0break", "line\u2028", "\x1cfs", " lead"])
def test_ids_with_white_space_are_written_as_json(tmp_path: Path, name: str) -> None:
    collection = collection_of({name: "x", "b": "y"}, {"q": "z"}, {"q": {name: 1}})
    rows = np.array([[1, 0]])
    path = write_trec(tmp_path / "run.trec", collection, rows, None, "t")
    assert (path.name, json.loads(path.read_text())) == ("run.json", {"q": {"b": 2.0, name: 1.0}})
    assert read_trec(path, collection, 2).rows.tolist() == rows.tolist()
    qrels = write_qrels(tmp_path / "qrels.trec", collection)
    assert (qrels.name, json.loads(qrels.read_text())) == ("qrels.json", {"q": {name: 1}})


def test_an_id_that_would_read_as_a_byte_order_mark_is_written_as_json(tmp_path: Path) -> None:
    collection = collection_of({"a": "x"}, {"\ufeffq": "y"}, {"\ufeffq": {"a": 1}})
    path = write_trec(tmp_path / "run.trec", collection, np.array([[0]]), None, "t")
    assert path.suffix == ".json"
    assert read_trec(path, collection, 1).rows.tolist() == [[0]]


def test_a_written_file_is_whole_or_not_there(
    tmp_path: Path, letters: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_trec(tmp_path / "run.trec", letters, np.array([[0], [1]]), None, "t")
    before = path.read_bytes()
    monkeypatch.setattr("rerankbench.collections.exports._QUERIES_AT_ONCE", 1)
    monkeypatch.setattr(
        letters.corpus, "ids", lambda rows: (_ for _ in ()).throw(OSError("gone")) if rows[0] else ["a"]
    )
    with pytest.raises(OSError, match="gone"):
        write_trec(tmp_path / "run.trec", letters, np.array([[0], [1]]), None, "t")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def graded(queries: int, documents: int, seed: int) -> Collection:
    """Every document is judged, with grades that differ, so that nDCG at all cutoffs tells the order."""
    rng = np.random.default_rng(seed)
    ids = [f"d{number}" for number in range(documents)]
    grades = {
        f"q{q}": dict(zip(ids, rng.permutation(documents).tolist(), strict=True)) for q in range(queries)
    }
    return collection_of(dict.fromkeys(ids, "x"), dict.fromkeys(grades, "y"), grades)


@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_trec_eval_and_ir_measures_read_our_order_and_get_our_figures(tmp_path: Path, levels: int) -> None:
    collection = graded(queries=20, documents=12, seed=levels)
    rows, scores = ranked(collection, levels, 12, levels)
    run = write_trec(tmp_path / "run.trec", collection, rows, scores, "t")
    qrels = write_qrels(tmp_path / "qrels.trec", collection)
    judged = measures.Judged(
        grades=collection.grades(rows), ideal=collection.ideal(), length=(rows >= 0).sum(axis=1), threshold=1
    )
    cutoffs = list(range(1, 13))
    ours = measures.per_query(judged, cutoffs)
    with run.open() as file:
        theirs = pytrec_eval.RelevanceEvaluator(
            ir_measures_dict(qrels), {"ndcg_cut." + ",".join(map(str, cutoffs))}
        ).evaluate(pytrec_eval.parse_run(file))
    for number, query_id in enumerate(collection.query_ids):
        expected = theirs.get(query_id, {f"ndcg_cut_{k}": 0.0 for k in cutoffs})
        for k in cutoffs:
            assert ours[f"ndcg_at_{k}"][number] == pytest.approx(expected[f"ndcg_cut_{k}"], abs=1e-9)
    aggregate = ir_measures.calc_aggregate(
        [nDCG @ 10, R @ 5, RR @ 3, Success @ 1],
        ir_measures.read_trec_qrels(str(qrels)),
        ir_measures.read_trec_run(str(run)),
    )
    means = measures.mean(ours)
    figures = {"ndcg_at_10": nDCG @ 10, "recall_at_5": R @ 5, "mrr_at_3": RR @ 3, "success_at_1": Success @ 1}
    assert {name: means[name] for name in figures} == pytest.approx(
        {name: aggregate[measure] for name, measure in figures.items()}, abs=1e-9
    )


def exported(folder: Path) -> tuple[Path, Path, dict[str, list[str]], float]:
    """Judgements, a run of many ties with its lines shuffled, the order that was written, and its nDCG@10."""
    collection = graded(queries=20, documents=12, seed=3)
    rows, scores = ranked(collection, 2, 12, 3)
    run = write_trec(folder / "run.trec", collection, rows, scores, "t")
    lines = run.read_text().splitlines(keepends=True)
    run.write_text("".join(np.random.default_rng(0).permutation(lines)))
    order = {
        query_id: collection.corpus.ids(of[of >= 0])
        for query_id, of in zip(collection.query_ids, rows, strict=True)
        if (of >= 0).any()
    }
    judged = measures.Judged(
        grades=collection.grades(rows), ideal=collection.ideal(), length=(rows >= 0).sum(axis=1), threshold=1
    )
    figure = measures.mean(measures.per_query(judged, [10]))["ndcg_at_10"]
    return write_qrels(folder / "qrels.trec", collection), run, order, figure


def test_ranx_reads_our_order_and_gets_our_figures(tmp_path: Path) -> None:
    ranx = pytest.importorskip("ranx", reason="ranx is not installed: pip install ranx")
    qrels, path, order, figure = exported(tmp_path)
    run = ranx.Run.from_file(str(path), kind="trec")
    run.sort()
    assert {query: list(documents) for query, documents in run.to_dict().items()} == order
    judged = ranx.Qrels.from_file(str(qrels), kind="trec")
    assert ranx.evaluate(judged, run, "ndcg@10", make_comparable=True) == pytest.approx(figure, abs=1e-9)


def test_pyterrier_reads_our_order_and_gets_our_figures(tmp_path: Path) -> None:
    pyterrier = pytest.importorskip(
        "pyterrier", reason="PyTerrier is not installed: pip install python-terrier"
    )
    qrels, path, order, figure = exported(tmp_path)
    run = pyterrier.model.add_ranks(pyterrier.io.read_results(str(path)).drop(columns="rank"))
    assert {query: of.sort_values("rank")["docno"].tolist() for query, of in run.groupby("qid")} == order
    found = pyterrier.Evaluate(run, pyterrier.io.read_qrels(str(qrels)), metrics=[nDCG @ 10])
    assert found["nDCG@10"] == pytest.approx(figure, abs=1e-9)


def ir_measures_dict(qrels: Path) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for entry in ir_measures.read_trec_qrels(str(qrels)):
        out.setdefault(entry.query_id, {})[entry.doc_id] = entry.relevance
    return out


def test_exported_judgements_keep_missing_documents(tmp_path: Path) -> None:
    collection = collection_of({"a": "x"}, {"q": "y"}, {"q": {"gone": 3, "a": 1, "neg": -1}})
    path = write_qrels(tmp_path / "qrels", collection)
    assert ir_measures_dict(path) == {"q": {"gone": 3, "a": 1, "neg": -1}}


REAL = os.environ.get("RERANKBENCH_CHECK_DATA")


@pytest.mark.skipif(not REAL, reason="RERANKBENCH_CHECK_DATA is not set")
def test_bm25_on_dl19_gives_the_published_figures(tmp_path: Path) -> None:
    collection = Beir(path=f"{REAL}/dl19").load(tmp_path)
    candidates = read_trec(Path(f"{REAL}/dl19/runs/bm25.trec"), collection, 100)
    assert candidates.notes == ()
    judged = measures.Judged(
        grades=collection.grades(candidates.rows), ideal=collection.ideal(), length=candidates.lengths()
    )
    means = measures.mean(measures.per_query(judged, [10, 100]))
    assert means["ndcg_at_10"] == pytest.approx(0.5058, abs=5e-5)
    assert means["recall_at_100"] == pytest.approx(0.4531, abs=5e-5)
    run = write_trec(tmp_path / "run.trec", collection, candidates.rows, candidates.scores, "bm25")
    qrels = write_qrels(tmp_path / "qrels", collection)
    theirs = ir_measures.calc_aggregate(
        [nDCG @ 10, R @ 100], ir_measures.read_trec_qrels(str(qrels)), ir_measures.read_trec_run(str(run))
    )
    assert theirs[nDCG @ 10] == pytest.approx(means["ndcg_at_10"], abs=1e-9)
    assert theirs[R @ 100] == pytest.approx(means["recall_at_100"], abs=1e-9)
