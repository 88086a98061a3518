"""Measures by ir_measures' names, against trec_eval on the same lists."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytrec_eval

from rerankbench.basics.errors import UserError
from rerankbench.commands import callbacks
from rerankbench.commands.report import main
from rerankbench.evaluation import measures, ranking
from rerankbench.report.arms.arms import Contest, contest
from rerankbench.report.arms.runs import find
from rerankbench.report.evidence.lists import lists
from rerankbench.report.measure_names import metric, parsed, problems
from rerankbench.report.more_measures import library, more
from rerankbench.report.settings import Report
from scored_runs import Drawn, drawn, first_scores, scores_like, write_scored


def written(folder: Path, pool: Drawn) -> Contest:
    scores = {None: scores_like(pool, 5, 1.5)}
    write_scored(folder / "0", "minilm", pool, first_scores(pool, 3), scores)
    lines = [f"{q} 0 {d} {g}\n" for q, grades in pool.qrels().items() for d, g in grades.items()]
    (folder / "0" / "qrels.trec").write_text("".join(lines))
    return contest(find([folder]), "ndcg_at_10")


def trec(pool: Drawn, order: np.ndarray, name: str, key: str) -> list[float]:
    """trec_eval's value of each query's list; 0 for a query without one."""
    run = {
        q: {f"d{d}": float(-rank) for rank, d in enumerate(order[i]) if d < pool.length[i]}
        for i, q in enumerate(pool.ids)
    }
    found = pytrec_eval.RelevanceEvaluator(pool.qrels(), {name}).evaluate({q: d for q, d in run.items() if d})
    return [found.get(q, {}).get(key, 0.0) for q in pool.ids]


@pytest.mark.parametrize(("name", "trecs", "key"), [("P@5", "P.5", "P_5"), ("AP", "map", "map")])
def test_the_librarys_measures_are_those_of_trec_eval(
    tmp_path: Path, name: str, trecs: str, key: str
) -> None:
    pool = drawn(12, 20, 4)
    found = written(tmp_path, pool)
    means = more(found, [name])[name]
    for row, arm in enumerate(found.arms):
        order = ranking.rerank(scores_like(pool, 5, 1.5), arm.depth)
        expected = trec(pool, order, trecs, key)
        assert means[row] == pytest.approx(sum(expected) / len(expected), abs=1e-9), arm.name
        if (both := lists(found, row)) is not None:
            values = library(parsed(name), both, after=True)
            assert values == pytest.approx(expected, abs=1e-9), arm.name


def test_ours_are_ours_and_others_are_worked_out(tmp_path: Path) -> None:
    found = written(tmp_path, drawn(12, 20, 4))
    means = more(found, ["nDCG@10", "RR@3", "nDCG(judged_only=True)@10", "ERR@10"])
    np.testing.assert_array_equal(means["nDCG@10"], found.compared.mean(axis=1))
    np.testing.assert_array_equal(means["RR@3"], found.means["mrr_at_3"])
    condensed = means["nDCG(judged_only=True)@10"]
    assert (condensed >= means["nDCG@10"] - 1e-5).all()
    assert 0 < means["ERR@10"].max() <= 1


def test_rank_biased_precision_is_that_of_its_definition(tmp_path: Path) -> None:
    pytest.importorskip("cwl")
    pool = drawn(12, 20, 4)
    found = written(tmp_path, pool)
    for row, arm in enumerate(found.arms):
        if (both := lists(found, row)) is None:
            continue
        order = ranking.rerank(scores_like(pool, 5, 1.5), arm.depth)
        relevant = measures.grades_at(pool.grades, order) >= 1
        expected = (relevant * 0.2 * 0.8 ** np.arange(relevant.shape[1])).sum(axis=1)  # Moffat and Zobel 2008
        assert library(parsed("RBP(rel=1)"), both, after=True) == pytest.approx(expected, abs=1e-9), arm.name


def test_mistakes_are_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert problems(["P@5", "AP"], "--measure") == []
    (line,) = Report(more=("P@5", "foo@3")).problems()
    assert line.startswith("report.more: foo@3: ir_measures has no such measure; write it like P@5")
    assert main([str(tmp_path), "--measure", "nDCG(", "report.more=[bar]"]) == 2
    told = capsys.readouterr().err
    assert "--measure: nDCG(: ir_measures has no such measure" in told
    assert "report.more: bar: ir_measures has no such measure" in told
    assert metric("nDCG(judged_only=True)@10") == "nDCG_judged_only_True_at_10"


def test_a_sweeps_report_does_without_a_measure_that_cannot_be_worked_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = written(tmp_path, drawn(12, 20, 4))
    with pytest.raises(UserError, match="ir_measures does not work it out here: "):
        more(found, ["RBP(rel=1)@2"])
    asked = Report(more=("P@5", "RBP(rel=1)@2"))
    assert list(callbacks.more_measures(SimpleNamespace(contest=found), asked)) == ["P@5"]
    assert "not listed: RBP(rel=1)@2: " in capsys.readouterr().err


def test_runs_without_their_lists_are_named(tmp_path: Path) -> None:
    found = written(tmp_path, drawn(12, 20, 4))
    (tmp_path / "0" / "qrels.trec").unlink()
    with pytest.raises(UserError, match="the lists of no reranking are not at hand"):
        more(found, ["P@5"])


def test_the_command_lists_them_with_the_others(tmp_path: Path) -> None:
    found = written(tmp_path, drawn(12, 20, 4))
    words = ["--measure", "P@5", "report.more=[ERR@10]", "report.arrangements=false"]
    assert main([str(tmp_path), *words]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    means = more(found, ["P@5"])["P@5"]
    told = {arm["name"]: arm["measures"]["P@5"] for arm in report["arms"]}
    assert told == pytest.approx({arm.name: mean for arm, mean in zip(found.arms, means, strict=True)})
    assert all("ERR@10" in arm["measures"] for arm in report["arms"])
    assert ">P@5</th>" in (tmp_path / "report.html").read_text()
    assert "| P@5 |" in (tmp_path / "report.md").read_text()
