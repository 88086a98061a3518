"""The two model classes that only FlagEmbedding has: they are no part of transformers or of the weights."""

from __future__ import annotations

import importlib
from typing import Any

from rerankbench.basics.errors import UserError

MODELS = "FlagEmbedding.inference.reranker.decoder_only.models."


def layerwise_class() -> Any:
    """What reads bge-reranker-v2-minicpm-layerwise. Raises UserError where FlagEmbedding does not import."""
    return code("modeling_minicpm_reranker").LayerWiseMiniCPMForCausalLM


def lightweight_class() -> Any:
    """What reads bge-reranker-v2.5-gemma2-lightweight. Raises UserError as `layerwise_class`."""
    return code("gemma_model").CostWiseGemmaForCausalLM


def token_merger() -> Any:
    """What merges neighbouring tokens of documents for lightweight models."""
    return code("gemma_model").token_compress


def code(module: str) -> Any:
    """One of FlagEmbedding's modules of models."""
    try:
        return importlib.import_module(MODELS + module)
    except ImportError as error:
        import transformers

        raise UserError(
            f"this reranker is computed by FlagEmbedding's code, which does not import with transformers "
            f"{transformers.__version__} ({error}); pip install 'transformers<5' has it"
        ) from error
