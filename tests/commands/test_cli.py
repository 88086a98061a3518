"""What all commands share: how mistakes are printed."""

from __future__ import annotations

import pytest

from commands import run
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import cli


def test_many_mistakes_of_one_kind_are_one_line_with_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-m", "depth=range(101,141)", "batch_size=0") == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 2
    (line,) = [line for line in printed if "depth" in line]
    assert line.startswith("error: depth=101: more than the candidates=100 kept")
    assert line.endswith("(40 such values: also depth=102, depth=103 and 37 more)")


def test_few_mistakes_are_a_line_each_and_the_same_one_is_told_once() -> None:
    few = [Problem(f"depth={n}: no", "depth", "value", f"depth={n}") for n in (1, 2, 1, 3)]
    assert cli.collapsed(few) == ["depth=1: no", "depth=2: no", "depth=3: no"]
    untyped = [Problem(f"line {n}") for n in range(9)]
    assert len(cli.collapsed(untyped)) == 9


def test_secrets_in_mistakes_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    def command(words: list[str]) -> int:
        raise UserError("tracking.uri=http://joe:s3cret@host: no")

    assert cli.command(command)([]) == 2
    assert "s3cret" not in capsys.readouterr().err


def test_a_closed_output_is_no_error() -> None:
    def command(words: list[str]) -> int:
        raise BrokenPipeError

    import os

    kept = os.dup(1)
    try:
        assert cli.command(command)([]) == 0
    finally:
        os.dup2(kept, 1)
        os.close(kept)
