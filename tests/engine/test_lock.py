"""Locks: one owner at a time, named to those who wait; who died or hangs does not keep it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import Timeout

from rerankbench.engine.store import lock
from rerankbench.engine.store.lock import hold
from rerankbench.engine.store.rows import RowStore, text_keys

Spawned = Callable[..., "subprocess.Popen[str]"]

OWNER = """
import sys
from pathlib import Path
from rerankbench.engine.store import lock
lock.LEASE = {lease}
with lock.hold(Path(sys.argv[1]), "embedding"):
    print("owned", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


@pytest.fixture
def spawned() -> Any:
    """Start an owner of a file in a process of its own; it is running when the call returns."""
    running: list[subprocess.Popen[str]] = []

    def start(file: Path, lease: float = 120.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OWNER.format(lease=lease), str(file)]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout is not None
        assert running[-1].stdout.readline() == "owned\n"
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def seconds_to_take(file: Path) -> float:
    started = time.monotonic()
    with hold(file, "embedding"):
        return time.monotonic() - started


def test_the_file_says_who_owns_it_and_goes_with_the_owner(tmp_path: Path) -> None:
    file = tmp_path / "a.owner"
    with hold(file, "building an index"):
        name = rf"pid {os.getpid()} on host {re.escape(socket.gethostname())}"
        assert re.fullmatch(rf"{name}, which has been building an index for \d s", lock.owner(file))
        assert lock.held(file)
    assert not file.exists()
    assert not lock.held(file)
    with pytest.raises(ValueError, match="mine"), hold(file, "failing"):
        raise ValueError("mine")
    assert not file.exists()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    """Eight threads count up by reading, waiting and writing; a lock that lets two in loses counts."""
    counted = tmp_path / "count"
    counted.write_text("0")

    def count() -> None:
        for _ in range(5):
            with hold(tmp_path / "a.owner", "counting"):
                seen = int(counted.read_text())
                time.sleep(0.002)
                counted.write_text(str(seen + 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.read_text() == str(8 * 5)


def test_a_dead_process_of_this_machine_is_replaced_at_once(tmp_path: Path, spawned: Spawned) -> None:
    owner = spawned(tmp_path / "a.owner")
    assert lock.held(tmp_path / "a.owner")
    owner.kill()
    owner.wait()
    assert (tmp_path / "a.owner").exists()
    assert seconds_to_take(tmp_path / "a.owner") < 5


def test_who_asks_about_a_dead_process_is_told(tmp_path: Path, spawned: Spawned) -> None:
    owner = spawned(tmp_path / "a.owner")
    owner.kill()
    owner.wait()
    assert not lock.held(tmp_path / "a.owner")


def test_who_waits_says_for_whom(
    tmp_path: Path, spawned: Spawned, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.1)
    owner = spawned(tmp_path / "a.owner")
    threading.Timer(1.0, owner.kill).start()
    threading.Thread(target=owner.wait, daemon=True).start()
    with caplog.at_level(logging.INFO, "rerankbench"):
        seconds_to_take(tmp_path / "a.owner")
    host = re.escape(socket.gethostname())
    told = rf"waiting for pid {owner.pid} on host {host}, which has been embedding for \d s: .*a\.owner"
    assert len(re.findall(told, caplog.text)) >= 2


def test_a_hung_owner_is_replaced_after_its_lease(
    tmp_path: Path, spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal it touches nothing; woken up, it leaves the new owner's file alone."""
    monkeypatch.setattr(lock, "LEASE", 2.0)
    file = tmp_path / "a.owner"
    owner = spawned(file, lease=2.0)
    with pytest.raises(Timeout):  # while it runs, its lease never ends
        lock.lease(file).acquire(timeout=3.0)
    owner.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with hold(file, "scoring"):
        assert 1.0 < time.monotonic() - started < 20
        owner.send_signal(signal.SIGCONT)
        assert owner.communicate("\n", timeout=20)[0] == "released\n"
        assert f"pid {os.getpid()}" in lock.owner(file)


def marker(host: str, lease: float = 2.0) -> str:
    """What an owner on another machine wrote."""
    return (
        f"filelock/2\npid=1\nhost={host}\nmode=lease\ntoken=ab\nduration={lease!r}\nsince=1\ndoing=scoring\n"
    )


def test_an_owner_on_another_machine_is_given_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process number says nothing here. Its clock may be wrong by a year."""
    monkeypatch.setattr(lock, "LEASE", 2.0)
    file = tmp_path / "a.owner"
    file.write_text(marker("elsewhere"))
    os.utime(file, (time.time() - 365 * 86_400,) * 2)
    assert 2.0 <= seconds_to_take(file) < 10


def test_an_owner_on_another_machine_that_touches_its_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE", 1.0)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.1)  # more often than it touches
    file = tmp_path / "a.owner"
    file.write_text(marker("elsewhere", 1.0))
    done = threading.Event()

    def live() -> None:
        for _ in range(12):
            os.utime(file)
            time.sleep(0.3)
        done.set()

    threading.Thread(target=live).start()
    seconds_to_take(file)
    assert done.is_set()


@pytest.mark.parametrize(("left", "least"), [("", 0.5), (marker("elsewhere", 1.0), 2.0)])
def test_what_the_library_leaves_alone_is_removed(
    left: str,
    least: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An owner that died before it wrote its name; and a disk that cannot exchange files, as NFS."""
    from filelock import _soft

    monkeypatch.setattr(_soft, "exchange_names", lambda *_: False)
    monkeypatch.setattr(lock, "LEASE", 1.0)
    monkeypatch.setattr(lock, "NAMELESS_SECONDS", 0.5)
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.2)
    file = tmp_path / "a.owner"
    file.write_text(left)
    assert least <= seconds_to_take(file) < 10
    assert "taken over" in caplog.text


def compute(folder: str, barrier: Any) -> None:
    """What a job does: look, wait for whoever computes it, look again, compute."""
    file = Path(folder) / "result"
    barrier.wait()
    with hold(Path(folder) / "a.owner", "scoring"):
        if not file.exists():
            with open(Path(folder) / "computed", "a") as counted:
                counted.write(f"{os.getpid()}\n")
            time.sleep(0.3)
            file.write_text("done")


def test_of_many_waiters_one_takes_over_from_the_dead(tmp_path: Path, spawned: Spawned) -> None:
    owner = spawned(tmp_path / "a.owner")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    waiting = [context.Process(target=compute, args=(str(tmp_path), barrier)) for _ in range(4)]
    for process in waiting:
        process.start()
    time.sleep(1.0)
    owner.kill()
    owner.wait()
    for process in waiting:
        process.join(60)
    assert [process.exitcode for process in waiting] == [0] * 4
    assert len((tmp_path / "computed").read_text().splitlines()) == 1
    assert [file.name for file in tmp_path.glob("a.owner*")] == []


def test_two_owners_at_once_change_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any lock, eight threads append the same rows: the first value of each key stays."""
    from contextlib import nullcontext

    from rerankbench.engine.store import rows as store

    monkeypatch.setattr(store, "FileLock", lambda *_: nullcontext())
    rows, keys = RowStore(tmp_path, {}), text_keys([f"text {n}" for n in range(50)])
    values = np.arange(50, dtype=np.float32)[:, None]
    threads = [threading.Thread(target=rows.append, args=(keys, values, [0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, known = rows.lookup(keys, [0])
    assert known.all()
    np.testing.assert_array_equal(found, values)


def test_a_block_that_somebody_else_finishes_is_read(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two owners of one block: one finishes it and drops its parts while the other is in the middle."""
    from contextlib import nullcontext

    from rerankbench.engine import loop
    from rerankbench.engine.embedders import embedding
    from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
    from rerankbench.engine.embedders.embedding import Embedding
    from rerankbench.engine.hardware import Hardware
    from rerankbench.engine.run_context import RunContext

    texts, settings = [f"text {n}" for n in range(40)], Embedder(model=str(models / "bge-small-en"))

    def vectors(cache: Path) -> Any:
        bench = RunContext(Hardware("cpu", "fp32"), cache, batch_size=4)
        own = Embedding(settings, bench.hardware, bench.cache_dir, bench.budget())
        return own.passages(lambda rows: [texts[row] for row in rows], len(texts)).array()

    expected, forward, calls = vectors(tmp_path / "calm"), EmbedderModel.forward, []

    def overtaken(self: EmbedderModel, inputs: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 3:
            vectors(tmp_path / "shared")
        return forward(self, inputs)

    monkeypatch.setattr(embedding, "hold", lambda *_: nullcontext())
    monkeypatch.setattr(loop, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(EmbedderModel, "forward", overtaken)
    np.testing.assert_array_equal(vectors(tmp_path / "shared"), expected)
    assert len(calls) > 10 + 3
    assert not list((tmp_path / "shared" / "vectors").glob("*/*.part"))
