"""Fixtures that several files of tests share: the tiny models, built once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiny_models import build_all

# Models this small only get slower by a second thread, on a busy machine by a factor of ten.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every tiny model under its name; read it, do not change it."""
    root = tmp_path_factory.mktemp("models")
    for _ in build_all(root):
        pass
    return root


@pytest.fixture(scope="session")
def hashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the hashes of those models, so that they are not computed in every test."""
    return tmp_path_factory.mktemp("hashes")
