"""What a judge is asked, and what comes of it, where things go another way than usual."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from judging_pages import session
from rerankbench.basics.errors import UserError
from rerankbench.commands import judge, report
from rerankbench.judging import spreadsheet
from rerankbench.judging.queue import Queue
from rerankbench.judging.record import JUDGED, SKIPPED, Answer
from rerankbench.judging.session import Session

BEN = "person:ben"
Rows = list[list[str]]


def answer_all(asked: Session, answer: str, grade: int | None = None) -> int:
    """Give the same answer to whatever is asked; how many there were."""
    number = 0
    while pairs := asked.next(50):
        asked.record.add_all([asked.answer(pair, answer, grade) for pair in pairs])
        number += len(pairs)
    return number


def test_who_passes_over_every_pair_has_settled_nothing(sweep: Path) -> None:
    asked = session(sweep)
    answer_all(asked, SKIPPED)
    assert asked.finished() == "No pair is left that you did not pass over, and it is open which arm is best."
    assert not Queue(asked).progress.settled
    assert asked.lines()[1].startswith("open ")


def test_pairs_are_checked_that_others_judged_and_as_many_as_were_asked_for(sweep: Path) -> None:
    anna = session(sweep, pool=2)
    own = [anna.answer(pair, JUDGED, 1) for pair in anna.next(5)]
    anna.record.add_all(own)
    assert session(sweep, check=3).next(99) == []  # she would check herself
    ben = session(sweep, BEN, check=3)
    first = ben.next(99)
    assert set(first) < {answer.pair for answer in own}
    ben.record.add(ben.answer(first[0], JUDGED, 1))
    assert (ben.judged, ben.next(99)) == (1, first[1:])
    later = session(sweep, pool=2)
    answer_all(later, JUDGED, 1)
    assert len(session(sweep, BEN, check=3).next(99)) == 2  # however many there are to choose from now


def test_pairs_to_be_checked_can_be_exported_though_all_is_settled(sweep: Path, tmp_path: Path) -> None:
    answer_all(session(sweep, pool=10), JUDGED, 1)
    session(sweep, BEN, check=7).export(tmp_path / "pairs.csv", None)
    assert len(list(csv.reader((tmp_path / "pairs.csv").open()))) == 8


def test_undo_takes_back_no_answer_to_another_sweep(sweep: Path) -> None:
    """A folder of judgements may serve several."""
    asked = session(sweep)
    asked.record.add(Answer("elsewhere", "d", asked.judge, JUDGED, 2))
    queue = Queue(asked)
    front = queue.front()
    queue.undo()
    assert queue.front() == front
    assert ("elsewhere", "d") in asked.record.grades()


def test_grades_keep_their_scale(sweep: Path) -> None:
    """By which bounds and expectations are, in the report too."""
    two = Session.of([str(sweep)], None, BEN, 10, 10, 1)
    answer_all(two, JUDGED, 1)
    assert Session.of([str(sweep)], None, BEN, 10, None, None).highest == 1
    with pytest.raises(UserError, match=r"--highest 3: the grades in .* go from 0 to 1; leave --highest out"):
        Session.of([str(sweep)], None, BEN, 10, None, 3)


def test_what_the_page_calls_settled_the_report_does(sweep: Path) -> None:
    """With grades 0 and 1, and ids for which qrels have to be JSON: it names their judge all the same."""
    asked = Session.of([str(sweep)], None, BEN, 10, None, 1)
    while pairs := asked.next(5):
        asked.record.add_all([asked.answer((q, d), JUDGED, int(len(d) % 2 == 0)) for q, d in pairs])
    asked.record.add(Answer("another query", "d", BEN, JUDGED, 1, highest=1))
    assert report.main([str(sweep)]) == 0
    found = json.loads((sweep / "report.json").read_text())
    assert found["verdict"]["kind"] == "settled"
    assert found["settled"]["file"].endswith("qrels.json")
    assert "by ben" in found["settled"]["judged_by"]


def as_saved(rows: Rows, delimiter: str = ",", end: str = "\r\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()


EMPTY = [""] * 7
SAVED: dict[str, Callable[[Rows], bytes]] = {
    "with empty rows": lambda r: as_saved([r[0], EMPTY, *r[1:], EMPTY, EMPTY]).encode("utf-8-sig"),
    "with blank lines": lambda r: as_saved(r, end="\n\n").encode(),
    "with semicolons": lambda r: as_saved(r, ";").encode("utf-8-sig"),
    "with tabs": lambda r: as_saved(r, "\t").encode(),
    "with line ends of old Macs": lambda r: as_saved(r, ";", "\r").encode(),
    "columns moved, one more": lambda r: as_saved([[*row[::-1], "mine"] for row in r]).encode(),
    "short rows": lambda r: as_saved([row[:4] for row in r]).encode(),
    "other capitals": lambda r: as_saved([[name.upper() + " " for name in r[0]], *r[1:]]).encode(),
    "every cell in quotes": lambda r: "\n".join(",".join(f'"{c}"' for c in row) for row in r).encode(),
}


@pytest.fixture(scope="module")
def exported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Rows of four pairs, graded 0, 1, 2, 3."""
    file = tmp_path_factory.mktemp("exported") / "pairs.csv"
    session(made).export(file, 4)
    rows = list(csv.reader(file.open(encoding="utf-8-sig", newline="")))
    return [rows[0], *([*row[:3], str(n), *row[4:]] for n, row in enumerate(rows[1:]))]


