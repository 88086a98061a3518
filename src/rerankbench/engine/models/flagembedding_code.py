"""The two model classes that only FlagEmbedding has: they are no part of transformers or of the weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.model_config import older_rope, reads_version_5

MODELS = "FlagEmbedding.inference.reranker.decoder_only.models."
# What FlagEmbedding 1.4.2 imports of transformers and version 5 has no more; none of it is called here.
GONE_MODULE = "transformers.modeling_attn_mask_utils"
GONE = (
    "AttentionMaskConverter",
    "_prepare_4d_attention_mask",
    "_prepare_4d_causal_attention_mask",
    "_prepare_4d_causal_attention_mask_for_sdpa",
)


def layerwise_class() -> Any:
    """What reads bge-reranker-v2-minicpm-layerwise. Raises UserError where FlagEmbedding does not import."""
    found = code("modeling_minicpm_reranker").LayerWiseMiniCPMForCausalLM
    return as_in_version_4(found) if reads_version_5() else found


def lightweight_class() -> Any:
    """What reads bge-reranker-v2.5-gemma2-lightweight. Raises UserError as `layerwise_class`."""
    return code("gemma_model").CostWiseGemmaForCausalLM


def token_merger() -> Any:
    """What merges neighbouring tokens of documents for lightweight models."""
    return code("gemma_model").token_compress


def code(module: str) -> Any:
    """One of FlagEmbedding's modules of models."""
    import transformers

    try:
        with what_is_gone():
            return importlib.import_module(MODELS + module)
    except ImportError as error:
        raise UserError(
            f"this reranker is computed by FlagEmbedding's code, which does not import with transformers "
            f"{transformers.__version__} ({error}); pip install 'transformers<5' cures it"
        ) from error


@contextmanager
def what_is_gone() -> Iterator[None]:
    """Let modules be imported that name functions which transformers no longer has."""
    if importlib.util.find_spec(GONE_MODULE):
        yield
        return
    module = sys.modules[GONE_MODULE] = ModuleType(GONE_MODULE)
    vars(module).update(dict.fromkeys(GONE, gone))
    try:
        yield
    finally:
        del sys.modules[GONE_MODULE]


def gone(*_: Any, **__: Any) -> Any:
    raise ImportError("this version of transformers no longer has what FlagEmbedding calls here")


def as_in_version_4(known: Any) -> Any:
    """MiniCPM's class for version 5, which renames what the config says of positions, and leaves tables of
    them that are no weights without values."""

    class Model(known):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            with scaling_of_version_4(config):
                super().__init__(config)

        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> Any:
            model = super().from_pretrained(*args, **options)
            for module in model.modules():
                if hasattr(module, "_set_cos_sin_cache") and model.device.type != "meta":
                    fill_positions(module, model.device)
            return model

    return Model


@contextmanager
def scaling_of_version_4(config: Any) -> Iterator[None]:
    """Inside, `rope_scaling` is what version 4 makes of it: None, or a type and a factor."""
    held = config.rope_parameters
    scaling = older_rope({"rope_parameters": held, "model_type": config.model_type}).get("rope_scaling")
    config.rope_parameters = scaling and {"type": scaling.get("rope_type"), **scaling}
    try:
        yield
    finally:
        config.rope_parameters = held


def fill_positions(rotary: Any, device: Any) -> None:
    """Compute the angles of a MiniCPMRotaryEmbedding, as it does itself when it is made."""
    import torch

    steps = torch.arange(0, rotary.dim, 2).float().to(device)
    rotary.inv_freq = 1.0 / (rotary.base ** (steps / rotary.dim))
    rotary._set_cos_sin_cache(rotary.max_position_embeddings, device, torch.float32)
