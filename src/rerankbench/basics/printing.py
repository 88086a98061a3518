"""What all commands share around their work: where they print, and a current folder that is there.

A full disk that takes nothing printed fails no run whose results are in their folder by then.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Protocol, TextIO, cast

GONE = "error: the current folder was removed; change to one that is there, with cd FOLDER"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Forgiving:
    """A stream of text that drops what its disk does not take, and says so once on `other`."""

    def __init__(self, stream: TextIO, other: TextIO) -> None:
        self.stream, self.other, self.failed = stream, other, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self.forgiven():
            self.stream.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with self.forgiven():
            self.stream.flush()

    @contextmanager
    def forgiven(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Send the rest nowhere, also what Python itself flushes at its end."""
        self.failed = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        with suppress(OSError, ValueError):
            self.stream.flush()
        with suppress(OSError, ValueError):
            self.other.write(
                f"not everything could be printed ({error.strerror}); the results are complete all the same\n"
            )


class Main(Protocol):
    """The function of a command: its words in, its exit code out."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


@contextmanager
def forgiving() -> Iterator[Forgiving]:
    """Print forgivingly while the block runs; yields the stream that stands for stdout."""
    before = sys.stdout, sys.stderr
    out = Forgiving(before[0], before[1])
    err = Forgiving(before[1], cast(TextIO, open(os.devnull, "w")))  # noqa: SIM115 -- closed below
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        err.other.close()
        sys.stdout, sys.stderr = before


def command(main: Main) -> Main:
    """A command's `main` whose results are files: it does not fail where only its printing does."""

    @wraps(main)
    def forgiven(argv: Sequence[str] | None = None) -> int:
        with forgiving():
            return main(argv) if is_somewhere() else 2

    return forgiven


def told(main: Main) -> Main:
    """A command's `main` that prints its results: exit code 1 where they could not be printed."""
    return command(wraps(main)(lambda argv=None: main(argv) or lost()))


def lost() -> int:
    """1 where something could not be printed, as an exit code."""
    sys.stdout.flush()
    return int(getattr(sys.stdout, "failed", False))


def is_somewhere() -> bool:
    """Whether the current folder is there; says so where it was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        sys.stderr.write(f"{GONE}\n")
        return False
    return True
