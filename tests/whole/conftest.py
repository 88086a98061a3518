"""What the tests of faults compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_collection import command
from warm import Command


@pytest.fixture(scope="session")
def calm(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run, in whose folder are `out` and `cache`; read it, do not change it."""
    folder = tmp_path_factory.mktemp("calm")
    process = Command(command(models, folder, "tracking=none"), folder / "cwd")
    assert process.wait() == 0, process.printed()
    return folder
