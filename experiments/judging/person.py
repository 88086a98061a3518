"""How long does the machine take, from a corpus and queries to a verdict, while somebody judges?

    rerankbench -m dataset=files dataset.corpus=... dataset.queries=... reranker=none,minilm ...
    python experiments/judging/person.py multirun/DATE/TIME --qrels qrels.tsv

Runs rerankbench-judge, and answers what its page asks, over HTTP, with known judgements; prints how long the
first pair took, and each next one from the answer on. Then rerankbench-report says the verdict.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from rerankbench.judging import qrels


def answered(url: str, known: dict[tuple[str, str], int], seconds: float) -> list[float]:
    """Answer until all is settled; seconds from each answer to the next pair. `seconds`: to read a pair."""
    times = []
    with httpx.Client(timeout=600) as client:
        found = client.get(f"{url}pair").json()
        while found["pair"] is not None:
            time.sleep(seconds)
            grade = known.get((found["pair"]["query_id"], found["pair"]["doc_id"]), 0)
            started = time.perf_counter()
            given = found["pair"] | {"answer": "judged", "grade": grade, "note": ""}
            found = client.post(f"{url}answer", json=given).raise_for_status().json()
            times.append(time.perf_counter() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--qrels", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1.0, help="that the person takes for a pair")
    words = parser.parse_args()
    known = dict(qrels.read(words.qrels).grades)
    started = time.perf_counter()
    command = [sys.executable, "-m", "rerankbench.commands.judge", str(words.sweep), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found, "rerankbench-judge did not say its address"
        ready = time.perf_counter() - started
        times = answered(found[0], known, words.seconds)
        process.terminate()
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rerankbench.commands.report", str(words.sweep)], check=True)
    reported = time.perf_counter() - started
    middle, most = np.quantile(times, [0.5, 1.0])
    print(f"page ready after {ready:.1f} s; {len(times)} pairs judged")
    print(f"next pair after {middle:.3f} s (median), {most:.3f} s (longest)")
    print(f"rerankbench-report took {reported:.1f} s")


if __name__ == "__main__":
    main()
