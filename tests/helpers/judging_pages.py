"""The page on which a person judges: as an application, as a process, and in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerankbench.judging.session import Session

TOKEN, PORT = "right-token", 8123
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HERE = {"host": f"127.0.0.1:{PORT}"}


def session(sweep: Path, judge: str = "person:anna", **more: int) -> Session:
    return Session.of([str(sweep)], None, judge, 10, more.get("pool"), None, more.get("check", 0))


@contextmanager
def served(sweep: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address of its page."""
    command = [sys.executable, "-m", "rerankbench.commands.judge", str(sweep), "--no-browser", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
        assert found, line + process.stdout.read()
        yield process, found[0]
    finally:
        process.kill()
        process.wait()


def press(opened: object, key: str) -> None:
    """Press a key, and wait until the next pair is there."""
    shown = opened.locator("#document").get_attribute("data-pair")  # type: ignore[attr-defined]
    opened.keyboard.press(key)  # type: ignore[attr-defined]
    opened.wait_for_function(  # type: ignore[attr-defined]
        "shown => document.getElementById('asked').hidden ||"
        " document.getElementById('document').dataset.pair !== shown",
        arg=shown,
    )
