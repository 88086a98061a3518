"""Which runs of a store are being worked on: each is marked with its process, until it ends.

A process that is killed cannot say so, and its run would be shown as running for ever.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import psutil

from rerankbench.basics.visible import visible

PROCESS = "process"  # the tag of a run that is being worked on: host, process id, when that started
WHY = "why"  # the tag of a run that did not become whole
STAGE = "stage"  # what a run is doing
KILLED, FAILED = "KILLED", "FAILED"
TOLERANCE = 60.0  # seconds by which a clock that is set may move the start of a process
MOST = 1000  # runs that are looked at


def mark() -> str:
    """This process, as no other is called."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def tags() -> dict[str, str]:
    """What says of a run that this process works on it."""
    return {PROCESS: mark()}


def is_gone(marked: str) -> bool:
    """Whether a marked process was one of this machine and has ended; False where nobody can tell."""
    host, _, rest = marked.partition(" ")
    number, _, started = rest.partition(" ")
    if host != socket.gethostname() or not (number.isdecimal() and started.isdecimal()):
        return False
    try:
        return abs(psutil.Process(int(number)).create_time() - int(started)) > TOLERANCE
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.Error:
        return False


def close_stale(client: Any, experiment_id: str, name: str = "", sweep_id: str = "") -> None:
    """End the runs that nobody works on any more, with a tag that says why.

    Those are runs whose process has ended, and an earlier attempt at the run `name` of a sweep that was
    continued, on whichever machine.
    """
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=MOST):
        marked, again = run.data.tags.get(PROCESS, ""), f"{visible(name)} of {visible(sweep_id)}"
        same = f"{run.info.run_name} of {run.data.tags.get('sweep_id')}" == again and bool(sweep_id)
        if marked and is_gone(marked):
            close(client, run, KILLED, f"its process ended without reporting anything ({marked})")
        elif marked and same and marked != mark():
            close(client, run, KILLED, f"it was started again elsewhere; this was {marked}")


def close(client: Any, run: Any, status: str, why: str) -> None:
    """End a run that is not whole."""
    client.set_tag(run.info.run_id, WHY, visible(why)[:5000])
    unmark(client, run)
    end(client, run, status)


def end(client: Any, run: Any, status: str) -> None:
    """Set the status, last of all, so that only whole runs have ended; not before they started."""
    moment = max(int(run.info.start_time), int(1000 * time.time()))
    client.set_terminated(run.info.run_id, status=status, end_time=moment)


def unmark(client: Any, run: Any) -> None:
    """Take away what is only said of a run that is being worked on."""
    for name in (PROCESS, STAGE):
        if name in run.data.tags:
            client.delete_tag(run.info.run_id, name)
