"""Ray on several machines, simulated by Ray's own `Cluster`: nodes of one CPU each, one of them killed."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import test_executors as single
from test_executors import small_windows  # noqa: F401

from rerankbench.engine.executors import crew
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.ray import Ray
from rerankbench.rerankers.scoring.pair_scoring import score

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed"),
]

ONE_EACH = Ray(cpus_per_worker=1)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Two nodes of one CPU each, beside a head without any; this process is the driver."""
    import ray
    from ray.cluster_utils import Cluster

    paths = [*single.PLACES, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    for name, value in single.RAY.items():
        monkeypatch.setenv(name, value)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
        ray.init(cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        yield nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def workers_at(folder: Path) -> dict[str, int]:
    """How many batches each process of a mortal model computed."""
    return {file.suffix: len(file.read_text()) for file in folder.glob("alive.*")}


def test_two_machines_give_the_local_scores(machines: list[Any], tmp_path: Path) -> None:
    work = single.mortal_work(tmp_path / "orders", tmp_path, pause=0.05)
    scored = score(work, ONE_EACH)
    np.testing.assert_array_equal(scored.values, single.undisturbed(tmp_path))
    assert len(workers_at(tmp_path / "orders")) == 2


def test_a_machine_that_is_killed_is_done_without(
    machines: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker dies with it, another one waits for a place in vain; what is left does all the work."""
    work = single.mortal_work(tmp_path / "orders", tmp_path, pause=0.3)

    def kill() -> None:
        while len(workers_at(tmp_path / "orders")) < 2:
            time.sleep(0.05)
        end(machines[0])

    killer = threading.Thread(target=kill)
    killer.start()
    scored = score(work, ONE_EACH)
    killer.join()
    assert "trying again" in caplog.text
    np.testing.assert_array_equal(scored.values, single.undisturbed(tmp_path))


def test_embedding_does_without_a_machine_that_is_killed(
    machines: list[Any], models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill() -> None:
        while not list((tmp_path / "killed").glob("vectors/*/*.npy")):
            time.sleep(0.01)
        end(machines[0])

    texts = single.numbered(100)  # work for longer than it takes to find and kill a machine's processes
    killer = threading.Thread(target=kill)
    killer.start()
    found, _ = single.many_vectors(models, tmp_path / "killed", ONE_EACH, texts)
    killer.join()
    # its worker was at work, or still loading its model
    assert "trying again" in caplog.text or "could not start" in caplog.text
    np.testing.assert_array_equal(found, single.many_vectors(models, tmp_path / "calm", Local(), texts)[0])


def test_a_cluster_that_is_lost_is_reported(
    machines: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Work was done, then all workers are gone and none comes back: that is said, and ends the run."""
    monkeypatch.setattr(crew, "START_SECONDS", 8.0)
    monkeypatch.setattr(crew, "WAIT_SECONDS", 2.0)
    monkeypatch.setattr(crew, "ATTEMPTS", 9)
    work = single.mortal_work(tmp_path / "orders", tmp_path, pause=0.3)

    def kill() -> None:
        while not list(work.store.folder.glob("*.shard")):
            time.sleep(0.05)
        for node in machines:
            end(node)

    killer = threading.Thread(target=kill)
    killer.start()
    with (
        caplog.at_level("INFO", "rerankbench"),
        pytest.raises(RuntimeError, match="no worker started within 8 s"),
    ):
        score(work, ONE_EACH)
    killer.join()
    assert "waiting for Ray to start 2 workers" in caplog.text


def end(node: Any) -> None:
    """Kill all processes of a node, as a power cut would; its workers are children of its own processes."""
    own = [psutil.Process(one.process.pid) for kind in node.all_processes.values() for one in kind]
    for process in [*(child for parent in own for child in parent.children(recursive=True)), *own]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
