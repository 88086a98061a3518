"""The command as a process of its own: its end keeps what it has begun, its death leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.faults


@contextmanager
def process(swept: Path, port: int = 0, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command and its address, once it has said it."""
    command = [
        sys.executable,
        "-m",
        "rerankbench.commands.serve",
        str(swept),
        "--arm",
        "base@12",
        "--port",
        str(port),
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert made.stdout
    try:
        line = made.stdout.readline()
        assert "http://" in line, made.stderr.read() if made.stderr else ""
        url, until = line.split(" at ")[1].strip(), time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.HTTPError:
                assert time.monotonic() < until
                time.sleep(0.05)
        yield made, url
    finally:
        made.kill()
        made.wait()


def test_an_answer_goes_out_at_once(swept: Path) -> None:
    """Head and body are two writes: the second does not wait 40 ms for the client to confirm the first."""
    with process(swept) as (_, url), httpx.Client() as http:
        took = []
        for _ in range(30):
            began = time.perf_counter()
            assert http.get(f"{url}/info").status_code == 200
            took.append(time.perf_counter() - began)
    assert min(took) < 0.03


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_begun(swept: Path, number: signal.Signals) -> None:
    statuses: list[int] = []
    body = {"query": "what hunts?", "documents": [f"a lion hunts at night {i} " * 60 for i in range(300)]}
    with process(swept) as (made, url):

        def ask() -> None:
            statuses.append(httpx.post(f"{url}/rerank", json=body, timeout=60).status_code)

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for each in asking:
            each.start()
        until = time.monotonic() + 30
        while httpx.get(f"{url}/health").json()["waiting"] < 3:
            assert time.monotonic() < until
        made.send_signal(number)
        for each in asking:
            each.join(60)
        assert made.wait(60) == 0
        assert statuses == [200, 200, 200]
        assert made.stderr
        assert "Traceback" not in made.stderr.read()


def test_after_a_kill_it_starts_again_on_its_port(swept: Path) -> None:
    with process(swept) as (made, url):
        port = int(url.rpartition(":")[2])
        made.send_signal(signal.SIGKILL)
        made.wait(30)
    with process(swept, port) as (_, url):
        assert httpx.post(f"{url}/rerank", json={"query": "a", "documents": ["b"]}).status_code == 200


def test_a_port_that_is_taken_is_told(swept: Path) -> None:
    with process(swept) as (_, url):
        command = [
            sys.executable,
            "-m",
            "rerankbench.commands.serve",
            str(swept),
            "--port",
            url.rpartition(":")[2],
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2
        assert "choose another --port" in done.stderr
