"""The page of guarantees names tests that exist, and SECURITY.md leads to it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)))


@cache
def functions(file: str) -> set[str]:
    """The functions of every test file of that name: two packages may each have one."""
    trees = [ast.parse(found.read_text(encoding="utf-8")) for found in TESTS.rglob(file)]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED, ids="{0}".format)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in functions(file)


def test_every_guarantee_has_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| guarantee")
    ]
    assert len(rows) >= 40
    assert [row for row in rows if not re.search(r"`test_\w+\.py::test_\w+`", row)] == []


def test_what_is_said_of_security_leads_to_its_tests() -> None:
    text = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((\S+?)\)", text):
        assert (TESTS.parent / target).exists(), target
    assert "docs/guarantees.md" in text
