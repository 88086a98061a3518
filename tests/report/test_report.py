"""Reports: which runs may be compared, which arms they hold, and what the files say of them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commands import store
from rerankbench.basics.errors import UserError
from rerankbench.commands import report as command
from rerankbench.commands import ui
from rerankbench.commands.report import build, main, usual
from rerankbench.experiment.tracking.mlflow_store import MLflow
from rerankbench.report import document, tracked
from rerankbench.report.arms.arms import contest
from rerankbench.report.arms.runs import Run, find
from rerankbench.report.claims.headroom import Headroom, bottleneck
from rerankbench.report.costs import cost
from rerankbench.report.findings import Findings, find_out
from rerankbench.report.page import files, html, markdown, plots, scripts, terminal
from rerankbench.report.page.palette import LIGHT
from rerankbench.report.settings import Report
from simulated_runs import noisy, write_failure, write_run

COUNT = 30
FIRST = np.random.default_rng(0).uniform(0.2, 0.6, COUNT)
NASTY = "<script>alert(1)</script> | `x` [y](z) $a_b$"


def runs_of(folder: Path) -> list[str]:
    return [arm.name for arm in contest(find([folder]), "ndcg_at_10").arms]


def sweep(folder: Path) -> Path:
    """No reranking, two depths of one reranker, three layers of another, and one that failed."""
    write_run(folder / "0", "none", FIRST)
    write_run(folder / "1", "minilm", FIRST, {10: FIRST + noisy(0.1, 0.05, COUNT, 1), 50: FIRST + 0.12})
    layers = {n: {50: FIRST + noisy(n / 100, 0.05, COUNT, n)} for n in (8, 16, 24)}
    write_run(folder / "2", "deep", FIRST, layers=layers)
    write_failure(folder / "3", "broken@50", f"no such model {NASTY}")
    return folder


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return find_out(find([sweep(tmp_path)]), Report(price_per_hour=3.6))


def test_every_depth_and_layer_is_an_arm_and_no_reranking_is_one_once(tmp_path: Path) -> None:
    assert runs_of(sweep(tmp_path)) == [
        "no reranking",
        "minilm@10",
        "minilm@50",
        "deep@50 layer 8",
        "deep@50 layer 16",
        "deep@50 layer 24",
    ]


def test_queries_are_paired_by_their_id_not_by_their_place(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    sweep(tmp_path)
    path = tmp_path / "1" / "per_query.parquet"
    pq.write_table(pq.read_table(path).take(np.random.default_rng(1).permutation(4 * COUNT + COUNT)), path)
    found = contest(find([tmp_path]), "ndcg_at_10")
    row = [arm.name for arm in found.arms].index("minilm@50")
    np.testing.assert_allclose(found.compared[row], FIRST + 0.12)


def test_the_same_arm_of_two_runs_counts_once_and_its_timed_run_says_its_cost(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST, {10: FIRST}, latency_ms=None)
    write_run(tmp_path / "1", "minilm", FIRST, {10: FIRST, 50: FIRST})
    found = contest(find([tmp_path]), "ndcg_at_10")
    assert [(arm.name, arm.run.folder.name) for arm in found.arms] == [
        ("no reranking", "0"),
        ("minilm@10", "1"),
        ("minilm@50", "1"),
    ]


def test_arms_with_the_same_reranker_are_named_by_the_settings_that_differ(tmp_path: Path) -> None:
    for n in (128, 512):
        params = {"first_stage": "dense", "reranker": "minilm", "reranker.max_length": n}
        identity = {"candidates": "stage", "reranker": f"hash{n}"}
        write_run(tmp_path / str(n), "minilm", FIRST, {10: FIRST}, params=params, identity=identity)
    assert runs_of(tmp_path) == ["no reranking", "minilm@10 max_length=128", "minilm@10 max_length=512"]


def test_several_first_stages_are_arms_whose_names_carry_them(tmp_path: Path) -> None:
    for stage in ("bm25", "dense"):
        params = {"first_stage": stage, "reranker": "minilm"}
        identity = {"candidates": stage, "reranker": "m"}
        write_run(tmp_path / stage, "minilm", FIRST, {10: FIRST}, params=params, identity=identity)
    assert runs_of(tmp_path) == [
        "bm25 without reranking",
        "bm25 + minilm@10",
        "dense without reranking",
        "dense + minilm@10",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "other"}, "its collection is other"),
        ({"split": "dev"}, "its split is dev"),
        ({"fingerprint": "g"}, "its content of the collection is g"),
    ],
)
def test_mixed_collections_are_refused_naming_the_run(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    write_run(tmp_path / "a", "minilm", FIRST, {10: FIRST})
    dataset = {"name": "simulated", "split": "test", "fingerprint": "f"} | change
    write_run(tmp_path / "b", "other", FIRST, {10: FIRST}, dataset=dataset)
    with pytest.raises(UserError, match=rf"b \(other\): {said}"):
        runs_of(tmp_path)


def test_mixed_measures_and_missing_ones_are_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_run(tmp_path / "a", "minilm", FIRST, {10: FIRST})
    with pytest.raises(UserError, match=r"report\.measure=mrr_at_5: .*choose one of ndcg_at_10"):
        contest(find([tmp_path]), "mrr_at_5")
    write_run(tmp_path / "b", "other", FIRST, {10: FIRST})
    path = tmp_path / "b" / "per_query.parquet"
    names = ["query_id", "stage", "layer", "depth", "ndcg_at_5"]
    pq.write_table(pq.read_table(path).rename_columns(names), path)
    with pytest.raises(UserError, match=r"b \(other\): its measures are nDCG@5, those of .*a are nDCG@10"):
        runs_of(tmp_path)


def test_all_runs_failed_is_said_with_their_reasons(tmp_path: Path) -> None:
    write_failure(tmp_path / "0", "minilm@100", "no weights")
    with pytest.raises(UserError, match="minilm@100 failed: no weights"):
        runs_of(tmp_path)


def test_costs_of_a_lower_layer_and_the_price(findings: Findings) -> None:
    costs = dict(zip((arm.name for arm in findings.contest.arms), findings.costs, strict=True))
    assert costs["minilm@50"].ms_per_query == 1000 * 50 / 100
    assert costs["deep@50 layer 8"].ms_per_query == 1000 * 50 / 100  # at most
    assert (costs["deep@50 layer 8"].bound, costs["deep@50 layer 24"].bound) == (True, False)
    # 3.6 an hour is 0.001 a second; 1,000 queries of half a second are 500 seconds
    assert costs["minilm@50"].price_per_1k == pytest.approx(0.5)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    quality, dear = np.array([0.5, 0.6, 0.55, 0.7, 0.7]), np.array([0.0, 10, 20, 30, 40])
    assert cost.front(quality, dear) == [0, 1, 3]


def test_headroom_shares(findings: Findings) -> None:
    room = next(room for room in findings.rooms if room.depth == 10)
    first, reached = FIRST.mean(), FIRST.mean() + 0.1
    assert (room.first, room.reached, room.possible) == pytest.approx((first, reached, 1.0))
    assert room.captured == pytest.approx(0.1 / (1 - first))


class Outside(HTMLParser):
    """Collects what a browser would fetch, and the texts of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.scripts += [""] * self.inside
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")
        ]


