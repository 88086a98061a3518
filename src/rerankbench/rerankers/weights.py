"""Reading weights through FlagEmbedding, in the precision and attention that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankbench.errors import UserError
from rerankbench.finding import shown


@contextmanager
def reading(folder: Path, dtype: Any, attention: str) -> Iterator[None]:
    """Make every `from_pretrained` inside read safetensors as `dtype` with this attention.

    FlagEmbedding's constructors offer no such choice: they read fp16 weights through fp32 (36 GB for a 9B
    model), and leave the attention to the library's default, which drops Gemma 2's softcap. Weights that
    the files lack would be drawn at random, with a warning that nobody sees.

    Raises UserError where the folder's files do not make a model.
    """
    from torch import OutOfMemoryError
    from transformers import PreTrainedModel

    original = PreTrainedModel.from_pretrained.__func__
    refused: list[UserError] = []

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("torch_dtype", None)
        kwargs |= {"dtype": dtype, "attn_implementation": attention, "use_safetensors": True}
        model, found = original(cls, *args, **kwargs, output_loading_info=True)
        if problem := missing(folder, found["missing_keys"]):
            refused.append(UserError(problem))
            raise refused[0]
        return model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    except (UserError, OutOfMemoryError, MemoryError, ImportError):
        raise
    except Exception as error:  # tokenizers raises nothing more special
        if refused:  # FlagEmbedding catches it, and tries in other ways
            raise refused[0] from None
        reason = shown(" ".join(str(error).split()))
        raise UserError(
            f"{folder}: cannot be loaded as a model ({type(error).__name__}: {reason}); "
            "check config.json and the tokenizer's files, or fetch the model again"
        ) from error
    finally:
        PreTrainedModel.from_pretrained = classmethod(original)


def missing(folder: Path, names: list[str]) -> str:
    """What to say of weights that a model's files do not hold. An embedder's pooler is never used here."""
    lost = sorted(name for name in names if not name.startswith("pooler."))
    if not lost:
        return ""
    return (
        f"{folder}: its weight files lack {len(lost)} of the model's tensors, the first is {lost[0]}; "
        "config.json is of another model, or fetch the model again"
    )


def take(wrapper: Any, device: str, first_only: bool = False) -> tuple[Any, Any]:
    """The model (on `device`, ready for inference) and tokenizer out of a FlagEmbedding wrapper.

    first_only: nothing but the first token is read from an encoder's last hidden states.
    """
    import torch

    from rerankbench.flat_encoder import flatten
    from rerankbench.fused import fuse
    from rerankbench.packing import pack, packable

    model, tokenizer = wrapper.model, wrapper.tokenizer
    wrapper.model = None  # the wrapper's destructor would move the model back to the CPU
    half = model.dtype in (torch.float16, torch.bfloat16)
    model = flatten(model.to(device).eval(), first_only)
    if device == "cpu" and packable():
        pack(model)
    if device.startswith("cuda") and half:
        fuse(model)
    return model, tokenizer
