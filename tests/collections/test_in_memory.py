"""Collections from Python objects: mappings and data frames hold the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rerankbench.api import collection_of
from rerankbench.basics.errors import UserError

DOCUMENTS = {"007": "Paris is the capital of France.", "7": "Berlin", "c": ""}
QUERIES = {"q1": "capital of France?", "q2": "never judged"}
JUDGED = {"q1": {"007": 2, "7": 0}}
ROWS = [("q1", "007", 2), ("q1", "7", 0)]


def frames(*, grade: str = "score") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return (
        pd.DataFrame({"docno": DOCUMENTS.keys(), "text": DOCUMENTS.values()}, index=[9, 9, 9]),
        pd.DataFrame({"qid": QUERIES.keys(), "query": QUERIES.values()}),
        pd.DataFrame(ROWS, columns=["query_id", "doc_id", grade]),
    )


def test_data_frames_hold_what_mappings_hold() -> None:
    expected = collection_of(DOCUMENTS, QUERIES, JUDGED).fingerprint()
    assert collection_of(*frames()).fingerprint() == expected
    assert collection_of(*map(pa.table, frames())).fingerprint() == expected
    assert collection_of(frames()[0], QUERIES, frames()[2]).fingerprint() == expected


def test_titles_of_a_data_frame_are_joined() -> None:
    documents = frames()[0].assign(title=["France", None, ""])
    found = collection_of(documents, *frames()[1:])
    assert found.corpus.texts(found.judged_row)[0] == "France Paris is the capital of France."


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        (0, lambda f: f.drop(columns="docno"), "in memory documents: no column for the id: looked for _id"),
        (
            0,
            lambda f: f.assign(body="x"),
            "columns 'text', 'body' may hold the same; drop or rename all but one",
        ),
        (0, lambda f: f.assign(docno="1"), "in memory documents row 2: the id '1' was used by row 1"),
        (0, lambda f: f.assign(text=None), "in memory documents row 1: the text is null"),
        (2, lambda f: f.assign(label=1), "columns 'score', 'label' may hold the same"),
        (2, lambda f: f.assign(score=[0.5, 1.0]), "in memory judgements row 1: the grade is 0.5"),
        (2, lambda f: f.assign(score=[1.0, float("nan")]), "in memory judgements row 2: the grade is"),
    ],
)
def test_what_is_wrong_with_a_data_frame_is_told(place: int, change: object, said: str) -> None:
    parts = list(frames())
    parts[place] = change(parts[place])  # type: ignore[operator]
    with pytest.raises(UserError) as refused:
        collection_of(*parts)
    assert said in "\n".join(refused.value.problems)


def test_whole_grades_may_be_floats_or_truth_values_in_a_data_frame() -> None:
    documents, queries, judged = frames()
    for column in ([2.0, 0.0], [2, 0]):
        found = collection_of(documents, queries, judged.assign(score=column))
        assert found.judged_grade.tolist() == [2, 0]
    found = collection_of(documents, queries, judged.assign(score=[True, False]))
    assert found.judged_grade.tolist() == [1, 0]
    assert "grades in words: 2 ('false' is 0, 'true' is 1); taken as 1 and 0" in found.notes


RECORDS = [{"_id": key, "text": text} for key, text in DOCUMENTS.items()]
PAIRS = [{"query-id": query, "corpus-id": document, "score": grade} for query, document, grade in ROWS]


@pytest.mark.parametrize(
    ("documents", "judged"),
    [
        (RECORDS, PAIRS),
        (iter(RECORDS), iter(PAIRS)),
        ({key: {"title": "", "text": text} for key, text in DOCUMENTS.items()}, JUDGED),
        ({"_id": list(DOCUMENTS), "text": list(DOCUMENTS.values())}, JUDGED),
        (pd.Series(DOCUMENTS), {"q1": {"007": np.int64(2), "7": np.float32(0)}}),
        (DOCUMENTS, {"q1": {"007": Decimal("2.00"), "7": Decimal(0)}}),
    ],
    ids=["records", "a stream of records", "records by id", "columns", "a series", "decimals"],
)
def test_whatever_holds_the_same_is_the_same_collection(documents: Any, judged: Any) -> None:
    expected = collection_of(DOCUMENTS, QUERIES, JUDGED).fingerprint()
    assert collection_of(documents, QUERIES, judged).fingerprint() == expected


@pytest.mark.parametrize("listed", [["007", "c"], {"c", "007"}, ("007", "c")])
def test_listed_documents_are_judged_relevant(listed: Any) -> None:
    found = collection_of(DOCUMENTS, QUERIES, {"q1": listed})
    assert found.judged_grade.tolist() == [1, 1]
    assert sorted(found.judged_row.tolist()) == [0, 2]


def test_whole_numbers_of_numpy_are_ids() -> None:
    found = collection_of({np.int64(7): "a"}, QUERIES, {"q1": {7: 1}})
    assert found.corpus.id_column.to_pylist() == ["7"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"documents": list(DOCUMENTS.values())}, "documents entry 1: is 'Paris is the"),
        ({"documents": None}, "documents: is of type NoneType, None: give {id: text}, a data frame"),
        ({"documents": pd.DataFrame({"_id": ["a", 1], "text": "x"})}, "documents: cannot be read as a table"),
        ({"queries": "when do cats hunt"}, "queries: is of type str, 'when do cats hunt': give {id: text}"),
        ({"judgements": ROWS}, "judgements entry 1: is ('q1', '007', 2): give {query id: {"),
        ({"judgements": {"q1": None}}, "judgements entry 1: 'q1' has None: give {query id: {"),
        ({"relevance_threshold": 0}, "relevance_threshold=0: give a whole number from 1"),
        ({"relevance_threshold": "1"}, "relevance_threshold='1': give a whole number from 1"),
        ({"name": "\x1b[2J"}, "name='\\x1b[2J': holds control characters"),
        ({"name": 3}, "name=3: is no text"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_collection_is_told_in_one_line(given: dict[str, Any], said: str) -> None:
    parts: dict[str, Any] = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    with pytest.raises(UserError) as refused:
        collection_of(**parts | given)
    assert said in refused.value.problems[0]
