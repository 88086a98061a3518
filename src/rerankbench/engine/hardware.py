"""What this machine computes on, in which precision, and what that costs in memory."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8", "use_fp16")
# Tokens per forward when none are asked for: enough to fill the matrix units, few enough to pad little and
# stay in the CPU's caches (1024 was as fast as 4096 there); accelerators want two orders of magnitude more.
CPU_TOKENS = 1024
ACCELERATOR_TOKENS = 32768
# Of one forward pass: some 20 ms of a data-centre GPU, in which the next can be handed over.
BUSY_FLOP = 16e12


@dataclass(frozen=True)
class Hardware:
    """A device in torch's spelling (cpu, cuda:0, mps) and the precision models compute in."""

    device: str
    precision: Precision

    @property
    def dtype(self) -> Any:
        """What weights are read as; for int8 it is what their products are made of afterwards."""
        import torch

        halves = {"fp16": torch.float16, "bf16": torch.bfloat16}
        return halves.get(self.precision, torch.float32)

    @property
    def batch_tokens(self) -> int:
        return CPU_TOKENS if self.device == "cpu" else ACCELERATOR_TOKENS

    def enough_tokens(self, weights: int) -> int | None:
        """Tokens that keep an accelerator busy with a model of so many weights; no number for CPUs."""
        return None if self.device == "cpu" else max(8192, int(BUSY_FLOP / (2 * weights)))

    @property
    def streams(self) -> int:
        """Batches to compute at a time: one for each CPU thread; an accelerator queues them itself."""
        import torch

        return torch.get_num_threads() if self.device == "cpu" else 1

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given, so that clocks mean something."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        elif self.device == "mps":
            torch.mps.synchronize()


def choose(device: str = "auto", precision: str = "auto") -> Hardware:
    """The hardware that `device` and `precision` ask for; auto takes the fastest that keeps quality.

    bf16 where the device multiplies it natively (CPUs with AVX512_BF16 or AMX, Ampere and later GPUs),
    else fp16 on GPUs and fp32 on CPUs. use_fp16 is FlagEmbedding's: fp16 on GPUs, fp32 on CPUs.
    """
    device = first_device() if device == "auto" else device
    if precision == "auto":
        return Hardware(device, fastest_precision(device))
    if precision == "use_fp16":
        return Hardware(device, "fp32" if device == "cpu" else "fp16")
    return Hardware(device, precision)  # type: ignore[arg-type]


def use_threads(threads: int) -> None:
    """Threads that torch and FAISS compute with."""
    import faiss
    import torch

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


