"""The command in processes that start at once: forked from one that has imported everything.

`multiprocessing`'s fork server imports torch, MLflow and the rest once, runs no thread, and forks a child for
each command. A child can be killed, stopped, or given faults: functions that it calls before the command.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PRELOADED = [
    "torch", "FlagEmbedding", "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "transformers.models.bert.modeling_bert", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.pyplot", "scipy.stats", "faiss", "hydra.main", "hydra._internal.hydra",
    "hydra._internal.core_plugins.basic_launcher", "rerankbench.commands.run",
    "rerankbench.experiment.pipeline", "rerankbench.experiment.forecast",
    "rerankbench.experiment.tracking.outputs", "rerankbench.commands.summary", "rerankbench.commands.report",
]  # fmt: skip
ENOUGH = (
    240.0  # seconds that no command here takes; at a load of 8 the first one, which imports all, took 113
)

Fault = Callable[[], None]


@cache
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Command:
    """A command that runs in `folder`, as if typed there; `faults` are called first, in its process."""

    def __init__(self, arguments: Sequence[str], folder: Path, *faults: Fault) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.process: ForkServerProcess = server().Process(target=run, args=(list(arguments), folder, faults))
        self.process.start()

    def wait(self, seconds: float = ENOUGH) -> int:
        """The exit code, -9 for a process that was killed; fails where it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.signal(signal.SIGKILL)
            raise AssertionError(f"still running after {seconds} s: {self.printed()}")
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal; one that comes after the end is lost, as in life."""
        assert self.process.pid
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait_for(self, file: Path) -> None:
        """Until the command has made `file`, which must be before it ends."""
        until = time.monotonic() + ENOUGH
        while not file.exists():
            assert self.process.exitcode is None, f"ended before {file}: {self.printed()}"
            assert time.monotonic() < until, f"no {file}: {self.printed()}"
            time.sleep(0.005)

    def printed(self) -> str:
        """What it wrote to stdout and stderr; nothing, where it was killed before it could."""
        file = self.folder / "printed"
        return file.read_text(errors="replace") if file.exists() else ""


def typed(*arguments: str, cwd: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What a command printed in a process of its own, at a tenth of what a new interpreter takes.

    `site`: a folder of packages that only this command has installed. Where how a process starts is what is
    tested, or the environment that libraries read when they are imported, `commands.spawn` is needed.
    """
    errors = cwd / "errors"
    process = Command(
        arguments, cwd, partial(tell_apart, errors), *([partial(installed, site)] if site else [])
    )
    code = process.wait()
    return subprocess.CompletedProcess(arguments, code, process.printed(), errors.read_text())


def tell_apart(errors: Path) -> None:
    """Write stderr to a file of its own."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)


def installed(site: Path) -> None:
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()


def run(arguments: list[str], folder: Path, faults: Sequence[Fault]) -> None:
    """What the child does."""
    from rerankbench.commands import run as runner

    os.chdir(folder)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    faulthandler.dump_traceback_later(ENOUGH - 20, file=sys.stderr)  # where it hangs, should it hang
    for fault in faults:
        fault()
    sys.exit(runner.main(arguments))
