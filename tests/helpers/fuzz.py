"""Property tests with new examples: `python tests/helpers/fuzz.py SECONDS [TEST...]`, `make fuzz`.

A failure ends it and is kept in .hypothesis/, so that the next round tries it first. Write what is printed
after "Falsifying example" above the test, as an @example: then it is tried in every `make test`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
SELECTED = "hypothesis and not ray and not faults and not network"


def main(seconds: float, tests: list[str]) -> int:
    """Rounds of all property tests until the time is over; the exit code of the first that fails."""
    until, rounds = time.monotonic() + seconds, 0
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--hypothesis-profile=fuzz",
        "-m",
        SELECTED,
        *(tests or [str(HERE)]),
    ]
    while (left := until - time.monotonic()) > 0:
        try:
            code = subprocess.run(command, cwd=HERE.parent, timeout=left, check=False).returncode
        except subprocess.TimeoutExpired:
            break
        rounds += 1
        if code:
            return code
    sys.stdout.write(f"{rounds} whole rounds, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
