"""FlagEmbedding's own `compute_score` in fp32 on the CPU: what our rerankers are compared with.

FlagEmbedding 1.4.2 runs its layerwise and lightweight models on transformers 4.57 only with the repairs
below. They are test code, independent of how the package itself runs these models.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rerankbench.engine.models.model_config import reads_version_5
from tiny_models import quiet_transformers

Pair = tuple[str, str]
Constructor = Callable[..., Any]


def oracle_scores(
    family: str,
    folder: str | Path,
    pairs: Sequence[Pair],
    *,
    max_length: int = 512,
    query_max_length: int | None = None,
    cutoff_layers: Sequence[int] | None = None,
    compress_layers: Sequence[int] | None = None,
    compress_ratio: int | None = None,
    prompt: str | None = None,
    batch_size: int = 8,
) -> NDArray[np.float32]:
    """Raw scores [pairs, layers] of the model in `folder`, columns in the order of `cutoff_layers`.

    `family` is encoder, llm, layerwise or lightweight. `cutoff_layers` None means the last layer, and is all
    that encoder and llm have. Each layer is asked for by a call of its own: asked for together, the
    lightweight model applies its heads by their place in the list. None elsewhere means FlagEmbedding's
    default.
    """
    options = {
        "query_max_length": query_max_length,
        "compress_layers": None if compress_layers is None else list(compress_layers),
        "compress_ratio": compress_ratio,
        "prompt": prompt,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    layers = [None] if cutoff_layers is None else [[layer] for layer in cutoff_layers]
    reranker = load(family, folder)
    given |= {"batch_size": batch_size, "max_length": max_length}
    calls = [given if layer is None else given | {"cutoff_layers": layer} for layer in layers]
    with quiet():
        columns = [reranker.compute_score(list(pairs), **call) for call in calls]
    assert_fp32(reranker)
    return np.array(columns, dtype=np.float32).T


def load(family: str, folder: str | Path) -> Any:
    """The FlagEmbedding reranker of `family` on the CPU in fp32, repaired for transformers 4.57."""
    FlagEmbedding = imported()
    constructors: dict[str, tuple[Constructor, Callable[[Any], None]]] = {
        "encoder": (FlagEmbedding.FlagReranker, leave_as_it_is),
        "llm": (FlagEmbedding.FlagLLMReranker, leave_as_it_is),
        "layerwise": (FlagEmbedding.LayerWiseFlagLLMReranker, repair_layerwise),
        "lightweight": (FlagEmbedding.LightWeightFlagLLMReranker, repair_lightweight),
    }
    constructor, repair = constructors[family]
    with quiet():
        # devices="cpu" is what turns off the fp16 that layerwise switches on by itself.
        reranker = constructor(str(folder), use_fp16=False, devices="cpu")
    repair(reranker)
    reranker.stop_self_pool = _do_nothing  # its gc.collect() takes longer than all the scoring
    assert_fp32(reranker)
    return reranker


def imported() -> Any:
    """FlagEmbedding; with version 5 of transformers it scores otherwise, as far as it imports at all."""
    if reads_version_5():
        pytest.skip("FlagEmbedding 1.4.2 is a reference with transformers 4 alone")
    import FlagEmbedding

    return FlagEmbedding


def assert_fp32(reranker: Any) -> None:
    import torch

    kinds = {(weight.dtype, weight.device.type) for weight in reranker.model.parameters()}
    assert kinds == {(torch.float32, "cpu")}, kinds


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop progress bars and warnings about the classes' age; errors still come through."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        yield


def leave_as_it_is(reranker: Any) -> None:
    pass


def _do_nothing() -> None:
    pass


def repair_layerwise(reranker: Any) -> None:
    reranker.model.config.use_cache = False  # DynamicCache lost get_usable_length in transformers 4.54


def repair_lightweight(reranker: Any) -> None:
    """Pass the rotary embeddings that decoder layers want since transformers 4.48, and use eager attention.

    FlagEmbedding's constructor takes no attention implementation and gets sdpa, which ignores the softcap on
    attention logits that the model was trained with.
    """
    from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

    decoder = reranker.model.model
    reranker.model.set_attn_implementation("eager")
    for layer in decoder.layers:
        assert layer.self_attn.config._attn_implementation == "eager"
    rotary = Gemma2RotaryEmbedding(config=decoder.config)

    def before(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        (hidden,) = args
        kept = {name: kwargs[name] for name in ("attention_mask", "position_ids")}
        return args, kept | {"position_embeddings": rotary(hidden, kwargs["position_ids"])}

    def after(layer: Any, args: tuple[Any, ...], output: Any) -> None:
        # FlagEmbedding takes element 0: of a bare tensor that would be the first text of the batch.
        assert isinstance(output, tuple), type(output)

    for layer in decoder.layers:
        layer.register_forward_pre_hook(before, with_kwargs=True)
        layer.register_forward_hook(after)
