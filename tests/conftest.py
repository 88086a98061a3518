"""Fixtures that several files of tests share: the tiny models, built once; what keeps tests apart."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, Phase, settings

from tiny_models import build_all

# Models this small only get slower by a second thread, on a busy machine by a factor of ten. Besides, one
# thread computes one batch after the other; with two, how many are done when a test breaks in is chance. So
# it is one, whatever the shell says.
os.environ["OMP_NUM_THREADS"] = "1"

# Nothing that is written here has to outlive the machine, and a disk takes milliseconds to promise it, a
# dozen times a run. That what is stored is synced is tested with an fsync that notes what it is called with.
os.fsync = lambda descriptor: None

# Property tests draw the same examples every time, on any machine: in `make test`, and so in CI. New ones are
# drawn by `make fuzz`; what it finds becomes an @example of its test. A slow machine is no fault of the code.
settings.register_profile(
    "fixed", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)  # with the database of what failed before, .hypothesis/
# For mutation testing: the first example that fails is enough, and slow is not failed.
settings.register_profile(
    "mutants",
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fixed")  # --hypothesis-profile, which pytest reads later, takes its place


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every tiny model under its name; read it, do not change it."""
    if written := os.environ.get("RERANKBENCH_VERSION_FOLDERS"):  # make tests-transformers5
        return Path(written, "4")
    root = tmp_path_factory.mktemp("models")
    for _ in build_all(root):
        pass
    return root


@pytest.fixture(scope="session")
def hashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the hashes of those models, so that they are not computed in every test."""
    return tmp_path_factory.mktemp("hashes")


THREADS = {  # libraries that compute in threads of their own: how many, and how that is set
    "torch": ("get_num_threads", "set_num_threads"),
    "faiss": ("omp_get_max_threads", "omp_set_num_threads"),
}


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """`threads=2` in a command of this process ends with its test; other files' tests may come next."""
    at_import = int(os.environ["OMP_NUM_THREADS"])
    before = thread_counts()
    yield
    for name, now in thread_counts().items():
        if now != before.get(name, at_import):
            getattr(sys.modules[name], THREADS[name][1])(before.get(name, at_import))


def thread_counts() -> dict[str, int]:
    """Threads of each library that is imported by now."""
    loaded = [name for name in THREADS if name in sys.modules]
    return {name: getattr(sys.modules[name], THREADS[name][0])() for name in loaded}


RAY_SECONDS = 180  # for one test under the marker `ray`; each takes seconds on two quiet cores


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Ray test that hangs fails; where even that hangs, all stacks are shown and pytest ends."""
    if request.node.get_closest_marker("ray") is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {RAY_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(RAY_SECONDS)
    faulthandler.dump_traceback_later(RAY_SECONDS + 60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
