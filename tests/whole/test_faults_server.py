"""An MLflow server that dies at any moment: results are kept, and logged later exactly once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import faults
from commands import store
from rerankbench.commands import track
from small_collection import command, numbers
from warm import Command

pytestmark = pytest.mark.faults  # each start of a server takes six seconds

CLIENT = "mlflow.tracking:MlflowClient"
MOMENTS = {  # the call of MLflow's client before which the server dies
    "at the start": f"{CLIENT}.get_experiment_by_name",
    "after the run was made": f"{CLIENT}.log_batch",
    "in the middle": f"{CLIENT}.log_inputs",
    "before the files": f"{CLIENT}.log_artifact",
    "at the end": f"{CLIENT}.set_terminated",
}


class Server:
    """A real MLflow server on loopback that can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri_of_store = folder, store(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1", "--backend-store-uri", self.uri_of_store,
                   "--artifacts-destination", str(self.folder / "artifacts")]  # fmt: skip
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        until = time.monotonic() + 90
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, 9)
            self.process.wait(20)
            self.process = None

    def runs(self) -> list[Any]:
        """Runs that people see."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri_of_store)
        found = client.get_experiment_by_name("rerankbench")
        return list(client.search_runs([found.experiment_id])) if found else []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_dies(moment: str, server: Server, models: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    wait = partial(faults.wait_before, MOMENTS[moment], 1, here)
    process = Command(command(models, tmp_path, f"tracking.uri={server.uri}"), tmp_path / "cwd", wait)
    process.wait_for(here)
    server.kill()
    here.unlink()
    assert process.wait() == 0, process.printed()
    assert "Traceback" not in process.printed()
    out = tmp_path / "out"
    assert f"does not answer); the results are kept, log them later with: rerankbench-track {out}" in (
        process.printed()
    )
    assert f"mlflow     {server.uri}" not in process.printed()
    kept = numbers(out)

    assert track.main([str(out)]) == 1  # still down: says so, loses nothing
    assert numbers(out) == kept
    server.start()
    for _ in range(2):
        assert track.main([str(out)]) == 0
    (logged,) = server.runs()
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["ndcg_at_2"] == kept["measures"]["reranked"]["ndcg_at_2"]
