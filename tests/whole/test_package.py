"""What people install: a wheel that carries configs and the sample and works outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="no checkout to build from")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)  # the wheel is built from the sdist
    return next(out.glob("*.whl"))


def test_the_wheel_carries_what_runs_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"rerankbench/conf/{file.relative_to(ROOT / 'conf')}" for file in (ROOT / "conf").rglob("*.yaml")
    }
    sample = ROOT / "src" / "rerankbench" / "collections" / "sample"
    shipped = {
        f"rerankbench/collections/sample/{file.relative_to(sample)}"
        for file in sample.rglob("*")
        if file.suffix == ".jsonl"
    }
    assert configs | shipped <= names
    assert len(shipped) >= 2
    assert "rerankbench/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "experiments/", "rerankbench/tests")) for name in names)


def test_the_source_archive_can_be_tested(wheel: Path) -> None:
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "conf/config.yaml", "tests/conftest.py"} <= names
    assert not any(name.startswith((".venv", "outputs", "multirun")) for name in names)


@pytest.mark.slow
def test_the_installed_command_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "stack.pth").write_text(
        sysconfig.get_path("purelib")
    )  # the libraries, without the editable checkout
    install = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--no-deps", "--quiet"]
    subprocess.run(
        [*install, "--no-index", "--disable-pip-version-check", str(wheel)], check=True, timeout=200
    )

    own = tmp_path / "own" / "embedder"
    own.mkdir(parents=True)
    (own / "short.yaml").write_text(
        "# mine\ndefaults: [/schema/embedder/embedder@_here_, _self_]\n"
        "model: wheel:all-MiniLM-L6-v2\npooling: mean\nmax_length: 32\n"
    )
    command = [environment / "bin" / "rerankbench", "--config-dir", "own", "embedder=short", "tracking=none",
               "device=cpu", "dataset.limit_queries=3", "candidates=10", "cutoffs=[1,10]"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=clean())
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("outputs/*/*/result.json")
    result = json.loads(file.read_text())
    assert result["arm"] == "minilm@10"
    assert result["params"]["embedder"] == "short"
    assert result["measures"]["reranked"]["ndcg_at_10"] > 0.5
    where = subprocess.run(
        [environment / "bin" / "python", "-c", "import rerankbench; print(rerankbench.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=clean(),
    )  # fmt: skip
    assert where.stdout.startswith(str(environment)), "the test ran the checkout, not the wheel"
    help_text = subprocess.run(
        [environment / "bin" / "rerankbench-track", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=clean(),
    )
    assert "usage: rerankbench-track" in help_text.stdout


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