def test_the_page_escapes_everything_and_asks_for_nothing(findings: Findings) -> None:
    page = html.page(findings)
    found = Outside()
    found.feed(page)
    known, library, own = found.scripts
    assert (library, own) == (scripts.library(), scripts.own())
    assert "broken@50" not in known  # failed runs are no arms
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"url\((?!#)|@import|https?://", page.replace(library, ""))
    assert not re.search(r"#0[12]0[12]0\w", page), "a placeholder colour was left in a plot"
    assert len(page) < 6e6


def test_markdown_has_the_same_numbers_and_no_markup_of_others(findings: Findings) -> None:
    text = markdown.markdown(findings)
    assert "<script" not in text
    assert "\\`x\\`" in text
    found = document.document(findings)
    for arm in found["arms"]:
        assert f"{arm['mean']['mean']:.4f}" in text
    table = [line for line in text.split("### Arms")[1].split("###")[0].splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, "a cell broke its row"


def test_json_is_strict_and_names_the_verdict(findings: Findings, tmp_path: Path) -> None:
    text = document.to_json(findings)
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["verdict"]["sentence"] == findings.verdict.sentence
    assert found["failed"][0]["arm"] == "broken@50"
    assert found["best"] == max(found["arms"], key=lambda arm: arm["mean"]["mean"])["name"]


def test_plots_are_files_of_both_kinds(findings: Findings, tmp_path: Path) -> None:
    files.write(tmp_path / "out", findings)
    names = {path.name for path in (tmp_path / "out" / "plots").iterdir()}
    assert names == {
        f"{name}.{kind}"
        for name in ("depth", "layer", "cost", "headroom", "queries")
        for kind in ("png", "svg")
    }
    assert list(plots.inline(findings)) == ["depth", "layer", "cost", "headroom", "queries"]


def two_stages(folder: Path, gain: float) -> Findings:
    """One reranker after each of two first stages, at one depth."""
    for number, stage in enumerate(("bm25", "dense")):
        params = {"first_stage": stage, "reranker": "minilm"}
        identity = {"candidates": stage, "reranker": "m"}
        first = FIRST + 0.1 * number
        write_run(folder / stage, "minilm", first, {10: first + gain}, params=params, identity=identity)
    return find_out(find([folder]), Report())


def drawn(findings: Findings, name: str) -> Axes:
    """One plot as matplotlib's object."""
    axes = Figure().add_subplot()
    plots.plots(findings)[name][1](axes, findings, LIGHT)
    return axes


def test_first_stages_are_lines_with_dashes_of_their_own(tmp_path: Path) -> None:
    for name in ("depth", "cost"):
        lines = drawn(two_stages(tmp_path / name, 0.1), name).get_lines()
        firsts = [line for line in lines if "without reranking" in str(line.get_label())]
        assert len({line.get_linestyle() for line in firsts}) == len(firsts) == 2


def test_costs_of_nothing_have_no_logarithm(findings: Findings) -> None:
    arms = findings.contest.arms
    free = np.array([0.0 if arm.reranks else 5.0 for arm in arms])  # only first stages cost anything
    assert (
        drawn(replace(findings, order=replace(findings.order, values=free)), "cost").get_xscale() == "linear"
    )


def test_a_front_of_one_arm_is_no_line_and_not_in_the_legend(tmp_path: Path, findings: Findings) -> None:
    line = "nothing is cheaper and better"
    assert line in drawn(findings, "cost").get_legend_handles_labels()[1]
    write_run(tmp_path / "one", "minilm", FIRST, {10: FIRST + 0.1, 50: FIRST})
    one = drawn(find_out(find([tmp_path / "one"]), Report()), "cost")
    assert line not in one.get_legend_handles_labels()[1]


def test_the_axis_of_the_headroom_says_what_its_labels_are(tmp_path: Path, findings: Findings) -> None:
    assert drawn(findings, "headroom").get_ylabel() == "depth"
    assert drawn(two_stages(tmp_path / "two", 0.1), "headroom").get_ylabel() == "first stage and depth"


def test_changes_per_query_are_not_drawn_where_nothing_changed(tmp_path: Path, findings: Findings) -> None:
    assert "queries" in plots.plots(findings)
    same = two_stages(tmp_path / "same", 0.0)
    assert "queries" not in plots.plots(same)
    assert "plot-queries" not in html.page(same)
    for report in (findings, same):
        files.write(tmp_path / "out", report)
    assert not list((tmp_path / "out" / "plots").glob("queries.*")), "an earlier report's plot was left"


def test_the_change_of_a_single_query_is_seen(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "minilm", FIRST[:1], {10: FIRST[:1] + 0.1})
    axes = drawn(find_out(find([tmp_path]), Report()), "queries")
    box = axes.patches[0].get_path().get_extents()
    assert (box.x0, box.x1, box.height) == pytest.approx((0.5, 1.5, 0.1))


def test_the_command_writes_into_the_sweep_and_takes_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path / "sweep")
    assert main([str(tmp_path / "sweep"), "--out", str(tmp_path / "sweep"), "report.delta=0.5"]) == 0
    found = json.loads((tmp_path / "sweep" / "report.json").read_text())
    assert found["settings"]["delta"] == 0.5
    shown = capsys.readouterr().out
    assert found["verdict"]["sentence"] in shown.replace("\n", " ")
    assert "broken@50" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report.measure=judged_at_10"], "report.measure=judged_at_10: Judged says how many results"),
        (["report.delat=1"], "did you mean report.delta?"),
        (["report.level=2"], "report.level=2"),
        (["report.budget.memory_mb=-1"], "report.budget.memory_mb=-1"),
        (["depth=3"], "depth=3: settings here"),
        (["nowhere"], "nowhere: no such folder, and no MLflow store"),
        (["sweep/0/result.json"], "sweep/0/result.json: this is a file, not a folder, and no MLflow store"),
        (["--out", "sweep/0/result.json"], "--out sweep/0/result.json: sweep/0/result.json is a file; give"),
        (["--out", "sweep/0/result.json/x"], "sweep/0/result.json is a file; give a folder"),
        (["--out", "/proc/x"], "--out /proc/x: nothing can be written there (No such file or directory)"),
        (["--out", "x" * 300], "nothing can be written there (File name too long); choose another folder"),
    ],
)
def test_mistakes_are_one_line_each(
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(sweep(tmp_path / "sweep")), *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_what_the_disk_refuses_late_is_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plots").write_text("a file")
    assert main([str(sweep(tmp_path / "sweep")), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path}/out/plots cannot be written (File exists); choose" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert main([str(sweep(tmp_path / "sweep")), "--out", str(tmp_path / "out")]) == 2
    assert "nothing can be written there (Permission denied)" in capsys.readouterr().err


def test_the_place_is_named_and_not_the_file_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a folder without permission says, also where root runs the tests."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied", f"{tmp_path}/tmp123")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError) as caught:
        files.check(tmp_path)
    assert f"--out {tmp_path}: nothing can be written there (Permission denied); choose" in str(caught.value)


