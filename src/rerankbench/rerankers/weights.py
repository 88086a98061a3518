"""Reading weights through FlagEmbedding, in the precision and attention that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reading(dtype: Any, attention: str) -> Iterator[None]:
    """Make every `from_pretrained` inside read safetensors as `dtype` with this attention.

    FlagEmbedding's constructors offer no such choice: they read fp16 weights through fp32 (36 GB for a 9B
    model), and leave the attention to the library's default, which drops Gemma 2's softcap.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("torch_dtype", None)
        kwargs |= {"dtype": dtype, "attn_implementation": attention, "use_safetensors": True}
        return original(cls, *args, **kwargs)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = classmethod(original)


def take(wrapper: Any, device: str) -> tuple[Any, Any]:
    """The model (on `device`, ready for inference) and tokenizer out of a FlagEmbedding wrapper."""
    from rerankbench import packing

    model, tokenizer = wrapper.model, wrapper.tokenizer
    wrapper.model = None  # the wrapper's destructor would move the model back to the CPU
    model = model.to(device).eval()
    if device == "cpu" and packing.packable():
        packing.pack(model)
    return model, tokenizer
