"""Decoder models with their small operators fused, on CUDA devices.

Norms, rotations and gates of decoder models each read and write all hidden states several times, in fp32 in
between; on an H100 they take half of the time of bge-reranker-v2-minicpm-layerwise. Liger Kernel
(arXiv:2410.10989) does each in one pass. It comes with `pip install rerankbench[gpu]`; without it, in fp32
and on other devices, models run as they are. Results differ in how often they are rounded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason
from rerankbench.engine.operators.fusing import FUSED, has_kernels

log = logging.getLogger(__name__)

KINDS = ("Gemma", "Gemma2", "Llama", "MiniCPM", "Mistral", "Qwen2")  # of models, as their classes begin
# Of each norm, what is added to its weights, and where it rounds: before the weights (llama) or after.
NORMS = {f"{kind}RMSNorm": (1.0, "gemma") if "Gemma" in kind else (0.0, "llama") for kind in KINDS}
# Blocks that are down(activation(gate(x)) * up(x)), and attentions that rotate halves of whole heads.
GATED = {f"{kind}MLP" for kind in KINDS}
ROTATED = {f"{kind}Attention" for kind in KINDS} | {"MiniCPMSdpaAttention", "MiniCPMFlashAttention2"}
OWN = ("transformers.models.", "FlagEmbedding.", "rerankbench.")  # not a model folder's own code


def fuse(model: nn.Module) -> None:
    """Replace the norms and gates below a `model` of a kind in `FUSED` by fused ones, and its rotations.

    Other kinds may borrow the same classes; what their scores are stored under does not tell of it.
    """
    if getattr(model.config, "model_type", None) not in FUSED:
        return
    if not has_kernels():
        log.info("pip install 'rerankbench[gpu]' makes this reranker faster on this device")
        return
    try_kernels(next(model.parameters()))
    replace(model)


def try_kernels(like: Tensor) -> None:
    """Compile and run kernels where `like` is, which takes a C compiler and Python's headers.

    Raises UserError where that fails: without them scores would be others than what they are stored as.
    """
    try:
        with torch.inference_mode():
            rows = torch.ones(1, 2, 16, 16, dtype=like.dtype, device=like.device)
            angles = torch.ones(1, 16, 16, device=like.device)
            normed(silu_gate(gelu_gate(rows, rows), rows), rows[0, 0, 0], 1e-6, 0.0, "llama")
            rotated(rows, rows.clone(), angles, angles)
    except Exception as error:  # whatever compilers and drivers raise
        raise UserError(
            f"liger-kernel is installed, but its kernels do not run here ({reason(error)}); install a C "
            "compiler and Python's headers, or go without: pip uninstall liger-kernel"
        ) from error


def replace(model: nn.Module) -> None:
    for name, child in list(model.named_children()):
        kind = type(child).__name__
        if not type(child).__module__.startswith((*OWN, "torch.")):
            continue
        if kind in NORMS:
            setattr(model, name, FusedNorm(child))
        elif kind in GATED and gate(child.act_fn):
            setattr(model, name, FusedFeedForward(child))
        else:
            if kind in ROTATED:
                fuse_rotation(child)
            replace(child)


class FusedNorm(nn.Module):
    """Root mean square normalisation (arXiv:1910.07467) in one pass."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.offset, self.casting = NORMS[type(norm).__name__]
        self.eps: float = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return normed(hidden.contiguous(), self.weight, self.eps, self.offset, self.casting)


def normed(hidden: Tensor, weight: Tensor, eps: float, offset: float, casting: str) -> Tensor:
    """hidden / root mean square * (offset + weight), by rows."""
    from liger_kernel.ops.rms_norm import rms_norm_forward

    rows: Tensor = rms_norm_forward(hidden, weight, eps, offset, casting, None)[0]
    return rows.view_as(hidden)


class FusedFeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)), activation and product in one pass."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = block.gate_proj, block.up_proj, block.down_proj
        self.gate = gate(block.act_fn)

    def forward(self, hidden: Tensor) -> Tensor:
        assert self.gate is not None
        return self.down_proj(self.gate(self.gate_proj(hidden), self.up_proj(hidden)))


def gate(activation: Any) -> Callable[[Tensor, Tensor], Tensor] | None:
    """What multiplies the activation of one tensor with another; None where that is not fused."""
    return {
        "GELUTanh": gelu_gate,
        "PytorchGELUTanh": gelu_gate,
        "SiLU": silu_gate,
        "SiLUActivation": silu_gate,
    }.get(type(activation).__name__)


def gelu_gate(left: Tensor, right: Tensor) -> Tensor:
    """gelu(left) * right, with the approximation by tanh."""
    from liger_kernel.ops.geglu import geglu_forward

    product: Tensor = geglu_forward(left, right)[2]
    return product


def silu_gate(left: Tensor, right: Tensor) -> Tensor:
    """silu(left) * right."""
    from liger_kernel.ops.swiglu import swiglu_forward

    product: Tensor = swiglu_forward(left, right)[2]
    return product


# Attention calls a function of its module to rotate queries and keys; it is fused inside ours alone.
inside: ContextVar[bool] = ContextVar("inside", default=False)


def fuse_rotation(attention: nn.Module) -> None:
    """Rotate the queries and keys of this attention, and of no other, in one pass."""
    module: Any = sys.modules[type(attention).__module__]
    if not isinstance(module.apply_rotary_pos_emb, Rotation):
        module.apply_rotary_pos_emb = Rotation(module.apply_rotary_pos_emb)
    attention.register_forward_pre_hook(lambda *_: note(True))
    attention.register_forward_hook(lambda *_: note(False), always_call=True)


def note(within: bool) -> None:
    inside.set(within)


class Rotation:
    """Rotary positions (arXiv:2104.09864): a model's own function, or the fused one while `inside`."""

    def __init__(self, plain: Callable[..., tuple[Tensor, Tensor]]) -> None:
        self.plain = plain

    def __call__(
        self, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys [n, heads, width, size], rotated by cosines and sines [n or 1, width, size].

        MiniCPM gives those of every position there is, and the positions after them.
        """
        if not inside.get():
            return self.plain(query, key, cos, sin, *more, **named)
        if cos.dim() == 2:
            positions = more[0] if more else named["position_ids"]
            cos, sin = cos[positions], sin[positions]
        return rotated(query, key, cos.float(), sin.float())


def rotated(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotated in the precision of `cos` and `sin` [1, width, size], and rounded once.

    Batches are given as one long row: the kernel is compiled anew for each number of rows.
    """
    from liger_kernel.ops.rope import rope_forward

    rows = len(query)
    cos, sin = (table.expand(rows, -1, -1).reshape(1, -1, table.shape[-1]) for table in (cos, sin))
    with torch.cuda.device_of(query):  # unlike the others, this kernel runs on the current device
        turned = rope_forward(in_one_row(query), in_one_row(key), cos, sin)[:2]
    query, key = (one.transpose(1, 2).unflatten(1, (rows, -1))[0].transpose(1, 2) for one in turned)
    return query, key


def in_one_row(heads: Tensor) -> Tensor:
    """[n, heads, width, size] to [1, heads, n * width, size]."""
    return heads.transpose(1, 2).flatten(0, 1)[None].transpose(1, 2)
