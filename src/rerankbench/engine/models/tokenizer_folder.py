"""Tokenizers as their folders describe them, whichever version of transformers wrote them or reads them.

Version 4 takes a tokenizer.json as it is, but for a few settings of tokenizer_config.json. Version 5 builds
tokenizers of classes that it knows anew from the vocabulary, with rules of its own: Llama's and Gemma's split
texts otherwise, Gemma's gains a token that its model lacks, and Albert's may not load at all. Models were
trained with what the file says, so that is what is read under both.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.model_config import reads_version_5

# Tokenizers of version 5 that tell the texts of a pair apart, and those of version 4 that do not.
TYPED = ("BertTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer", "FNetTokenizer", "RoCBertTokenizer")
UNTYPED_IN_4 = (
    *("Bart", "Barthez", "BigBird", "Blenderbot", "Bloom", "CLIP", "Camembert", "CodeGen", "CodeLlama"),
    *("Cohere", "DistilBert", "GPT2", "GPTNeoX", "Gemma", "LED", "Llama", "Longformer", "MBart", "MPNet"),
    *("MT5", "Mvp", "Nllb", "OpenAIGPT", "Pegasus", "Qwen2", "Reformer", "Roberta", "T5", "XGLM"),
    "XLMRoberta",
)
# Those that follow tokenizer_config.json in how they normalize texts, and in where they begin and end.
LIKE_BERT = ("Bert", "ConvBert", "DistilBert", "Electra", "Funnel", "MPNet", "MobileBert", "SqueezeBert")
LIKE_LLAMA = ("CodeLlama", "Cohere", "Gemma", "Llama")


def tokenizer_of(folder: Path, code: bool) -> Any:
    """The tokenizer in `folder`. code: whether the folder's own Python files may be run.

    Raises ValueError where only they have its class, besides what transformers raises.
    """
    import transformers

    written = json_object(folder / "tokenizer_config.json")
    own = "auto_map" in written
    if own and not code and not hasattr(transformers, str(written.get("tokenizer_class"))):
        raise ValueError("its tokenizer is of a class of its own; trust_remote_code=True allows it")
    if reads_version_5() and (folder / "tokenizer.json").is_file() and not (own and code):
        return as_its_file_says(folder, written)
    with tokenizers_of_version_5():
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=code)


def by_version_5(written: dict[str, Any]) -> bool:
    """Whether version 5 wrote a tokenizer_config.json."""
    return "backend" in written or written.get("tokenizer_class") == "TokenizersBackend"


# --- version 4 reads what version 5 wrote ---


@contextmanager
def tokenizers_of_version_5() -> Iterator[None]:
    """Let version 4 of transformers load tokenizers that version 5 wrote under a class name of its own."""
    import transformers
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    name, original = "TokenizersBackend", PreTrainedTokenizerBase._from_pretrained.__func__
    if hasattr(transformers, name):
        yield
        return

    def from_pretrained(cls: Any, files: Any, place: Any, init: Any, *args: Any, **kwargs: Any) -> Any:
        written = json_object(Path(place) / "tokenizer_config.json")
        return original(cls, files, place, init, *args, **kwargs | as_version_5(written))

    setattr(transformers, name, PreTrainedTokenizerFast)
    PreTrainedTokenizerBase._from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        delattr(transformers, name)
        PreTrainedTokenizerBase._from_pretrained = classmethod(original)


def as_version_5(written: dict[str, Any]) -> dict[str, Any]:
    """What to tell version 4 of a tokenizer as its tokenizer_config.json is `written`, if by version 5."""
    told: dict[str, Any] = {}
    extra = written.get("extra_special_tokens")
    if isinstance(extra, list):  # a list of texts in version 5, a dictionary by name in version 4
        told |= {"extra_special_tokens": {}, "additional_special_tokens": extra}
    if by_version_5(written):
        told["model_input_names"] = input_names(written, str(written.get("tokenizer_class")))
    return told


def input_names(written: dict[str, Any], name: str) -> list[str]:
    """What a tokenizer gives a model; `name` is its class, as written or as its kind of model has."""
    if "model_input_names" in written:
        return list(written["model_input_names"])
    typed = name in TYPED if by_version_5(written) else not is_of(name, UNTYPED_IN_4)
    return ["input_ids", *["token_type_ids"] * typed, "attention_mask"]


def is_of(name: str, kinds: tuple[str, ...]) -> bool:
    """Whether a tokenizer's class is of one of these kinds."""
    return name.removesuffix("Fast").removesuffix("Tokenizer") in kinds


# --- version 5 reads a tokenizer as version 4 does ---


def as_its_file_says(folder: Path, written: dict[str, Any]) -> Any:
    """The tokenizer that tokenizer.json describes, with the settings that version 4 applies to it."""
    from transformers import PreTrainedTokenizerFast

    name = class_name(folder, written)
    told = {"model_input_names": input_names(written, name)}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **told)
    end_as_written(tokenizer, folder, written, name)
    with_special_tokens(tokenizer, name)
    if is_of(name, LIKE_BERT):
        normalize_as_written(tokenizer.backend_tokenizer, written)
    prefix_as_written(tokenizer.backend_tokenizer, bool(written.get("add_prefix_space", False)))
    return tokenizer


def class_name(folder: Path, written: dict[str, Any]) -> str:
    """The class of a tokenizer: as written, or else that of its kind of model."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    kind = json_object(folder / "config.json").get("model_type")
    return str(written.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(kind))


def end_as_written(tokenizer: Any, folder: Path, written: dict[str, Any], name: str) -> None:
    """Begin and end texts by tokenizer.json, or where the class goes by its settings, by these."""
    if is_of(name, LIKE_LLAMA):
        tokenizer.add_bos_token = bool(written.get("add_bos_token", True))
        tokenizer.add_eos_token = bool(written.get("add_eos_token", False))
    elif "add_bos_token" in written or "add_eos_token" in written:
        from tokenizers import Tokenizer

        own = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.backend_tokenizer.post_processor = own.post_processor


def with_special_tokens(tokenizer: Any, name: str) -> None:
    """Name the special tokens that a class has of itself, where the vocabulary has them."""
    import transformers

    known = getattr(transformers, name, None)
    if known is None:
        return
    vocabulary = tokenizer.get_vocab()
    for role, parameter in inspect.signature(known.__init__).parameters.items():
        token = parameter.default
        known_to_it = role.endswith("_token") and isinstance(token, str) and token in vocabulary
        if known_to_it and getattr(tokenizer, role, "") is None:
            setattr(tokenizer, role, token)


def normalize_as_written(backend: Any, written: dict[str, Any]) -> None:
    """Lower case, accents and Chinese characters as tokenizer_config.json says, or as these classes do."""
    from tokenizers.normalizers import BertNormalizer

    if not isinstance(backend.normalizer, BertNormalizer):
        return
    backend.normalizer.lowercase = written.get("do_lower_case", True)
    backend.normalizer.strip_accents = written.get("strip_accents")
    backend.normalizer.handle_chinese_chars = written.get("tokenize_chinese_chars", True)


def prefix_as_written(backend: Any, prefix: bool) -> None:
    """Whether texts are cut as if there was a space before them, of tokenizers that cut bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    if isinstance(backend.pre_tokenizer, ByteLevel):
        backend.pre_tokenizer.add_prefix_space = prefix
