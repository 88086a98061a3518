"""From runs without judgements to a verdict, as it is typed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from commands import store
from rerankbench.basics.errors import UserError
from rerankbench.commands import judge, report
from rerankbench.commands.serve import deployments, measured
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.report.arms import runs
from rerankbench.report.arms.arms import contest
from rerankbench.report.tracked import earlier
from unjudged_sweep import DOCUMENTS, QUERIES, grade, texts

GOOD = "function@14 function=unjudged_mine:good model=unjudged_mine:good"


def judge_it(*words: object) -> int:
    return judge.main([str(word) for word in words])


def reported(sweep: Path, *words: object) -> dict[str, object]:
    assert report.main([str(sweep), *map(str, words)]) == 0
    return dict(json.loads((sweep / "report.json").read_text()))


def fill(path: Path, delimiter: str = ",", left_empty: int = 0) -> None:
    """Give the true grades, as a spreadsheet would save them that takes the zeros off ids."""
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig")))
    for row in rows[left_empty:]:
        row["grade"] = str(grade(row["document"]))
        row["doc_id"] = row["doc_id"].lstrip("0")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def test_a_sweep_without_judgements_says_how_much_arms_differ_and_what_judging_takes(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(sweep)
    assert found["verdict"]["kind"] == "no judgements"  # type: ignore[index]
    assert found["verdict"]["arm"] is None  # type: ignore[index]
    assert 0 < found["left"] <= found["pool"]  # type: ignore[operator]
    overlaps = found["overlaps"]
    assert len(overlaps) == 3  # type: ignore[arg-type]
    assert all(each["low"] <= each["mean"] <= each["high"] for each in overlaps)  # type: ignore[attr-defined]
    assert found["disagreements"][0]["text"].startswith("topic")  # type: ignore[index]
    said = capsys.readouterr().out
    assert "judge about" in said
    assert f"rerankbench-judge {sweep}" in said
    result = json.loads((sweep / "1" / "result.json").read_text())
    assert result["dataset"]["judgements"] == 0
    assert result["measures"] == {"first_stage": {}, "reranked": {}, "oracle": {}}


@pytest.mark.parametrize("delimiter", [";"])
def test_a_few_judged_pairs_of_a_spreadsheet_settle_which_arm_is_best(
    sweep: Path, tmp_path: Path, delimiter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    for _ in range(12):
        assert judge_it(sweep, "--export", file, "--count", 15) == 0
        if "nothing is left" in capsys.readouterr().out:
            break
        fill(file, delimiter)
        assert judge_it(sweep, "--import", file, "--judge", "anna") == 0
    found = reported(sweep)
    assert found["verdict"]["kind"] == "settled"  # type: ignore[index]
    assert found["verdict"]["arm"] == GOOD  # type: ignore[index]
    [deployed] = deployments(sweep, [])
    assert (deployed.arm, deployed.chosen) == (GOOD, "recommended")
    assert deployed.verdict == found["verdict"]["sentence"]  # type: ignore[index]
    with pytest.raises(UserError, match=r"no measures to compare with; judge pairs with rerankbench-judge"):
        measured(sweep)
    assert f"rerankbench-serve {sweep}" in capsys.readouterr().out
    settled = found["settled"]
    assert settled["judged"] < settled["pairs"] == QUERIES * DOCUMENTS  # type: ignore[index]
    assert settled["judged_by"] == f"{settled['judged']} by anna"  # type: ignore[index]
    for name in ("report.md", "report.html"):
        assert "by anna" in (sweep / name).read_text()
    for row in (sweep / "judging" / "qrels.txt").read_text().splitlines():
        query, judge_name, document, value = row.split()
        assert (judge_name, int(value)) == ("person:anna", grade(texts()[document])), query


def test_when_all_pairs_are_judged_the_report_tests_over_queries_and_agrees_with_qrels_from_the_start(
    sweep: Path, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.csv"
    assert judge_it(sweep, "--pool", DOCUMENTS, "--export", file) == 0
    fill(file)
    assert judge_it(sweep, "--import", file) == 0
    found = reported(sweep)
    assert found["settled"]["judged"] == QUERIES * DOCUMENTS  # type: ignore[index]
    best = next(arm for arm in found["arms"] if arm["name"] == GOOD)  # type: ignore[attr-defined]
    assert best["against_first_stage"]["mean"] > 0.1
    assert best["mean"]["mean"] == pytest.approx(1.0)  # it sorts by what the grades are
    assert "by me" in (sweep / "report.md").read_text()


def test_qrels_of_ones_own_are_measured_and_say_that_their_judge_is_not_named(
    sweep: Path, tmp_path: Path
) -> None:
    lines = [f"q{int(name[:3])} 0 {name} {grade(text)}\n" for name, text in texts().items()]
    (tmp_path / "mine.txt").write_text("".join(lines))
    found = reported(sweep, "--qrels", tmp_path / "mine.txt")
    assert "whose judge is not named" in found["settled"]["judged_by"]  # type: ignore[index]
    assert found["verdict"]["arm"] == GOOD  # type: ignore[index]


def test_an_arm_of_a_sweep_that_nobody_judged_can_be_served_by_its_name(sweep: Path) -> None:
    [found] = deployments(sweep, [GOOD])
    assert (found.arm, found.chosen, len(found.steps)) == (GOOD, "named", 1)
    with pytest.raises(UserError, match=r"nothing is recommended there; choose by --arm, of .*function@14"):
        deployments(sweep, [])
    with pytest.raises(UserError, match=r"has no measures, as nobody judged its queries.*rerankbench-judge "):
        contest(runs.find([sweep]), "ndcg_at_10")


def test_few_judgements_leave_it_open_and_say_how_many_more(sweep: Path, tmp_path: Path) -> None:
    judge_it(sweep, "--export", tmp_path / "pairs.csv", "--count", 5)
    fill(tmp_path / "pairs.csv", left_empty=1)
    judge_it(sweep, "--import", tmp_path / "pairs.csv")
    found = reported(sweep)
    assert found["verdict"]["sentence"].startswith("Open: 4 judgements do not settle")  # type: ignore[index]
    assert found["verdict"]["arm"] is None  # type: ignore[index]


def test_faults_in_a_spreadsheet_are_told_at_once_and_nothing_is_kept(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.csv"
    judge_it(sweep, "--export", file, "--count", 4)
    rows = file.read_text(encoding="utf-8-sig").splitlines()
    cells = [row.split(",") for row in rows]
    cells[1][3], cells[2][3], cells[3][0], cells[4][3] = "4", "good", "p0", "?"
    file.write_text("\n".join(map(",".join, cells)))
    capsys.readouterr()
    assert judge_it(sweep, "--import", file) == 2
    said = capsys.readouterr().err
    assert "row 2: the grade is 4; give 0 to 3, ? or nothing" in said
    assert "row 3: the grade is good" in said
    assert "row 4: its pair is in none of these runs" in said
    assert not (sweep / "judging" / "judgements.jsonl").exists()


def test_no_cell_begins_like_a_formula_and_grades_of_spreadsheets_are_read() -> None:
    from rerankbench.judging.spreadsheet import safe, whole

    for text in ("=1+1", "+1", "-1", "@x", "\tx"):
        assert safe(text) == "'" + text
    assert [whole(text) for text in ("2", "2.0", "2,00", "2.5", "", "x", "-1")] == [
        2,
        2,
        2,
        None,
        None,
        None,
        None,
    ]


def test_what_such_sweeps_tell_is_logged_as_their_own_run(sweep: Path, tmp_path: Path) -> None:
    mlflow = MLflow(uri=store(tmp_path))
    told = reported(sweep, f"tracking.uri={mlflow.uri}")
    run = logged(mlflow)
    assert run.data.tags["verdict"] == told["verdict"]["sentence"]  # type: ignore[index]
    assert run.data.tags["verdict_kind"] == "no judgements"
    for words in ("judge about", "How much arms differ", "| arm | other | overlap |"):
        assert words in run.data.tags["mlflow.note.content"]
    least = min(each["mean"] for each in told["overlaps"])  # type: ignore[attr-defined]
    assert run.data.metrics == {"pairs_to_judge": told["left"], "least_overlap": least}
    assert {"report.html", "report.md", "report.json"} <= names(mlflow, run)

    assert judge_it(sweep, "--export", tmp_path / "pairs.csv", "--count", 15) == 0
    fill(tmp_path / "pairs.csv")
    assert judge_it(sweep, "--import", tmp_path / "pairs.csv", "--judge", "anna") == 0
    told = reported(sweep, f"tracking.uri={mlflow.uri}")
    run = logged(mlflow)  # in place of the earlier one
    assert run.data.tags["verdict"] == told["verdict"]["sentence"]  # type: ignore[index]
    assert run.data.metrics["pairs_judged"] == 15


def logged(mlflow: MLflow) -> Any:
    """The one run that sums up runs of no sweep."""
    (run,) = earlier(*mlflow.open(), "")
    assert run.info.status == "FINISHED"
    return run


def names(mlflow: MLflow, run: Any) -> set[str]:
    return {item.path for item in mlflow.open()[0].list_artifacts(run.info.run_id)}
