"""Peak memory is a run's own, not what an earlier run of the same process needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rerankbench.engine import hardware
from rerankbench.engine.hardware import Hardware

CPU = Hardware("cpu", "fp32")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process begin a new peak")
def test_a_run_does_not_inherit_the_peak_of_the_one_before() -> None:
    large = np.ones(50_000_000)  # 400 MB
    during = hardware.peak_memory_mb(CPU)["peak_rss"]
    del large
    hardware.reset_peak_memory(CPU)
    after = hardware.peak_memory_mb(CPU)["peak_rss"]
    assert during is not None
    assert after is not None
    assert after < during - 350


def test_a_process_does_not_inherit_the_peak_of_the_one_that_starts_it() -> None:
    """ru_maxrss does: every contestant of a race would seem to need what the race itself had."""
    large = np.ones(75_000_000)  # 600 MB
    code = "from rerankbench.engine.hardware import peak_resident; print(peak_resident())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200e6 < large.nbytes


def test_the_peak_of_a_cuda_device_is_not_made_up() -> None:
    assert hardware.peak_memory_mb(CPU)["peak_cuda"] is None


def test_enough_tokens_are_less_for_larger_models_and_no_number_for_cpus() -> None:
    assert CPU.enough_tokens(302_000_000) is None
    gpu = Hardware("cuda:0", "bf16")
    large, small = gpu.enough_tokens(9_000_000_000), gpu.enough_tokens(300_000_000)
    assert large is not None
    assert small is not None
    assert large < small < gpu.batch_tokens


def test_an_extra_of_another_name_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """liger-kernel-nightly brings the same module; so does any folder of that name."""
    (tmp_path / "liger_kernel").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert {"torch", "rerankbench"} <= set(hardware.environment(CPU)["versions"])
