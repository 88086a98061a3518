"""Caches of strangers: what is there is listed, what is damaged is set aside, nothing else is read."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.basics.regular_file import NotRegular
from rerankbench.commands.cache.command import main
from rerankbench.engine.store.file_hashes import FileHashes, sha256_of
from strange_caches import NOTES, damages, kind, nested, whole_cache
from strange_runs import SECRET, canary, said, untouched

COMMANDS = (
    ["list"],
    ["size"],
    ["verify"],
    ["compact"],
    ["prune", "scores", "--yes"],
    ["prune", "leftovers", "--yes"],
)

often = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@functools.cache
def template() -> Path:
    """A cache that is made once, and copied."""
    return whole_cache(Path(tempfile.mkdtemp(prefix="cache-")))


@given(damages, st.permutations(COMMANDS))
@often
def test_any_cache_is_listed_checked_and_pruned(damage: Any, commands: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        away, cache = canary(Path(place) / "away"), Path(place) / "cache"
        shutil.copytree(template(), cache)
        damage(cache, away)
        with untouched(away):
            for words in commands:
                printed = said(main, [*words, f"cache_dir={cache}"], (0, 1, 2))
                assert SECRET not in printed


@pytest.mark.parametrize("what", ["pipe", "socket", "folder", "link to an endless device", "gigabytes"])
def test_a_memo_of_hashes_that_is_no_file_costs_only_time(tmp_path: Path, what: str) -> None:
    cache = whole_cache(tmp_path / "cache")
    kind("hashes.json", what)(cache, canary(tmp_path / "away"))
    file = tmp_path / "file"
    file.write_text("x")
    assert FileHashes(cache / "hashes.json").sha256(file) == sha256_of(file)


@pytest.mark.parametrize(
    "entry",
    [[], {}, {"stamp": [1], "sha256": "0" * 64}, {"stamp": [1, 2, 3, 4]}, "x", None,
     {"stamp": [1, 2, 3, 4], "sha256": "x"}, {"stamp": "1234", "sha256": "0" * 64}],
)  # fmt: skip
def test_a_damaged_memo_of_hashes_is_forgotten(tmp_path: Path, entry: Any) -> None:
    memo, file = tmp_path / "hashes.json", tmp_path / "file"
    file.write_text("x")
    memo.write_text(json.dumps({str(file): entry}))
    assert FileHashes(memo).sha256(file) == sha256_of(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    kind("pipe", "pipe")(tmp_path, tmp_path)
    with pytest.raises(NotRegular):
        sha256_of(tmp_path / "pipe")


def test_notes_are_small_files_or_nothing() -> None:
    assert all(name.endswith(".json") for name in NOTES)


def test_folders_nested_beyond_the_stack_are_removed_or_named(tmp_path: Path) -> None:
    cache = whole_cache(tmp_path / "cache")
    nested(1200)(cache, tmp_path)
    said(main, ["list", f"cache_dir={cache}"], (0,))
    printed = said(main, ["prune", "datasets", "--yes", f"cache_dir={cache}"], (0, 2))
    assert (cache / "datasets" / "d").exists() == ("remove it by hand: rm -r " in printed)
    subprocess.run(["rm", "-rf", str(cache)], check=True)  # pytest's own removal would recurse
