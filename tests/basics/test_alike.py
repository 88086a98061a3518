"""Problems of many places that say the same are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.basics.alike import folded
from rerankbench.basics.errors import UserError
from rerankbench.commands import track
from rerankbench.experiment.tracking import run_folders
from rerankbench.report.arms import runs


def test_what_several_places_share_is_told_once_with_the_count_and_the_next_places() -> None:
    told = folded([f"/runs/{n}: it is damaged; run it again" for n in range(6)] + ["/x: other", "no place"])
    assert told == [
        "/runs/0: it is damaged; run it again (and 5 more of this kind: /runs/1, /runs/2, /runs/3, ...)",
        "/x: other",
        "no place",
    ]
    assert folded(["a: b", "a: b"]) == ["a: b"]


def test_many_damaged_runs_are_few_lines_in_reports_and_logging(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"{number:02}"
        folder.mkdir()
        (folder / "result.json").write_text("{" if number % 2 else '{"schema": 99}')
    with pytest.raises(UserError) as reported:
        runs.find([tmp_path])
    with pytest.raises(UserError) as logged:
        track.all_runs(run_folders.find([tmp_path]), {})
    for problems in (reported.value.problems, logged.value.problems):
        assert len(problems) == 2
        assert all("(and 9 more of this kind: " in line for line in problems)
