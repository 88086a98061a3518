"""Sweeps in a loop in one process: does anything grow that should not?

    python experiments/soak/soak.py --minutes 60

Each round is a sweep on the sample with tracking and a report; every other one recomputes what is stored.
After each, resident memory, open files, threads, child processes and the bytes of the cache are counted;
outputs and the MLflow store, which are results, are thrown away. The last line is JSON; exit code 1 if
something grew.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from rerankbench.commands import run as runner

WARM_UP = 5  # rounds in which libraries are loaded and pools filled
MEMORY_SHARE = 0.03  # growth of the resident memory that counts as none: allocators are not exact


@dataclass(frozen=True)
class Census:
    """What the process holds after a round; `cache_mb` in 10^6 bytes, as memory."""

    memory_mb: float
    open_files: int
    threads: int
    children: int
    cache_mb: float
    leftovers: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = soak(Path(folder), 60 * arguments.minutes)
    grown = growth(rounds)
    print(json.dumps({"rounds": len(rounds), "grown": grown, **ends(rounds)}))
    return 1 if grown else 0


def soak(folder: Path, seconds: float) -> list[Census]:
    """A census after every sweep, until the time is over."""
    rounds: list[Census] = []
    started = time.monotonic()
    while time.monotonic() - started < seconds or len(rounds) < WARM_UP + 3:
        sweep(folder, again=len(rounds) % 2 == 1)
        rounds.append(census(folder))
        print(f"{len(rounds):4} {time.monotonic() - started:6.0f} s  {asdict(rounds[-1])}", flush=True)
    return rounds


def sweep(folder: Path, again: bool) -> None:
    """Two arms, MLflow and a report; what they leave as results is thrown away."""
    command = ["-m", "reranker=none,minilm", "candidates=10", "cutoffs=[1,10]", "dataset.limit_queries=20"]
    command += [f"reuse={str(not again).lower()}", f"cache_dir={folder / 'cache'}"]
    command += [f"hydra.sweep.dir={folder / 'sweep'}", f"tracking.uri=sqlite:///{folder / 'sweep' / 'ml.db'}"]
    with open(folder / "log", "w") as log, redirect_stdout(log), redirect_stderr(log):
        code = runner.main(command)
    if code:
        raise SystemExit((folder / "log").read_text())
    shutil.rmtree(folder / "sweep")


def census(folder: Path) -> Census:
    gc.collect()
    process = psutil.Process()
    files = [file for file in (folder / "cache").rglob("*") if file.is_file()]
    return Census(
        memory_mb=round(process.memory_info().rss / 1e6, 1),
        open_files=process.num_fds(),
        threads=process.num_threads(),
        children=len(process.children(recursive=True)),
        cache_mb=round(sum(file.stat().st_size for file in files) / 1e6, 1),
        leftovers=len([path for path in folder.iterdir() if path.name not in ("cache", "log")]),
    )


def growth(rounds: Sequence[Census]) -> list[str]:
    """What is larger in the last third of the rounds than in the first third after the warm-up."""
    settled = rounds[WARM_UP:]
    third = max(1, len(settled) // 3)
    grown = []
    for name in asdict(settled[0]):
        early, late = (
            float(np.median([getattr(c, name) for c in part])) for part in (settled[:third], settled[-third:])
        )
        if late > early * (1 + MEMORY_SHARE if name == "memory_mb" else 1):
            grown.append(f"{name}: {early:g} to {late:g}")
    return grown


def ends(rounds: Sequence[Census]) -> dict[str, dict[str, float]]:
    return {"after_warm_up": asdict(rounds[WARM_UP]), "at_the_end": asdict(rounds[-1])}


if __name__ == "__main__":
    raise SystemExit(main())
