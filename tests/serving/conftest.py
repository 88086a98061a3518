"""The one sweep that the tests of this folder serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import store
from rerankbench.serving.service import Service
from served_sweep import served, sweep


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A tracked sweep's folder; read it, do not change it."""
    root = tmp_path_factory.mktemp("served")
    return sweep(models, root, f"tracking.uri={store(root)}", "report.register=mine")


@pytest.fixture(scope="session")
def service(swept: Path) -> Iterator[Service]:
    """Two plain arms and an arm that does not rerank."""
    with served(swept, "base@12", "large@10", "no reranking") as made:
        yield made