def first_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fastest_precision(device: str) -> Precision:
    import torch

    if device == "cpu":
        return "bf16" if cpu_multiplies_bf16() else "fp32"
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "fp16"


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has bf16 matrix instructions; emulated bf16 would be slower than fp32."""
    return not cpu_flags().isdisjoint(("avx512_bf16", "amx_bf16"))


def cpu_multiplies_int8() -> bool:
    """Whether this CPU multiplies and adds int8 in one instruction; without, sums would overflow."""
    return not cpu_flags().isdisjoint(("avx512_vnni", "avx_vnni", "amx_int8"))


def cpu_flags() -> set[str]:
    """What Linux says that this CPU can do; nothing elsewhere."""
    flags = Path("/proc/cpuinfo")
    return set(flags.read_text().split()) if flags.exists() else set()


def problems(device: str, precision: str) -> list[str]:
    """What is wrong with the asked device and precision, one line each, without loading anything."""
    found = []
    if precision not in PRECISIONS:
        found.append(f"precision={precision}: choose one of {', '.join(PRECISIONS)}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        found.append(f"device={device}: choose auto, cpu, cuda, cuda:N or mps")
    elif device.startswith("cuda") and not has_cuda():
        found.append(f"device={device}: this machine has no CUDA device that torch can use; device=cpu works")
    elif device.startswith("cuda:") and int(device[5:]) >= cuda_devices():
        found.append(f"device={device}: this machine has {cuda_devices()} CUDA devices, counted from 0")
    elif device == "mps" and not has_mps():
        found.append("device=mps: this machine has no Apple GPU that torch can use; device=cpu works")
    elif precision == "fp16" and (device == "cpu" or (device == "auto" and not (has_cuda() or has_mps()))):
        found.append(
            "precision=fp16: CPUs multiply fp16 more slowly than fp32; use precision=auto (bf16 where the "
            "CPU has the instructions, else fp32) or a GPU (device=cuda)"
        )
    elif precision == "int8" and (line := int8_problem(device)):
        found.append(line)
    return found


def int8_problem(device: str) -> str:
    """What keeps int8 from being computed on this device; empty where nothing does."""
    if device.startswith(("cuda", "mps")):
        return f"precision=int8: models are computed in int8 on CPUs only; use precision=auto on {device}"
    if device == "auto" and (has_cuda() or has_mps()):
        return (
            "precision=int8: models are computed in int8 on CPUs only, and device=auto takes this machine's "
            "GPU; add device=cpu, or use precision=auto"
        )
    if not cpu_multiplies_int8():
        return (
            "precision=int8: this CPU has no int8 instructions (AVX512-VNNI, AVX-VNNI or AMX); "
            "use precision=auto"
        )
    if find_spec("numba") is None:
        return "precision=int8: needs numba, which is not installed: pip install 'rerankbench[int8]'"
    return ""


def has_cuda() -> bool:
    """Whether torch can use a CUDA device; where there is no driver, torch need not be asked."""
    drivers = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if sys.platform.startswith("linux") and not any(Path(driver).exists() for driver in drivers):
        return False
    return cuda_devices() > 0


def cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


def has_mps() -> bool:
    if platform.system() != "Darwin":
        return False
    import torch

    return torch.backends.mps.is_available()


def environment(hardware: Hardware) -> dict[str, Any]:
    """What a figure depends on besides the config: machine, versions, threads."""
    import importlib.metadata as metadata

    import torch

    names = ("rerankbench", "torch", "transformers", "FlagEmbedding", "faiss-cpu", "numpy", "datasets")
    versions = {name: metadata.version(name) for name in names}
    for extra in ("liger-kernel", "onnxruntime", "numba"):
        with suppress(metadata.PackageNotFoundError):
            versions[extra] = metadata.version(extra)
    return {
        "device": hardware.device,
        "device_name": device_name(hardware.device),
        "precision": hardware.precision,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "versions": versions,
    }


def fingerprint(hardware: Hardware) -> dict[str, Any]:
    """What tells this machine's speed from another's."""
    import torch

    return {"device": device_name(hardware.device), "threads": torch.get_num_threads()}


def device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


begun = 0  # runs of this process


def shared_process() -> bool:
    """Whether an earlier run of this process has left something in its memory: libraries, models, caches."""
    return begun > 1


def reset_peak_memory(hardware: Hardware) -> None:
    """Begin a new peak: runs of one process that follow each other do not inherit it (on Linux)."""
    import torch

    global begun
    begun += 1

    with suppress(OSError):  # not Linux, or not allowed: the peak is the whole process's
        Path("/proc/self/clear_refs").write_text("5")
    if hardware.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(hardware.device)


def peak_memory_mb(hardware: Hardware) -> dict[str, float | None]:
    """Peak resident memory since `reset_peak_memory`, and on the CUDA device, in MB (10^6 bytes)."""
    import torch

    on_cuda = hardware.device.startswith("cuda")
    cuda = torch.cuda.max_memory_allocated(hardware.device) / 1e6 if on_cuda else None
    return {"peak_rss": peak_resident() / 1e6, "peak_cuda": cuda}


def peak_resident() -> int:
    """Bytes of this process's peak.

    Linux's ru_maxrss is no less than what the process had that started this one: it outlives exec. VmHWM is
    of this program alone.
    """
    import resource

    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
