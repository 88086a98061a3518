"""Which models have operators of their own on CUDA devices: their names are part of what is stored."""

from __future__ import annotations

from importlib.util import find_spec

# Values of model_type whose norms, gates and rotations `fused` replaces, in these models alone.
FUSED = ("cost_wise_gemma", "gemma", "gemma2", "llama", "minicpm", "mistral", "qwen2")
# Values of model_type whose attention `flat_encoder` computes over sequences as they lie.
FLAT = ("bert", "roberta", "xlm-roberta")


def has_kernels() -> bool:
    """Whether `rerankbench[gpu]` is installed."""
    return find_spec("liger_kernel") is not None
