"""The documentation site is built as `make docs` builds it, and holds what is generated from the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from html import unescape
from pathlib import Path
from typing import get_type_hints

import pytest

import rerankbench
from rerankbench.commands.hydra import config

ROOT = Path(__file__).resolve().parents[2]


def build(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs; with --quiet as well, mkdocs would count no warnings."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    for file in ("docs", "mkdocs.yml"):
        (shutil.copytree if (ROOT / file).is_dir() else shutil.copy)(ROOT / file, tmp_path / file)
    for file in ("experiments", "src", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (tmp_path / file).symlink_to(ROOT / file)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(
            "[a](nowhere.md) [b](../experiments/none.py) [c](../experiments/verdict/README.md#nothing)\n"
        )
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    assert [line for line in ("nowhere.md", "none.py", "#nothing") if line not in built.stderr] == []
    assert "Aborted with 3 warnings" in built.stdout + built.stderr


def keys(prefix: str, settings: type) -> set[str]:
    """Every key of a settings class, of the groups in it too."""
    hints = get_type_hints(settings)
    inner = {f.name for f in fields(settings) if is_dataclass(hints[f.name])}
    nested = [keys(f"{prefix}{name}.", hints[name]) for name in inner]
    return {f"{prefix}{f.name}" for f in fields(settings) if f.name not in inner}.union(*nested)


def test_the_reference_has_every_key_and_option(site: Path) -> None:
    page = (site / "reference" / "config.html").read_text(encoding="utf-8")
    cells = set(map(unescape, re.findall(r"<td><code>([^<]*)</code></td>", page)))
    expected = {f.name for f in fields(config.Root)} - {*config.GROUPS, "experiment"}
    for group in config.GROUPS:
        expected |= {key for kind in config.options(group).values() for key in keys(f"{group}.", kind)}
        expected |= {f"{group}={file.stem}" for file in (ROOT / "conf" / group).glob("*.yaml")}
    assert expected - cells == set()


def test_the_reference_has_every_name_of_the_python_interface(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert {name for name in rerankbench.__all__ if f'id="rerankbench.{name}"' in page} == set(
        rerankbench.__all__
    )


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^>]*>")
    loaded = {str(page): loading.findall(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    assert len(loaded) > 20
    assert {page: tags for page, tags in loaded.items() if tags} == {}
