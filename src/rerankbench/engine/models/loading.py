"""A model and its tokenizer, read by transformers in the precision and attention that were asked for."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import tensors
from rerankbench.engine.models.model_config import older_rope, reads_version_5
from rerankbench.engine.models.model_files import under_its_hash
from rerankbench.engine.models.tokenizer_folder import tokenizer_of
from rerankbench.engine.tokens import KNOWN_BELOW

_WITHOUT_VALUES = ContextVar("without_values", default=False)
_OWN_MEMORY = ContextVar("own_memory", default=False)


@contextmanager
def without_values() -> Iterator[None]:
    """Leave the weights' values where they are: models that are read inside have shapes and no memory.

    That is enough to find out whether a model can be read.
    """
    before = _WITHOUT_VALUES.set(True)
    try:
        yield
    finally:
        _WITHOUT_VALUES.reset(before)


@contextmanager
def own_memory() -> Iterator[None]:
    """Copy the weights of models that are read inside out of their files.

    safetensors maps files into memory: what is written over one later would be computed with, and one that is
    cut off would end the process. A service outlives both; a run is over soon, and its peak would be doubled.
    """
    before = _OWN_MEMORY.set(True)
    try:
        yield
    finally:
        _OWN_MEMORY.reset(before)


@dataclass
class Opened:
    """A model as it was read, and its tokenizer."""

    model: Any
    tokenizer: Any


def opened(folder: Path, hardware: Hardware, attention: str, code: bool, kind: Any) -> Opened:
    """The model in `folder` and its tokenizer, from safetensors.

    kind: the class that reads the model, or the name of one of transformers, such as AutoModel. code: whether
    the folder's own Python files may be run.

    Raises UserError where the folder's files do not make a model, or the model lacks tokens of its tokenizer.
    """
    import transformers
    from torch import OutOfMemoryError

    reader = getattr(transformers, kind) if isinstance(kind, str) else kind
    options = {"dtype": hardware.dtype, "attn_implementation": attention, "use_safetensors": True}
    options |= {"device_map": "meta"} if _WITHOUT_VALUES.get() else {}
    refused: list[UserError] = []
    try:
        with under_its_hash(folder, code) as place, reading_checked(folder, options, refused):
            tokenizer = tokenizer_of(place, code)
            model = reader.from_pretrained(str(place), trust_remote_code=code)
    except (UserError, OutOfMemoryError, MemoryError, ImportError):
        raise
    except Exception as error:  # tokenizers raises nothing more special
        if refused:  # transformers may have said it in its own words
            raise refused[0] from None
        raise UserError(cannot_be_loaded(folder, error)) from error
    return with_its_tokens(Opened(model, tokenizer), folder)


@contextmanager
def reading_checked(folder: Path, options: dict[str, Any], refused: list[UserError]) -> Iterator[None]:
    """Make every `from_pretrained` inside read with these options; foreign weights are refused.

    Those that the files lack would be drawn at random, with a warning that nobody sees.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("torch_dtype", None)
        if kwargs.get("config") is not None:
            in_older_words(kwargs["config"])
        problem = shape_problem(cls, kwargs.get("config"), folder)
        if not problem:
            model, found = original(cls, *args, **kwargs | options, output_loading_info=True)
            problem = missing(folder, found["missing_keys"])
            problem = problem or left_over(folder, model, found["unexpected_keys"])
            in_one_piece(model)
            as_it_is_written(model)
            if _OWN_MEMORY.get():
                copied(model)
        if problem:
            refused.append(UserError(problem))
            raise refused[0]
        return model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = classmethod(original)


def copied(model: Any) -> None:
    """Put every weight where nothing else is; those that several layers share stay shared."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def in_one_piece(model: Any) -> None:
    """Have layers compute batches whole: cut along tokens, sizes that do not divide would fail half-way."""
    for module in model.modules():
        if getattr(module, "chunk_size_feed_forward", 0):
            module.chunk_size_feed_forward = 0


def as_it_is_written(model: Any) -> None:
    """Keep ModernBERT from compiling itself, as it does on GPUs where it finds Triton.

    What is compiled rounds elsewhere, and after a few shapes torch gives compiling up: scores would depend on
    what is installed and on the batches before.
    """
    if hasattr(model.config, "reference_compile"):
        model.config.reference_compile = False


def cannot_be_loaded(folder: Path, error: Exception) -> str:
    """One line for what transformers raised."""
    if "trust_remote_code" in str(error):
        return (
            f"{folder}: needs the Python files that come with it; read them, then allow them with "
            "trust_remote_code=true (reranker.trust_remote_code=true or embedder.trust_remote_code=true)"
        )
    return (
        f"{folder}: cannot be loaded as a model ({type(error).__name__}: {reason(error)}); "
        "check config.json and the tokenizer's files, or fetch the model again"
    )


def in_older_words(config: Any) -> None:
    """Turn what transformers 5 says of rotary positions into what version 4 reads; it would ignore it."""
    if reads_version_5():
        return
    for name, value in older_rope(config.to_dict()).items():
        setattr(config.get_text_config(), name, value)


def shape_problem(cls: Any, config: Any, folder: Path) -> str:
    """What to say of weights of other shapes than the model's, before memory is asked for.

    The model is built without any, from its config alone.
    """
    import torch

    config = cls.config_class.from_pretrained(folder) if config is None else copy.deepcopy(config)
    if odd := odd_types(config):
        return f"{folder / 'config.json'}: {odd}; fetch the model again"
    with torch.device("meta"):
        model = cls(config)
    held = {name: entry.shape for name, entry in tensors(folder).items()}
    unmatched = 0
    for name, tensor in model.state_dict().items():
        found = next(
            (held[other] for other in spellings(name, model.base_model_prefix) if other in held), None
        )
        if found is None:
            unmatched += tensor.numel()
        elif found != tuple(tensor.shape):
            return (
                f"{folder}: {name} is {list(found)} in its weight files, but {list(tensor.shape)} by "
                "config.json; fetch the model again"
            )
    if unmatched > MUCH:
        return f"{folder}: its weight files lack most of what config.json says; fetch the model again"
    return ""


def odd_types(config: Any) -> str:
    """What to say of a value of another type than the model's kind has by default; empty if there is none.

    Such values pass until the model computes.
    """
    usual = type(config)().to_dict()
    for name, value in config.to_dict().items():
        kind, among = type(usual.get(name)), {float: (int, float), bool: (bool,), str: (str, type(None))}
        fits = isinstance(value, among.get(kind, object))
        if not fits or (kind is float and isinstance(value, bool)):
            return f"{name} is {value!r}, where this kind of model has {usual[name]!r}"
        if kind is int and not name.endswith("_id") and not isinstance(value, (int, float, type(None))):
            return f"{name} is {value!r}, not a number"
    return ""


MUCH = 1_000_000_000  # numbers; more is not even tried


def spellings(name: str, prefix: str) -> list[str]:
    """The names that a tensor may have in files: with the model's prefix or without, of old or new norms."""
    bare = name.removeprefix(f"{prefix}.")
    old = [one.replace("LayerNorm.weight", "LayerNorm.gamma") for one in (name, bare)]
    old += [one.replace("LayerNorm.bias", "LayerNorm.beta") for one in (name, bare)]
    return [name, bare, f"{prefix}.{name}", *old]


