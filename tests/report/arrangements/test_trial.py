"""Arrangements run for real: a service gives the order that was computed from stored scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commands import run, tiny
from rerankbench.report.arms.runs import Run, find
from rerankbench.report.arrangements import trial
from rerankbench.report.arrangements.arrangement import Arrangement
from rerankbench.report.arrangements.findings import Arranged
from rerankbench.report.arrangements.service import Service
from rerankbench.report.arrangements.trial import Cast, Stage, Trial
from rerankbench.report.costs.book import Book
from rerankbench.report.findings import find_out
from rerankbench.report.race.record import Cell, Record, Round
from rerankbench.report.settings import Report

QUERIES = 6


@pytest.fixture(scope="module")
def runs(models: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """BM25 and two tiny rerankers over the sample's first queries."""
    folder = tmp_path_factory.mktemp("trial")
    others = ("dataset", "cutoffs", "report.measure", "candidates")
    words = [word for word in tiny(models, folder) if not word.startswith(others)]
    words += [
        f"dataset.limit_queries={QUERIES}",
        "candidates=15",
        "cutoffs=[10]",
        "tracking=none",
        "depth=15",
    ]
    two = f"reranker.model={models / 'base'},{models / 'v2-m3'}"
    assert run("-m", "first_stage=bm25", "reranker=base", two, *words) == 0
    return find([folder / "sweep"])


@pytest.fixture(scope="module")
def arranged(runs: list[Run]) -> Arranged:
    found = find_out(runs, Report()).arranged
    assert found is not None
    return found


def stage(arranged: Arranged, each: Arrangement, runs: list[Run], until: float = 0.0) -> Stage:
    return Stage(arranged.field, each, Cast.of(arranged.field, each, runs, trusted=True), Book(), until)


def one_of_each_kind(arranged: Arranged) -> list[Arrangement]:
    found = {(each.kind, len(each.steps), each.method): each for each in arranged.field.arrangements}
    return list(found.values())


def test_a_service_gives_the_computed_order(arranged: Arranged, runs: list[Run]) -> None:
    """Of every kind: searched, scored and ordered anew, query by query."""
    kinds = one_of_each_kind(arranged)
    assert {each.kind for each in kinds} == {"cascade", "fusion", "early exit"}
    for each in kinds:
        played = stage(arranged, each, runs)
        service = Service(played.greeting())
        for place in range(QUERIES):
            answer = service.answer(played.question(place))
            assert answer["ids"] == played.computed()[played.cast.texts.ids[place]], each
            assert answer["search_ms"] > 0
            assert answer["rerank_ms"] > 0


def test_candidates_that_cannot_be_searched_for_are_given(arranged: Arranged, runs: list[Run]) -> None:
    played = stage(arranged, arranged.field.arrangements[-1], runs)
    lost = replace(played.cast, stage=replace(played.cast.stage, why="a run file"))
    given = replace(played, cast=lost)
    service = Service(given.greeting())
    answer = service.answer(given.question(0))
    assert answer["ids"] == given.computed()[lost.texts.ids[0]]
    assert answer["search_ms"] is None


def test_what_is_recommended_is_run_in_a_process_of_its_own(
    arranged: Arranged, runs: list[Run], tmp_path: Path
) -> None:
    row = arranged.field.plain
    chosen = replace(arranged, headline=replace(arranged.headline, arm=row, choice=row))
    held = trial.hold(chosen, runs, Book(), seconds=240)
    assert held is not None
    assert (held.why, held.queries, held.same, held.whole) == ("", QUERIES, QUERIES, True)
    assert held.measured is not None
    assert held.measured.mean is not None
    assert f"all {QUERIES} queries exactly the computed order" in held.line()
    held.write(tmp_path)
    assert trial.read(tmp_path, chosen) == held
    other = replace(chosen, headline=replace(chosen.headline, arm=row + 1))
    assert trial.read(tmp_path, other) is None  # of another arrangement


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "arm": 3, "steps": 1}'])
def test_what_is_no_trial_is_none(text: str, arranged: Arranged, tmp_path: Path) -> None:
    row = arranged.field.plain
    chosen = replace(arranged, headline=replace(arranged.headline, arm=row))
    (tmp_path / trial.FILE).write_text(text)
    assert trial.read(tmp_path, chosen) is None


def test_a_plain_arm_is_not_tried(arranged: Arranged, runs: list[Run]) -> None:
    plain = replace(arranged, headline=replace(arranged.headline, arm=1))
    assert trial.hold(plain, runs, Book(), seconds=1) is None


def test_one_that_cannot_be_loaded_says_why(arranged: Arranged, runs: list[Run]) -> None:
    chosen = replace(arranged, headline=replace(arranged.headline, arm=arranged.field.plain))
    elsewhere = [Run(Path("nowhere"), each.place, each.result) for each in runs]
    held = trial.hold(chosen, elsewhere, Book(), seconds=1)
    assert held is not None
    assert "could be loaded" in held.why
    assert held.line().startswith("It was not run end to end: ")


def test_the_file_says_what_was_measured_and_predicted(tmp_path: Path) -> None:
    figure = trial.Figure(12.0, 11.0, 10.0, 13.0)
    Trial("a > b", ({"reranker": "a", "depth": 10, "layer": None},), 9, 9, True, figure, None).write(tmp_path)
    told = json.loads((tmp_path / trial.FILE).read_text())
    assert told["measured"] == {"mean": 12.0, "p50": 11.0, "low": 10.0, "high": 13.0}
    assert told["predicted"] is None


def test_what_is_predicted_are_the_raced_times_of_the_queries_that_were_asked(
    arranged: Arranged, runs: list[Run]
) -> None:
    each = next(each for each in arranged.field.arrangements if each.kind == "cascade")
    arms = [arranged.field.contest.arms[row] for row in each.steps]
    cells = [Cell(arm.stage, arm.reranker, arm.layer, arm.depth) for arm in arms]
    ids = arranged.field.contest.query_ids[:3]
    times = [{Cell(arms[0].stage): 1.0, cells[0]: 10.0 * i, cells[1]: 100.0 * i} for i in (1, 2, 3)]
    rounds = tuple(Round(query, (1.0,), (1.0,), at) for query, at in zip(ids, times, strict=True))
    race = Record("", 1.0, 1.0, "", 0.05, 3, {}, (), rounds)
    played = replace(stage(arranged, each, runs), book=Book(race))
    assert played.predicted(ids[1:]).tolist() == [221.0, 331.0]
    assert trial.figure(played.predicted(ids[1:])) == trial.Figure(276.0, None, None, None)
