"""Property tests draw the same examples every time, unless new ones are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROPERTY = """
from hypothesis import given, settings, strategies as st
drawn = []
@given(st.integers())
@settings(max_examples=30)
def test_it(number):
    drawn.append(number)
def test_drawn():
    print("drawn", hash(tuple(drawn)))
"""


def drawn(folder: Path, *arguments: str) -> set[str]:
    """What two runs of a property test draw, with this folder's conftest.py."""
    (folder / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (folder / "test_it.py").write_text(PROPERTY)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *arguments, str(folder)]
    path = {"PYTHONPATH": ":".join([str(Path(__file__).parents[1] / "helpers"), *sys.path])}
    runs = [subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, check=True)
            for _ in range(2)]  # fmt: skip
    return {line for run in runs for line in run.stdout.splitlines() if "drawn" in line}


def test_two_runs_draw_the_same(tmp_path: Path) -> None:
    assert len(drawn(tmp_path)) == 1


def test_fuzzing_draws_new_ones(tmp_path: Path) -> None:
    assert len(drawn(tmp_path, "--hypothesis-profile=fuzz")) == 2


def test_no_test_asks_for_draws_of_its_own(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--hypothesis-profile") == "fuzz":
        pytest.skip("new draws are what was asked for")
    for item in request.session.items:
        own = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
        assert own is None or (own.derandomize and own.database is None), item.nodeid
