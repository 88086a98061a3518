"""Who computes what: a lock file that names its owner, and that an owner who died or hangs does not keep.

The file says who owns it: process, machine, since when, what for; the owner touches it every few seconds.
Who waits says for whom, and takes the lock over at once where the owner was a process of this machine that
is gone, and after LEASE seconds without a touch, counted on the waiting process's own clock, where it was on
another machine or hangs.

An owner that wakes up after that works on beside the new one. For everything locked here that costs time
and changes nothing: results are written whole, under names made of their content, or appended under keys
whose first value counts. What takes a moment (appending a file) or what two processes must never do
together (unpacking a wheel, making a database) uses the system's locks instead, which nobody can take over.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rerankbench.basics.regular_file import read_regular
from rerankbench.engine.store.aside import make_way

if TYPE_CHECKING:
    from filelock import LeaseCompromise, SoftFileLease

log = logging.getLogger(__name__)

SUFFIX = ".owner"
NAME_BYTES = 10_000  # far more than any owner writes
LEASE = 120.0  # seconds; the same for all versions, since an owner with another lease cannot be taken over
TOUCHES = 6  # of the file in that time
NAMELESS_SECONDS = 10.0  # after which an owner that has not written its name yet died before it could
WAIT_SECONDS = 30.0  # between two lines that say who is waited for
LOOK_SECONDS = 1.0  # between two looks at a lock that the library leaves alone
ABANDONED_SECONDS = 24 * 3600.0  # after which even a clock that is wrong proves that nobody touches a file


@contextmanager
def hold(file: Path, doing: str) -> Iterator[None]:
    """Own `file` while the block runs. `doing` completes "pid 12 on host a has been ..." for who waits.

    The file is gone afterwards. Not to be held twice by one thread. Something else than a file that
    has its name is set aside.
    """
    make_way(file)
    claim = lease(file)
    take(claim, file)
    try:
        sign(file, doing)
        yield
    finally:
        claim.release()


def held(file: Path) -> bool:
    """Whether somebody owns `file`: a process that is not known to be gone, and touched it since yesterday.

    The file of a process of this machine that is gone is gone after the question, too.
    """
    if file.is_symlink() or not file.is_file():
        return False
    from filelock import Timeout

    claim = lease(file)
    try:
        with claim.acquire(blocking=False):
            return False
    except Timeout:
        return not untouched_for(file, ABANDONED_SECONDS)
    except OSError:
        return True


def lease(file: Path) -> SoftFileLease:
    from filelock import SoftFileLease

    return SoftFileLease(
        file, lease_duration=LEASE, heartbeat_interval=LEASE / TOUCHES, on_compromise=tell_of_loss
    )


def take(claim: SoftFileLease, file: Path) -> None:
    """Wait until the lock is ours; say for whom, and remove a lock that is never going to be given back."""
    from filelock import Timeout

    seen, since = state(file), time.monotonic()
    told = since
    while True:
        try:
            claim.acquire(timeout=LOOK_SECONDS)
            return
        except Timeout:
            now, found = time.monotonic(), state(file)
        if now - told >= WAIT_SECONDS:
            told = now
            log.info("waiting for %s: %s", owner(file), file)
        if found != seen:
            seen, since = found, now
        elif found is not None and now - since > patience(found.size):
            log.warning("%s: not touched for %.0f s, taken over from %s", file, now - since, owner(file))
            claim.break_lock()


def patience(size: int) -> float:
    """Seconds without a touch after which a lock is removed that the library itself does not take over.

    It leaves an empty file alone, whose owner died before it wrote its name, and everything on a disk that
    cannot exchange two files, such as NFS.
    """
    return 2 * LEASE if size else NAMELESS_SECONDS


class State(NamedTuple):
    """Of a file: what every touch and every new owner change."""

    inode: int
    changed: int
    size: int


def state(file: Path) -> State | None:
    with suppress(OSError):
        found = file.lstat()
        return State(found.st_ino, found.st_ctime_ns, found.st_size)
    return None


def untouched_for(file: Path, seconds: float) -> bool:
    with suppress(OSError):
        return time.time() - file.lstat().st_mtime > seconds
    return True


def sign(file: Path, doing: str) -> None:
    """Add since when and what for to the owner's process and machine, which the library wrote.

    The library skips lines that it does not know. The file may be somebody else's by now: never make one.
    """
    with suppress(OSError):
        handle = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, f"since={time.time():.0f}\ndoing={doing}\n".encode())
        finally:
            os.close(handle)


def owner(file: Path) -> str:
    """Who owns `file`, for people: "pid 12 on host a, which has been embedding for 40 s"."""
    try:
        text = read_regular(file, NAME_BYTES).decode("utf-8")
        lines = [line.partition("=") for line in text.splitlines() if line.isprintable()]
    except (OSError, ValueError):
        lines = []
    found = {name: value for name, _, value in lines}
    if "pid" not in found:
        return "an owner that left no name"
    host = found.get("host", "").partition("?")[0]  # what follows tells containers apart, for the library
    who = f"pid {found['pid']} on host {host}"
    if "doing" not in found or not found.get("since", "").isdecimal():
        return who
    return f"{who}, which has been {found['doing']} for {max(0.0, time.time() - int(found['since'])):.0f} s"


def tell_of_loss(loss: LeaseCompromise) -> None:
    log.warning(
        "%s: another process took this over (%s); both continue, which takes time but changes no result",
        loss.lock_file, loss.reason,
    )  # fmt: skip
