"""The page about arrangements: its worked example is run."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_worked_example_gives_what_the_page_says() -> None:
    page = Path(__file__).parents[3] / "docs" / "arrangements.md"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted >= 9
    assert not found.failed