def test_a_bad_place_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "gather", lambda *_: pytest.fail("the runs were read"))
    with pytest.raises(UserError, match="--out /proc/x"):
        build([str(sweep(tmp_path / "sweep"))], Path("/proc/x"))


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999999"])
def test_a_port_that_is_none_is_one_line(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ui.main([f"--port={port}", "--no-browser"]) == 2
    assert capsys.readouterr().err == f"error: --port {port}: choose 1 to 65535\n"


@pytest.mark.parametrize(
    ("cutoffs", "expected"),
    [
        ([[1, 10, 100]], "ndcg_at_10"),
        ([[1, 5], [3, 5, 10]], "ndcg_at_5"),
        ([[20, 50]], "ndcg_at_20"),
        ([[5], [10]], "ndcg_at_10"),
    ],
)
def test_the_usual_measure_is_one_that_the_runs_have(cutoffs: list[list[int]], expected: str) -> None:
    runs = [Run(Path(), "", {"status": "failed"})]
    for some in cutoffs:
        measured = {f"{kind}_at_{k}": 0.5 for k in some for kind in ("ndcg", "recall")}
        runs.append(Run(Path(), "", {"status": "ok", "measures": {"first_stage": measured}}))
    assert usual(runs) == expected


def test_a_report_without_a_measure_takes_the_usual_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "0", "none", FIRST, measures={"first_stage": {"ndcg_at_2": 0.5}})
    write_run(tmp_path / "1", "minilm", FIRST, {10: FIRST}, measures={"first_stage": {"ndcg_at_2": 0.5}})
    assert main([str(tmp_path)]) == 2
    assert "report.measure=ndcg_at_2" in capsys.readouterr().err  # the simulated tables have another one
    assert main([str(tmp_path), "report.measure=ndcg_at_10"]) == 0


