"""One sweep without judgements for all tests of judging; each test has a copy of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unjudged_sweep import unjudged_sweep


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = list(sys.path)
    yield unjudged_sweep(tmp_path_factory.mktemp("unjudged"), sys.path)
    sys.path[:] = before


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sweep"))