@pytest.mark.parametrize("how", SAVED)
def test_a_file_comes_back_as_spreadsheets_save_it(
    exported: Rows, made: Path, tmp_path: Path, how: str
) -> None:
    (tmp_path / "back.csv").write_bytes(SAVED[how](exported))
    found = spreadsheet.read(tmp_path / "back.csv", session(made).known, 3)
    pairs = [(row[5].removeprefix("'"), row[6].removeprefix("'")) for row in exported[1:]]
    assert [(pair, grade) for pair, _, grade, _ in found.answers] == list(zip(pairs, range(4), strict=True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: b"", "needs the columns pair and grade"),
        (lambda r: as_saved([row[:3] for row in r]).encode(), "needs the columns pair and grade"),
        (lambda r: as_saved([[*r[0][1:4]], *r[1:]]).encode(), "needs the columns pair and grade"),
        (lambda r: as_saved([[*row, row[3]] for row in r]).encode(), "has the column grade more than once"),
        (lambda r: as_saved(r).encode("utf-16"), "is not UTF-8; save it as"),
        (lambda r: as_saved([r[0], EMPTY, [*r[1][:3], "9", *r[1][4:]]]).encode(), "row 3: the grade is 9"),
        (lambda r: as_saved([*r, [*r[1][:3], "?", *r[1][4:]]]).encode(), "has two grades; keep one"),
    ],
)
def test_a_file_that_is_not_what_was_exported_is_told(
    exported: Rows,
    made: Path,
    tmp_path: Path,
    change: Callable[[Rows], bytes],
    told: str,
) -> None:
    (tmp_path / "back.csv").write_bytes(change(exported))
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        spreadsheet.read(tmp_path / "back.csv", session(made).known, 3)


def test_who_changes_their_mind_in_a_file_is_told_what_is_replaced(
    exported: Rows, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(sweep), "--import", str(tmp_path / "back.csv"), "--judge", "anna"]
    (tmp_path / "back.csv").write_text(as_saved(exported))
    assert judge.main(words) == 0
    exported = [*exported[:-1], [*exported[-1][:3], "?", *exported[-1][4:]]]
    (tmp_path / "back.csv").write_text(as_saved(exported))
    assert judge.main(words) == 0
    said = capsys.readouterr().out
    assert "read       4 grades\n" in said
    assert "read       3 grades, 1 that cannot be told; 1 replace another answer of anna" in said