def test_an_experiment_that_is_not_there_is_named_without_a_command(tmp_path: Path) -> None:
    address = store(tmp_path)
    with pytest.raises(UserError) as caught:
        build(["nowhere", f"tracking.uri={address}"], tmp_path / "out")
    assert str(caught.value) == (
        f"nowhere: no such folder, and no experiment of {address}; known experiments: Default"
    )


def test_downloads_from_mlflow_show_no_bars(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    mlflow = MLflow(uri=store(tmp_path))
    client, experiment = mlflow.open()
    run = client.create_run(experiment).info.run_id
    client.log_artifacts(run, str(write_run(tmp_path / "0", "minilm", FIRST, {10: FIRST})))
    capfd.readouterr()
    assert len(tracked.find(mlflow, "rerankbench", tmp_path / "scratch")) == 1
    assert "artifacts" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("rows", "said"), [(6, None), (4, "and 1 more arm in the report"), (3, "and 2 more arms in the report")]
)
def test_arms_that_the_terminal_leaves_out_are_counted(
    findings: Findings, rows: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "ROWS", rows)
    assert terminal.arm_table(findings).caption == said


def test_how_costs_are_compared_is_a_sentence(findings: Findings) -> None:
    assert (
        "The cheaper of two arms is the one whose median latency of reranking one query was lower in runs "
        "with latency=true; they were made at different times, so no ratio is given."
    ) in findings.assumptions()