def with_its_tokens(found: Opened, folder: Path) -> Opened:
    """What was `found`, whose model knows every token of its tokenizer.

    Tokens that were added behind the model's own make no difference until a text holds one. Raises UserError
    where others are too many.
    """
    rows, tokenizer = found.model.get_input_embeddings().num_embeddings, found.tokenizer
    if tokenizer.vocab_size > rows:
        raise UserError(
            f"{folder}: its tokenizer has {tokenizer.vocab_size:,} tokens, its model {rows:,}; copy the "
            "model's own tokenizer there"
        )
    if len(tokenizer) > rows:
        setattr(tokenizer, KNOWN_BELOW, rows)
    return found


def missing(folder: Path, names: list[str]) -> str:
    """What to say of weights that a model's files do not hold. An embedder's pooler is never used here."""
    lost = sorted(name for name in names if not name.startswith("pooler."))
    if not lost:
        return ""
    return (
        f"{folder}: its weight files lack {len(lost)} of the model's tensors, the first is {lost[0]}; "
        "config.json is of another model, or fetch the model again"
    )


PARAMETER = re.compile(r"\.(weight|bias|lora_\w+|\w*_?scale\w*)$")


def left_over(folder: Path, model: Any, names: Iterable[str]) -> str:
    """What to say of weights inside a model's layers that it has no place for, as biases that its config
    leaves out, or an adapter that was not merged: it would be computed without them.

    Heads for other tasks are no part of it, and are left alone; so is what a folder's own code leaves.
    """
    if not type(model).__module__.startswith("transformers."):
        return ""
    outer = {"", model.base_model_prefix}
    parts = {name for name, _ in model.named_modules()} - outer
    known = [name for name in sorted(names) if PARAMETER.search(name)]
    lost = [name for name in known if owner(name, parts, model.base_model_prefix)]
    if not lost:
        return ""
    return (
        f"{folder}: its weight files hold {len(lost)} tensors that the model of config.json has no place "
        f"for, the first is {lost[0]}; config.json is of another model, or an adapter in them was not merged"
    )


def owner(tensor: str, parts: set[str], prefix: str) -> bool:
    """Whether a tensor lies in one of a model's `parts`, under its name in files."""
    steps = tensor.split(".")
    places = {".".join(steps[:end]) for end in range(1, len(steps))}
    inner = {f"{prefix}.{place}" for place in places} | {place.removeprefix(f"{prefix}.") for place in places}
    return not parts.isdisjoint(places | inner)


def take(found: Opened, hardware: Hardware, first_only: bool = False) -> tuple[Any, Any]:
    """The model, on the device and ready for inference, and its tokenizer.

    first_only: nothing but the first token is read from an encoder's last hidden states.
    """
    return fast(found.model.to(hardware.device).eval(), hardware, first_only), found.tokenizer


def fast(model: Any, hardware: Hardware, first_only: bool) -> Any:
    """`model` with its layers replaced by those that are fastest on this hardware."""
    from rerankbench.engine.operators.flat_encoder import flatten
    from rerankbench.engine.operators.fused import fuse
    from rerankbench.engine.operators.packing import pack, packable

    if hardware.precision == "int8" and hardware.device == "cpu":
        from rerankbench.engine.operators.int8 import to_int8
        from rerankbench.engine.operators.int8_encoder import Int8Encoder

        model = flatten(model, first_only, Int8Encoder)
        to_int8(model)
        return model
    model = flatten(model, first_only)
    if hardware.device == "cpu" and packable():
        pack(model)
    if hardware.device.startswith("cuda") and hardware.precision != "fp32":
        fuse(model)
    return model
