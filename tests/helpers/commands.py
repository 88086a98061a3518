"""The command on tiny models and a tiny collection, run in this process or its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from collections_on_disk import beir
from rerankbench.commands import run as runner

FAMILIES = {
    "base": "encoder",
    "large": "encoder",
    "v2-m3": "encoder",
    "gemma": "llm",
    "minicpm-layerwise": "layerwise",
    "lightweight": "lightweight",
}


def tiny(models: Path, folder: Path) -> list[str]:
    """Overrides for four documents, two judged queries and a tiny embedder, all in `folder`."""
    data = folder / "data"
    if not data.exists():
        beir(data)
    return [
        "dataset=beir", f"dataset.path={data}",
        f"embedder.model={models / 'bge-small-en'}", "embedder.pooling=cls",
        "device=cpu", "precision=fp32", "candidates=4", "cutoffs=[1,2]", "report.measure=ndcg_at_2",
        "report.race.seconds=0",
        f"cache_dir={folder / 'cache'}",
        f"hydra.run.dir={folder / 'out'}", f"hydra.sweep.dir={folder / 'sweep'}",
    ]  # fmt: skip


def own_options(models: Path, folder: Path, **more: str) -> Path:
    """A user's config folder in which the six rerankers, and `more`, are local folders."""
    group = folder / "own" / "reranker"
    group.mkdir(parents=True)
    texts = {name: f"model: {models / name}\n" for name in FAMILIES}
    for name, text in (texts | more).items():
        schema = f"defaults: [/schema/reranker/{FAMILIES.get(name, 'encoder')}@_here_, _self_]\n"
        (group / f"{name}.yaml").write_text(f"# mine\n{'' if 'family:' in text else schema}{text}")
    return group.parent


def run(*arguments: str) -> int:
    """The exit code of a command run in this process."""
    try:
        return runner.main(list(arguments))
    except SystemExit as stop:  # what Hydra does where it prints an error itself
        raise AssertionError(f"the command left by SystemExit({stop.code})") from stop


def spawn(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "rerankbench", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def results(sweep: Path) -> dict[str, dict[str, Any]]:
    """The result.json of every job of a sweep, by arm."""
    found = [json.loads(file.read_text()) for file in sorted(sweep.glob("*/result.json"))]
    return {result["arm"]: result for result in found}


@cache
def empty_store() -> Path:
    """An MLflow database with all its tables, made once: that takes up to 7 s."""
    from mlflow.tracking import MlflowClient

    file = Path(tempfile.mkdtemp(prefix="store-")) / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


def store(folder: Path) -> str:
    """The address of a store of one's own."""
    shutil.copy(empty_store(), folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"
