"""A contestant seen from the race: a fresh interpreter that answers one line of JSON with another."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rerankbench.basics.masking import masked

MODULE = "rerankbench.report.race.contestant"
END_SECONDS = 5.0  # for a process that was killed to be gone


class Lost(Exception):
    """A contestant that can go on no longer, and why."""


class Process:
    """One contestant's process. It ends with this one, however that ends: its stdin is closed then."""

    def __init__(self, label: str, folder: Path, module: str = MODULE) -> None:
        self.label = label
        self.memory: dict[str, float | None] = {}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self.child = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            cwd=folder,
            env=environment(),
            start_new_session=True,  # Ctrl-C is for the race, which ends its contestants
        )
        self.answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        """Take answers down as they come; None when there are no more."""
        assert self.child.stdout
        with self.child.stdout as lines:
            for line in lines:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def tell(self, message: dict[str, Any]) -> None:
        """Send without waiting for the answer. Raises Lost where nobody listens."""
        assert self.child.stdin
        try:
            self.child.stdin.write(json.dumps(message).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:
            raise Lost(self.last_words()) from None

    def answer(self, until: float) -> dict[str, Any]:
        """The next answer, waiting until `until` on the monotonic clock.

        Raises Lost where there is none by then (the process is killed), where it died, or where it says why
        it cannot.
        """
        patience = max(0.0, until - time.monotonic())
        try:
            found = self.answers.get(timeout=patience)
        except queue.Empty:
            self.kill()
            raise Lost(f"it did not answer within {patience:.1f} s") from None
        if found is None:
            raise Lost(self.last_words())
        self.memory = found.pop("memory", self.memory)
        if "why" in found:
            raise Lost(str(found["why"]))
        return found

    def ask(self, message: dict[str, Any], until: float) -> dict[str, Any]:
        self.tell(message)
        return self.answer(until)

    def last_words(self) -> str:
        """How the process ended, with the last line that it wrote."""
        self.kill(gently=True)
        code = self.child.returncode
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        if code == -9:
            how += ", as where memory runs out"
        return masked(f"its process {how}" + (f" ({lines[-1][:200]})" if lines else ""))

    def kill(self, gently: bool = False) -> None:
        """End the process, and wait until it is gone; `gently` where it is ending by itself."""
        with suppress(subprocess.TimeoutExpired):
            if gently:
                self.child.wait(END_SECONDS)
        self.child.kill()
        with suppress(subprocess.TimeoutExpired):  # what the system does not interrupt
            self.child.wait(END_SECONDS)
        with suppress(OSError):
            if self.child.stdin:
                self.child.stdin.close()


def environment() -> dict[str, str]:
    """This process's variables; what it imports is found from another folder, too."""
    own = dict(os.environ)
    if paths := own.get("PYTHONPATH"):
        own["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths.split(os.pathsep) if path)
    return own | {"PYTHONSAFEPATH": "1"}  # no module of the folder that it starts in
