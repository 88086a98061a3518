"""What is printed where nothing can be printed, and commands in a folder that is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import tiny

FULL = Path("/dev/full")
full = pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")


def command(
    module: str, *words: str, cwd: Path, limit: str = "", **streams: object
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with a shell's limit if one is given."""
    line = [sys.executable, "-m", module, *words]
    line = ["bash", "-c", f'{limit}; exec "$@"', "bash", *line] if limit else line
    return subprocess.run(
        line,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        timeout=120,
        check=False,
        **streams,
    )  # type: ignore[call-overload, no-any-return]


@full
def test_results_are_whole_where_nothing_can_be_printed(models: Path, tmp_path: Path) -> None:
    words = [*tiny(models, tmp_path), "first_stage=bm25", "reranker=none", "tracking=none"]
    with FULL.open("w") as out:
        done = command("rerankbench", *words, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert "not everything could be printed (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


@full
@pytest.mark.parametrize(
    ("module", "words"),
    [("rerankbench", ["--help"]), ("rerankbench.commands.cache.command", ["size", "cache_dir=."])],
)
def test_a_command_that_only_prints_fails_where_it_cannot(
    module: str, words: list[str], tmp_path: Path
) -> None:
    with FULL.open("w") as out:
        done = command(module, *words, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "not everything could be printed (No space left on device); the results are complete all the same"
    ]


@pytest.mark.parametrize(
    "module", ["rerankbench", "rerankbench.commands.cache.command", "rerankbench.commands.check.command"]
)
def test_a_folder_that_was_removed_is_one_line(module: str, tmp_path: Path) -> None:
    gone = 'mkdir gone && cd gone && rmdir "$PWD"'
    done = command(module, "size", cwd=tmp_path, limit=gone, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the current folder was removed; change to one that is there, with cd FOLDER"
    ]


def test_files_that_may_not_become_large_are_one_line(models: Path, tmp_path: Path) -> None:
    words = [*tiny(models, tmp_path), "first_stage=bm25", "reranker=none", "tracking=none"]
    done = command("rerankbench", *words, cwd=tmp_path, limit="ulimit -f 0", capture_output=True)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    cure = "lift the limit with: ulimit -f unlimited"
    assert re.match(rf"error: {tmp_path}/\S+: files may not grow that large here; {cure}", line)
    assert "Traceback" not in done.stderr
