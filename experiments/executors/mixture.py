"""One run by each executor, and by both of them in turns with `kill -9` in between: are the numbers the same?

    python experiments/executors/mixture.py FOLDER rerankbench-overrides...

Each row of the table has a cache of its own in FOLDER; models are copied from RERANKBENCH_CACHE. A mixed row
begins with one executor, is killed once the first block of vectors is written, goes on with the other one, is
killed once the first scores are written, and is ended by the first. Prints one JSON line for each row;
`identical.py` compares the caches with the first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOCAL = ["executor=local"]
RAY = ["executor=ray", "executor.workers=2"]
ROWS = {
    "local": [LOCAL],
    "ray": [RAY],
    "local-ray-local": [LOCAL, RAY, LOCAL],
    "ray-local-ray": [RAY, LOCAL, RAY],
}
MARKS = ["vectors/*/*-*.npy", "scores/*/*.shard"]  # what is written when the first, the second run is killed
POLL_SECONDS = 0.05


def start(cache: Path, overrides: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"RERANKBENCH_CACHE": str(cache)}
    command = ["rerankbench", f"hydra.run.dir={cache}/run", "tracking=none", *overrides]
    with open(cache / "log", "ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def kill_when(run: subprocess.Popen[bytes], cache: Path, mark: str) -> None:
    """`kill -9` to the driver alone once a file is there; Ray's own processes notice by themselves."""
    while not any(cache.glob(mark)):
        if run.poll() is not None:
            raise SystemExit(f"{cache}: ended before {mark} was written; see {cache}/log")
        time.sleep(POLL_SECONDS)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()


def measure(cache: Path, executors: Sequence[Sequence[str]], overrides: Sequence[str]) -> dict[str, object]:
    for part in ("models", "wheels"):
        shutil.copytree(Path(os.environ["RERANKBENCH_CACHE"]) / part, cache / part)
    for executor, mark in zip(executors[:-1], MARKS, strict=False):
        kill_when(start(cache, [*overrides, *executor]), cache, mark)
    began = time.perf_counter()
    if start(cache, [*overrides, *executors[-1]]).wait():
        raise SystemExit(f"{cache}: failed; see {cache}/log")
    result = json.loads((cache / "run" / "result.json").read_text())
    return {
        "seconds": round(time.perf_counter() - began),
        "pairs": result["pairs"],
        "measures": result["measures"]["reranked"],
    }


def main(folder: str, *overrides: str) -> None:
    for name, executors in ROWS.items():
        measured = measure(Path(folder) / name, executors, overrides)
        print(json.dumps({"row": name, **measured}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
