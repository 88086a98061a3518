"""What a command costs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds on the clock, seconds of CPU, bytes of memory at the peak."""

    wall: float
    cpu: float
    memory: int


def once(command: Sequence[str], place: Path, **variables: str) -> Cost:
    """Run a command in `place`, with `variables` in its environment.

    Raises CalledProcessError with what it said where it fails.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=place, env=os.environ | variables, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, said.read())
    scale = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * scale)