def room(stage: str, depth: int, reached: float, possible: float) -> Headroom:
    return Headroom(stage, depth, None, 0.1, reached, possible, f"{stage} > minilm@{depth}")


def test_nothing_left_to_gain_has_no_bottleneck() -> None:
    rooms = [room("bm25", 10, 1.0, 1.0), room("dense", 10, 0.4, 0.9)]
    said = "There is nothing left to gain{}: the best arm reaches nDCG@10 1.0000."
    assert bottleneck(rooms[:1], "ndcg_at_10") == said.format("")
    assert bottleneck(rooms, "ndcg_at_10") == said.format(" after bm25")


def test_where_reranking_hurts_the_best_arm_is_not_to_rerank() -> None:
    assert "the best arm reaches 0.1000" in bottleneck([room("bm25", 10, 0.05, 1.0)], "ndcg_at_10")


def test_of_several_first_stages_the_bottleneck_is_that_of_the_best_arm_and_named() -> None:
    rooms = [room("bm25", 100, 0.5, 0.95), room("dense", 10, 0.6, 0.65), room("dense", 100, 0.6, 0.7)]
    assert bottleneck(rooms, "ndcg_at_10").startswith("The first stage dense is the bottleneck: a perfect")
    assert bottleneck(rooms[:2], "ndcg_at_10").startswith("The first stage dense is")
    rooms[2] = room("dense", 100, 0.6, 0.9)
    assert bottleneck(rooms, "ndcg_at_10").startswith("The reranker after dense is the bottleneck: a perfect")
    assert bottleneck(rooms[1:], "ndcg_at_10").startswith("The reranker is the bottleneck: a perfect order")


def test_several_folders_need_no_common_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "x" / "0", "minilm", FIRST, {10: FIRST})
    write_run(tmp_path / "y", "other", FIRST, {10: FIRST})
    assert build(["x", "y"], None) == Path("report/report.html")
