"""What computes a model where it runs, as far as its precision does not say it; nothing is loaded.

Other operators round elsewhere, so scores differ in last digits: their names are part of what scores and
vectors are stored under.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.operators.fusing import FLAT, FUSED, has_kernels


def operators(folder: Path, hardware: Hardware) -> dict[str, str]:
    """{"operators": ...} of the model in `folder` on this hardware; empty for torch's plain ones."""
    if not hardware.device.startswith("cuda"):
        return {}
    kind, half = json_object(folder / "config.json").get("model_type"), hardware.precision != "fp32"
    found = []
    if half and kind in FUSED and has_kernels():
        found.append(f"liger-kernel {version('liger-kernel')}")
    if half and kind in FLAT and attends_ragged(hardware):
        found.append("varlen_attn")
    if kind == "t5" and find_spec("apex") is not None:
        found.append("apex")  # whose norms transformers then uses
    if not half and multiplies_tf32():
        found.append("tf32")
    return {"operators": ", ".join(found)} if found else {}


def multiplies_tf32() -> bool:
    """Whether products of float32 keep 10 bits of 23, as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 makes them."""
    import torch

    return torch.get_float32_matmul_precision() != "highest"


def attends_ragged(hardware: Hardware) -> bool:
    """Whether attention sees sequences as they lie, and not in padded rows."""
    import torch

    from rerankbench.engine.operators.layout import takes_ragged

    here = torch.cuda.is_available()
    return here and takes_ragged(torch.device(hardware.device), hardware.dtype)


def stored(folder: Path) -> bool:
    """Whether what a model computed is in `folder`: then it has been loaded before, as it is now."""
    return any(file.suffix in (".shard", ".npy") for file in folder.iterdir()) if folder.is_dir() else False


def refuse_others(label: str, here: Mapping[str, str], asked: Mapping[str, Any]) -> None:
    """Raise UserError unless this machine computes a model with the operators that a run began with."""
    own, others = (parts.get("operators", "plain torch") for parts in (here, asked))
    if own != others:
        raise UserError(
            f"{label}: another machine of the cluster computes with {own}, this run with {others}; install "
            "the same versions on both"
        )
