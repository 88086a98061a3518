"""Do costs depend on the order of a sweep's jobs, or on what else the machine does?

    python experiments/race/orders.py [FOLDER]

Runs the same sweep in three orders of its jobs, each with its race, and races the first again while another
process keeps one core busy for a part of the time. Prints each arm's memory and median latency of the whole
query by case, how far the cases are apart, and what each race took. A case whose report says that the machine
was too busy is shown, and not compared; only that with a busy core may be one. Exit code 1 where cases are
too far apart.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

ORDERS = {
    "first": ("bm25,dense,hybrid", "none,minilm"),
    "second": ("hybrid,bm25,dense", "minilm,none"),
    "third": ("dense,hybrid,bm25", "none,minilm"),
}
PLAIN = ("tracking=none", "report.arrangements=false")  # the costs of arrangements are sums of these
BUSY_AFTER, BUSY_FOR = 30, 40  # seconds into the race, and how long
MEMORY, RATIO, SECONDS = 0.03, 0.10, 180.0  # what is asked of the cases
SPIN = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"


def main(folder: Path) -> int:
    cases = {}
    for name, (stages, rerankers) in ORDERS.items():
        words = [f"first_stage={stages}", f"reranker={rerankers}", f"hydra.sweep.dir={folder / name}"]
        subprocess.run([*command("rerankbench"), "-m", *words, *PLAIN], check=True)
        cases[name] = json.loads((folder / name / "report.json").read_text())
    cases["a core busy"] = disturbed(folder)
    (folder / "orders.json").write_text(json.dumps(cases))
    return told(cases)


def command(name: str) -> list[str]:
    """One of the commands, run by this interpreter."""
    module = {"rerankbench": "rerankbench", "rerankbench-report": "rerankbench.commands.report"}[name]
    return [sys.executable, "-m", module]


def disturbed(folder: Path) -> dict:
    """The first sweep, raced again while one core is kept busy for some of the time."""
    out = folder / "busy"
    race = subprocess.Popen(
        [*command("rerankbench-report"), "--race", str(folder / "first"), "--out", str(out)]
    )
    time.sleep(BUSY_AFTER)
    spinner = subprocess.Popen([sys.executable, "-c", SPIN.format(BUSY_FOR)])
    race.wait()
    spinner.kill()
    return json.loads((out / "report.json").read_text())


def told(cases: dict[str, dict]) -> int:
    """Print the tables and what they come to; the exit code."""
    arms = sorted(arm["name"] for arm in next(iter(cases.values()))["arms"])
    tables(cases, arms)
    relied_on = {name: case for name, case in cases.items() if not too_busy(case)}
    if busy := [name for name in ORDERS if name not in relied_on]:
        print(f"the machine was too busy to compare the orders ({', '.join(busy)}); run this again")
        return 1
    memory = max(apart([cost(case, arm, "memory_mb") for case in relied_on.values()]) for arm in arms)
    ratios = {pair: ratio_apart(relied_on, *pair) for pair in combinations(arms, 2)}
    worst = max(ratios, key=ratios.__getitem__)
    seconds = max(case["race"]["seconds"] for case in cases.values())
    print(f"\nmemory: at most {memory:.1%} apart (asked: {MEMORY:.0%})")
    print(f"cost ratios: at most {ratios[worst]:.1%} apart (asked: {RATIO:.0%}), {worst[0]} by {worst[1]}")
    print(f"longest race: {seconds:.0f} s (asked: {SECONDS:.0f})")
    print(f"told to be too busy, so not compared: {', '.join(cases.keys() - relied_on) or 'none'}")
    missing = {name: unmeasured(case, arms) for name, case in relied_on.items()}
    print("not measured: " + ("; ".join(f"{n}: {', '.join(m)}" for n, m in missing.items() if m) or "none"))
    return 0 if memory <= MEMORY and ratios[worst] <= RATIO and seconds <= SECONDS else 1


def tables(cases: dict[str, dict], arms: list[str]) -> None:
    """What each race took, and each arm's memory and latency by case."""
    print("\n| case | rounds | left out | queries | seconds | ended |\n|---|---:|---:|---:|---:|---|")
    for name, case in cases.items():
        race = case["race"]
        counts = [race[key] for key in ("rounds", "disturbed", "queries", "seconds", "stopped")]
        print(f"| {name} | {' | '.join(map(str, counts))} |")
    for title, key in (("MB", "memory_mb"), ("median ms of the whole query", "query_p50_ms")):
        print(f"\n| arm, {title} | {' | '.join(cases)} | apart |\n|---|{'---:|' * (len(cases) + 1)}")
        for arm in arms:
            values = [cost(case, arm, key) for case in cases.values()]
            print(f"| {arm} | {' | '.join(map(shown, values))} | {apart(values):.1%} |")
    for name, case in cases.items():
        print(f"{name}: {'; '.join(line for line in case['assumptions'] if 'In ' in line[:3])}")


def too_busy(case: dict) -> bool:
    """Whether the report says so."""
    return any("too busy" in line for line in case["assumptions"])


def unmeasured(case: dict, arms: list[str]) -> list[str]:
    """Arms whose queries leave their median open, as a report says."""
    return [arm for arm in arms if math.isnan(cost(case, arm, "query_p50_ms"))]


def cost(case: dict, arm: str, key: str) -> float:
    """One arm's figure, NaN where it was not measured."""
    (found,) = (each["cost"][key] for each in case["arms"] if each["name"] == arm)
    return math.nan if found is None else float(found)


def apart(values: list[float]) -> float:
    """By what share the largest is above the smallest, of those that were measured."""
    known = [value for value in values if not math.isnan(value)]
    return max(known) / min(known) - 1 if known else 0.0


def ratio_apart(cases: dict[str, dict], arm: str, other: str) -> float:
    """How far the cases are apart in one arm's latency by another's."""
    return apart([cost(c, arm, "query_p50_ms") / cost(c, other, "query_p50_ms") for c in cases.values()])


def shown(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:,.4g}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "race-orders")))
