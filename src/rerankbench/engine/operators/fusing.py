"""Whether a model's small operators are fused where it runs, found out without loading anything.

Fused operators round less often, so scores with them and without differ in last digits.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from rerankbench.engine.hardware import Hardware

# Values of model_type whose norms, gates and rotations `fused` knows.
KINDS = ("cost_wise_gemma", "gemma", "gemma2", "llama", "minicpm", "mistral", "qwen2")


def has_kernels() -> bool:
    """Whether `rerankbench[gpu]` is installed."""
    return find_spec("liger_kernel") is not None


def fused_by(kind: str | None, hardware: Hardware) -> str | None:
    """What fuses operators of a model of this kind on this hardware, with its version; None if nothing."""
    halved = hardware.device.startswith("cuda") and hardware.precision != "fp32"
    if kind not in KINDS or not halved or not has_kernels():
        return None
    return f"liger-kernel {version('liger-kernel')}"
