"""How long a report of a large sweep takes, and how much memory: a sweep of random scores, then its report.

python experiments/verdict/large_sweep.py --queries 7000 --rerankers 7 --layers 40
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

import scored_runs as scored

DEPTHS = (10, 20, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queries", type=int, default=7000)
    parser.add_argument("--rerankers", type=int, default=7)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--sweep", type=Path, help="one that was made before")
    words = parser.parse_args()
    if words.sweep:
        report(words.sweep)
        return
    folder = Path(tempfile.mkdtemp(prefix="large-sweep-"))
    make(folder, words.queries, words.rerankers, words.layers)
    print(f"made; now: python {sys.argv[0]} --sweep {folder}")  # in a process of its own, for its memory


def make(folder: Path, queries: int, rerankers: int, layers: int) -> None:
    scored.CUTOFFS = (1, 10, 100)
    pool = scored.drawn(queries, 100, 1, full=True)
    first = scored.first_scores(pool, 2)
    scored.write_scored(folder / "none", "none", pool, first, depths=DEPTHS)
    for number in range(rerankers):
        scores = {
            layer: scored.scores_like(pool, 100 * number + layer, 0.2 + 0.02 * layer, ties=False)
            for layer in range(1, layers + 1)
        }
        scored.write_scored(folder / str(number), f"r{number}", pool, first, scores, DEPTHS)


def report(sweep: Path) -> None:
    from rerankbench.report.arms import runs
    from rerankbench.report.findings import find_out
    from rerankbench.report.page import files
    from rerankbench.report.settings import Report

    began, processor = time.perf_counter(), time.process_time()
    files.write(sweep, find_out(runs.find([sweep]), Report()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{time.perf_counter() - began:.1f} s, {time.process_time() - processor:.1f} s of processor time, "
        f"{peak:,.0f} MB at most"
    )


if __name__ == "__main__":
    main()
