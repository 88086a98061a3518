"""Collections from Python objects: mappings and data frames hold the same."""

from __future__ import annotations

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
