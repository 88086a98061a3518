"""What was answered, and the files that hold it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ir_measures
import pytest
from sklearn.metrics import cohen_kappa_score

from rerankbench.basics.errors import UserError
from rerankbench.judging import qrels
from rerankbench.judging import record as recording
from rerankbench.judging.agreement import agreements, warnings
from rerankbench.judging.record import JOURNAL, JUDGED, SKIPPED, UNDONE, Answer, Record, judge_name
from rerankbench.report.settings import Report

ANNA, BEN, MODEL = "person:anna", "person:ben", "model:gpt"


def judged(record: Record, judge: str, *grades: int) -> None:
    """Grades of d0, d1, ... for one query."""
    record.add_all([Answer("q", f"d{n}", judge, JUDGED, grade) for n, grade in enumerate(grades)])


def test_every_answer_is_in_the_qrels_and_trec_tools_read_them(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, ANNA, 2, 0)
    found = [
        (q.query_id, q.doc_id, q.relevance) for q in ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt"))
    ]
    assert found == [("q", "d0", 2), ("q", "d1", 0)]
    assert qrels.told(qrels.read(tmp_path / "qrels.txt").by([("q", "d0"), ("q", "d1")])) == "2 by anna"


def test_an_answer_that_is_given_again_replaces_the_first_and_undoing_takes_it_back(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, ANNA, 2, 1)
    judged(record, ANNA, 3)
    assert record.grades() == {("q", "d0"): (3, ANNA), ("q", "d1"): (1, ANNA)}
    assert list(record.of(ANNA)) == [("q", "d1"), ("q", "d0")]
    record.add(Answer("q", "d0", ANNA, UNDONE))
    assert Record(tmp_path).grades() == {("q", "d1"): (1, ANNA)}


def test_people_count_before_models_and_of_several_the_lower_middle(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, MODEL, 3, 3)
    judged(record, ANNA, 0)
    assert record.grades() == {("q", "d0"): (0, ANNA), ("q", "d1"): (3, MODEL)}
    judged(record, BEN, 2)
    assert record.grades()[("q", "d0")] == (0, "person:anna+ben")


@pytest.mark.parametrize("torn", [b'{"query_id": "q", "doc_', b"{", b'{"grade": 1}\n', b"\0\0\0"])
def test_a_torn_line_is_left_out_and_the_next_answer_is_kept(tmp_path: Path, torn: bytes) -> None:
    judged(Record(tmp_path), ANNA, 1)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(torn)
    again = Record(tmp_path)
    assert again.grades() == {("q", "d0"): (1, ANNA)}
    again.add(Answer("q", "d1", ANNA, JUDGED, 2))
    assert Record(tmp_path).grades() == {("q", "d0"): (1, ANNA), ("q", "d1"): (2, ANNA)}


def test_two_processes_that_judge_at_once_lose_nothing(tmp_path: Path) -> None:
    one, other = Record(tmp_path), Record(tmp_path)
    one.add(Answer("q", "d0", ANNA, JUDGED, 1))
    other.add(Answer("q", "d1", BEN, JUDGED, 2))
    one.add(Answer("q", "d2", ANNA, JUDGED, 3))
    assert len((tmp_path / "qrels.txt").read_text().splitlines()) == 3


def test_an_answer_of_another_process_while_the_qrels_are_written_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, write = Record(tmp_path), Record(tmp_path), recording.write_atomic

    def slow(path: Path, data: bytes) -> None:
        monkeypatch.setattr(recording, "write_atomic", write)
        other.add(Answer("q", "d1", BEN, JUDGED, 2))
        write(path, data)

    monkeypatch.setattr(recording, "write_atomic", slow)
    one.add(Answer("q", "d0", ANNA, JUDGED, 1))
    assert len((tmp_path / "qrels.txt").read_text().splitlines()) == 2


def test_answers_can_be_read_while_others_are_added(tmp_path: Path) -> None:
    """By the thread that chooses the next pairs; it is in the middle of them here."""
    record = Record(tmp_path)
    judged(record, ANNA, 2, 1)
    reading = iter(record.latest.items())
    next(reading)
    judged(record, ANNA, 0, 0, 3)
    assert len(list(reading)) == 1
    assert len(record.grades()) == 3


def test_what_a_nearly_full_disk_takes_in_parts_is_whole_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, write = Record(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[: len(data) // 2 + 1]))
    judged(record, ANNA, 2, 1)
    assert len(Record(tmp_path).grades()) == 2


def test_judgements_that_somebody_else_wrote_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("q 0 d 1\n")
    with pytest.raises(
        UserError, match=r"qrels\.txt: was not written by rerankbench-judge.*another --folder"
    ):
        Record(tmp_path)


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be used \(File exists\)"):
        Record(tmp_path / "file")


def test_ids_with_white_space_are_written_as_json_and_read_back(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.add(Answer("q 1", "d\t1", ANNA, JUDGED, 2))
    path = record.write_qrels()
    assert qrels.read(path).grades == {("q 1", "d\t1"): 2}
    assert path.name == "qrels.json"


def test_only_one_file_says_what_the_grades_are(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, ANNA, 2)
    record.add(Answer("q 1", "d", ANNA, JUDGED, 2))
    assert not (tmp_path / "qrels.txt").exists()
    record.add(Answer("q 1", "d", ANNA, UNDONE))
    assert not (tmp_path / "qrels.json").exists()
    assert (tmp_path / "qrels.txt").read_text() == "q person:anna d0 2\n"


def test_another_file_in_the_place_of_the_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("date,what\n")
    with pytest.raises(UserError, match="this is not a record of judgements"):
        Record(tmp_path)


def test_a_judges_name_fits_into_one_column() -> None:
    assert judge_name("person:", " Anna  Lee\n") == "person:Anna-Lee"
    with pytest.raises(UserError, match="give a name"):
        judge_name("person:", "  ")


def test_agreement_is_cohens_kappa_of_what_both_judged(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, ANNA, 0, 1, 2, 3, 0, 0)
    judged(record, BEN, 0, 1, 0, 3, 1)
    record.add(Answer("q", "d5", BEN, SKIPPED))
    found = agreements(record)[0]
    expected = cohen_kappa_score([0, 1, 1, 1, 0], [0, 1, 0, 1, 1])
    assert (found.judge, found.other, found.pairs) == (ANNA, BEN, 5)
    assert found.kappa == pytest.approx(expected)
    assert found.same == pytest.approx(3 / 5)


def test_a_model_that_hardly_agrees_with_people_or_was_never_checked_is_warned_of(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, MODEL, *[0, 1] * 12)
    assert "how well it judges is not known" in warnings(record, 0.4)[-1]
    judged(record, ANNA, *[1, 0, 0, 1, 0, 1] * 4)  # equal grades of 4 in 6, 3 in 6 by chance
    told = "hardly agrees with anna (kappa 0.33, below report.kappa=0.4): do not rely on figures"
    assert told in warnings(record, 0.4)[-1]
    assert not any("Warning" in line for line in warnings(record, 0.3))
    judged(record, ANNA, *[0, 1] * 12)
    assert not any("Warning" in line for line in warnings(record, 1.0))


def test_judgements_of_a_collection_that_has_changed_are_warned_of(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.add(Answer("q", "d0", ANNA, JUDGED, 1, collection="old"))
    record.add(Answer("q", "d1", ANNA, JUDGED, 1, collection="new"))
    judged(record, BEN, 1)
    assert (
        "1 of 2 answers were given when documents or queries were others" in warnings(record, 0.4, "new")[-1]
    )
    assert not any("others;" in line for line in warnings(record, 0.4))


@pytest.mark.parametrize("kappa", [-0.1, 1.5, float("nan")])
def test_a_kappa_that_cannot_be_is_refused(kappa: float) -> None:
    assert "give an agreement from 0 to 1, such as 0.4" in str(Report(kappa=kappa).problems())


def test_judges_that_always_say_the_same_have_no_kappa(tmp_path: Path) -> None:
    record = Record(tmp_path)
    judged(record, ANNA, 0, 0)
    judged(record, BEN, 0, 0)
    assert agreements(record)[0].kappa is None


@pytest.mark.parametrize("grade", [None, -1, 2000, 1.5, True, "1"])
def test_a_line_with_an_impossible_grade_counts_as_torn(tmp_path: Path, grade: object) -> None:
    judged(Record(tmp_path), ANNA, 1)
    line = json.loads((tmp_path / JOURNAL).read_text()) | {"doc_id": "d9", "grade": grade}
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert list(Record(tmp_path).grades()) == [("q", "d0")]
