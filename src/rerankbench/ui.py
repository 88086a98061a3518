"""The command `rerankbench-ui`: MLflow's pages of the configured store, opened where runs are compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from rerankbench.errors import UserError
from rerankbench.tracking import MLflow

HOST = "127.0.0.1"  # the store has no password, so nobody else may reach it
START_SECONDS = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code: 0 done, 1 the server failed, 2 the user's mistake."""
    try:
        port, browser, words = read(sys.argv[1:] if argv is None else argv)
        return show(settings(words), port, browser)
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def read(argv: Sequence[str]) -> tuple[int, bool, list[str]]:
    import argparse

    parser = argparse.ArgumentParser(
        prog="rerankbench-ui", description=f"Compare runs in MLflow's pages, served on {HOST} only."
    )
    parser.add_argument("settings", nargs="*", help="tracking.uri=ADDRESS, tracking.experiment=NAME")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    words = parser.parse_args(argv)
    return words.port, not words.no_browser, words.settings


def settings(words: Sequence[str]) -> MLflow:
    """The store. Raises UserError for settings that are none, and for a store that is not there."""
    from rerankbench.config import convert

    values = dict(word.removeprefix("tracking.").split("=", 1) for word in words if word.startswith("tracking.") and "=" in word)
    problems = [f"{word}: give tracking.uri=ADDRESS or tracking.experiment=NAME" for word in words
                if not (word.startswith("tracking.") and "=" in word)]  # fmt: skip
    tracking = convert(MLflow, values, "tracking.", problems)
    problems += tracking.problems() if tracking is not None else []
    if tracking is not None and tracking.uri.startswith("sqlite") and not tracking.database.is_file():
        problems.append(f"tracking.uri={tracking.uri}: no store at {tracking.database} yet; run rerankbench here first")
    if problems or tracking is None:
        raise UserError(problems)
    return tracking


def show(tracking: MLflow, port: int, browser: bool) -> int:
    """Start a server where the store is a file, open the page, wait."""
    _, experiment_id = tracking.open()
    if tracking.uri.startswith("http"):
        announce(address(tracking.uri.rstrip("/"), experiment_id), browser)
        return 0
    server = serve(tracking, port)
    try:
        wait(server, f"http://{HOST}:{port}/health")
        announce(address(f"http://{HOST}:{port}", experiment_id), browser)
        return server.wait()
    finally:
        stop(server)


def address(root: str, experiment_id: str) -> str:
    """MLflow's page of an experiment with the runs' charts; it would open in its mode for agents otherwise."""
    wanted = urlencode({"workflowType": "machine_learning", "compareRunsMode": "CHART"})
    return f"{root}/?workflowType=machine_learning#/experiments/{experiment_id}/runs?{wanted}"


def serve(tracking: MLflow, port: int) -> subprocess.Popen[bytes]:
    """MLflow's server on this machine only."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking.absolute_uri,
               "--host", HOST, "--port", str(port), "--workers", "1"]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait(server: subprocess.Popen[bytes], health: str) -> None:
    """Until the server answers. Raises UserError where it ends or takes too long."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise UserError(f"MLflow's server ended at once ({health}); is the port taken? choose one with --port")
        try:
            with urlopen(health, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise UserError(f"MLflow's server does not answer at {health}")


def announce(url: str, browser: bool) -> None:
    sys.stdout.write(f"compare runs: {url}\n")
    sys.stdout.flush()
    if browser:
        webbrowser.open(url)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    import signal

    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
