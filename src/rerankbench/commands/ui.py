"""The command `rerankbench-ui`: MLflow's pages of the configured store, opened where runs are compared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlencode
from urllib.request import urlopen

from rerankbench.basics import printing
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import say
from rerankbench.commands import cli
from rerankbench.experiment.tracking import headline
from rerankbench.experiment.tracking.mlflow_store import MLflow

HOST = "127.0.0.1"  # the store has no password, so nobody else may reach it
START_SECONDS = 60
LAST_PORT = 65_535


@printing.command
@cli.command
def main(argv: list[str]) -> int:
    """Serve until interrupted; returns the exit code: 0 done, 1 the server failed, 2 the user's mistake."""
    with suppress(KeyboardInterrupt):
        port, browser, words = read(argv)
        return show(settings(words), port, browser)
    return 0


def read(argv: Sequence[str]) -> tuple[int, bool, list[str]]:
    parser = cli.Parser("rerankbench-ui", f"Compare runs in MLflow's pages, served on {HOST} only.")
    parser.add_argument("settings", nargs="*", help="tracking.uri=ADDRESS, tracking.experiment=NAME")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    words = parser.parse_intermixed_args(argv)
    if not 1 <= words.port <= LAST_PORT:
        raise UserError(f"--port {words.port}: choose 1 to {LAST_PORT}")
    return words.port, not words.no_browser, words.settings


def settings(words: Sequence[str]) -> MLflow:
    """The store. Raises UserError for settings that are none, and for a store that is not there."""
    from rerankbench.basics.typed_settings import convert
    from rerankbench.commands.hydra import as_typed

    good = [word for word in words if word.startswith("tracking.") and "=" in word]
    parted = [word.removeprefix("tracking.").partition("=") for word in good]
    values = {name: as_typed.text(value) for name, _, value in parted}
    cure = "give tracking.uri=ADDRESS or tracking.experiment=NAME"
    problems = [f"{word}: {cure}" for word in words if word not in good]
    tracking = convert(MLflow, values, "tracking.", problems)
    problems += tracking.problems() if tracking is not None else []
    if tracking is not None and tracking.uri.startswith("sqlite") and not tracking.database.is_file():
        what = f"no store at {tracking.database}"
        problems.append(f"{what}; run rerankbench first, or give tracking.uri=ADDRESS")
    if problems or tracking is None:
        raise UserError(problems)
    return tracking


def show(tracking: MLflow, port: int, browser: bool) -> int:
    """Start a server where the store is a file, open the page, wait."""
    client, experiment_id = tracking.open()
    headline.prepare(client, experiment_id)
    if tracking.uri.startswith("http"):
        announce(address(tracking.uri.rstrip("/"), experiment_id), browser)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server ends with this command
    server = serve(tracking, port)
    try:
        wait(server, f"http://{HOST}:{port}/health")
        announce(address(f"http://{HOST}:{port}", experiment_id), browser)
        return server.wait()
    finally:
        stop(server)


def address(root: str, experiment_id: str) -> str:
    """MLflow's page with the charts of an experiment's runs, as the view that was prepared shows them."""
    wanted = urlencode({"viewStateShareKey": headline.VIEW, "compareRunsMode": "CHART"})
    return f"{root}/?workflowType=machine_learning#/experiments/{experiment_id}/runs?{wanted}"


def serve(tracking: MLflow, port: int) -> subprocess.Popen[bytes]:
    """MLflow's server on this machine only."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.absolute_uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level error"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    # Its job workers are for language models' traces; seven processes of 240 MB each that nobody needs here.
    environment = {**os.environ, **quiet, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait(server: subprocess.Popen[bytes], health: str) -> None:
    """Until the server answers. Raises UserError where it ends or takes too long."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise UserError(
                f"MLflow's server ended at once ({health}); if the port is taken, choose one with --port"
            )
        with suppress(OSError), urlopen(health, timeout=2):
            return
        time.sleep(0.3)
    raise UserError(f"MLflow's server does not answer at {health}")


def announce(url: str, browser: bool) -> None:
    say(f"compare runs: {url}")
    if browser:
        webbrowser.open(url)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
