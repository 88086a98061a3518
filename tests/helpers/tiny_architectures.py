"""Tiny random classifiers and causal models of many architectures, with the tokenizer classes they come with.

As `tiny_models`, for what is not BGE's: `SCORERS` holds a builder for each cross-encoder architecture.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny_models
from tiny_models import _unigram_model, _wordpiece_vocabulary, _write

Files = dict[str, bytes]
WIDTH = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
DECODER = WIDTH | {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 8192}
ROWS = 512  # of tables of positions


def saved(tokenizer: Any) -> Files:
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.is_file()}


def size(files: Files) -> int:
    return tiny_models._vocabulary_size(files)


def byte_merges() -> tuple[dict[str, int], list[str]]:
    """A byte-level vocabulary of all bytes and some words' pieces, and the merges that make those."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    space = "Ġ"
    merges = [
        f"{space} t",
        f"{space}t h",
        f"{space}th e",
        f"{space} i",
        f"{space}i s",
        "e r",
        "i n",
        "in g",
        "o n",
    ]
    pieces = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges)]
    return {piece: place for place, piece in enumerate(pieces)}, merges


def byte_level(class_name: str, before: tuple[str, ...] = (), **options: Any) -> Files:
    """A tokenizer of GPT-2's kind; `before` are tokens that come first in its vocabulary."""
    import transformers

    vocabulary, merges = byte_merges()
    table = {token: place for place, token in enumerate([*before, *vocabulary])}
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(table))
        Path(folder, "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        files = {"vocab_file": f"{folder}/vocab.json", "merges_file": f"{folder}/merges.txt"}
        return saved(getattr(transformers, class_name)(**files, **options))


def wordpiece(class_name: str, swaps: dict[str, str] | None = None) -> Files:
    import transformers

    content = _wordpiece_vocabulary().decode()
    for old, new in (swaps or {}).items():
        content = content.replace(f"{old}\n", f"{new}\n", 1)
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text(content, encoding="utf-8")
        return saved(
            getattr(transformers, class_name)(vocab_file=f"{folder}/vocab.txt", model_max_length=512)
        )


def sentencepiece(class_name: str, train: Callable[[], bytes], **options: Any) -> Files:
    import transformers

    with TemporaryDirectory() as folder:
        Path(folder, "spiece.model").write_bytes(train())
        kind = getattr(transformers, class_name)
        return saved(kind(vocab_file=f"{folder}/spiece.model", model_max_length=512, **options))


def plain_fast(bare: Files, **options: Any) -> Files:
    """The same tokens under the class that has no template of its own, as ModernBERT's."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return saved(
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(bare["tokenizer.json"].decode()), **options
        )
    )


@cache
def bert_files() -> Files:
    return wordpiece("BertTokenizerFast")


SPECIALS = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
    "unk_token": "[UNK]",
}


@cache
def modernbert_files() -> Files:
    return plain_fast(bert_files(), **SPECIALS, model_input_names=["input_ids", "attention_mask"])


@cache
def bert_fast_files() -> Files:
    return plain_fast(bert_files(), **SPECIALS)


@cache
def roberta_files() -> Files:
    return byte_level("RobertaTokenizerFast", ("<s>", "<pad>", "</s>", "<unk>", "<mask>"))


@cache
def qwen_files() -> Files:
    return byte_level("Qwen2TokenizerFast")


@cache
def albert_files() -> Files:
    return sentencepiece("AlbertTokenizerFast", _unigram_model)


@cache
def deberta_files() -> Files:
    return sentencepiece("DebertaV2TokenizerFast", _unigram_model)


@cache
def camembert_files() -> Files:
    return sentencepiece("CamembertTokenizerFast", _unigram_model)


def classifier(
    kind: str, files: Callable[[], Files], path: str | Path, seed: int = 0, **options: Any
) -> Path:
    """A sequence classifier with one label; `kind` as transformers spells it, such as Bert."""
    return built(kind, "ForSequenceClassification", files(), Path(path), seed, num_labels=1, **options)


def causal(kind: str, files: Callable[[], Files], path: str | Path, seed: int = 0, **options: Any) -> Path:
    """A causal language model."""
    return built(kind, "ForCausalLM", files(), Path(path), seed, **options)


def built(kind: str, task: str, files: Files, path: Path, seed: int, **options: Any) -> Path:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**{"vocab_size": size(files), **options})
    known = getattr(transformers, f"{kind}{task}", None) or getattr(transformers, f"{kind[:-4]}{task}")
    return _write(path, seed, files, known, config)


def llama_files() -> Files:
    return tiny_models._llama_tokenizer(2048)


def gemma_files() -> Files:
    return tiny_models._gemma_tokenizer("right", 8192)


AS_ROBERTA = WIDTH | {"type_vocab_size": 1, "max_position_embeddings": ROWS + 2, "pad_token_id": 1}
MPNET = {"[PAD]": "<s>", "[UNK]": "<pad>", "[CLS]": "</s>", "[SEP]": "[UNK]", "[MASK]": "<mask>"}
DISENTANGLED = WIDTH | {
    "type_vocab_size": 0,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 32,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "pooler_hidden_size": 64,
}
OF_DISTILBERT = {"dim": 64, "hidden_dim": 128, "n_layers": 3, "n_heads": 4}
LOCAL = WIDTH | {"local_attention": 16, "pad_token_id": 0}
OF_GEMMA = DECODER | {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
OF_GEMMA_2 = OF_GEMMA | {"query_pre_attn_scalar": 16, "sliding_window": 16}
Builder = Callable[..., Path]

SCORERS: dict[str, Builder] = {
    "bert-fast": partial(classifier, "Bert", bert_fast_files, **WIDTH),
    "roberta": partial(classifier, "Roberta", roberta_files, **AS_ROBERTA),
    "camembert": partial(classifier, "Camembert", camembert_files, **AS_ROBERTA),
    "albert": partial(classifier, "Albert", albert_files, **WIDTH, embedding_size=32),
    "electra": partial(
        classifier, "Electra", partial(wordpiece, "ElectraTokenizerFast"), **WIDTH, embedding_size=32
    ),
    "mpnet": partial(
        classifier,
        "MPNet",
        partial(wordpiece, "MPNetTokenizerFast", MPNET),
        **WIDTH,
        max_position_embeddings=ROWS + 2,
    ),
    "distilbert": partial(
        classifier, "DistilBert", partial(wordpiece, "DistilBertTokenizerFast"), **OF_DISTILBERT
    ),
    "deberta-v2": partial(classifier, "DebertaV2", deberta_files, **DISENTANGLED),
    "modernbert-cls": partial(classifier, "ModernBert", modernbert_files, **LOCAL, classifier_pooling="cls"),
    "modernbert-mean": partial(
        classifier, "ModernBert", modernbert_files, **LOCAL, classifier_pooling="mean"
    ),
    "qwen2": partial(classifier, "Qwen2", qwen_files, **DECODER, pad_token_id=265),
    "qwen3": partial(classifier, "Qwen3", qwen_files, **DECODER, pad_token_id=265),
    "llama": partial(classifier, "Llama", llama_files, **DECODER, pad_token_id=2),
    "mistral": partial(classifier, "Mistral", llama_files, **DECODER, pad_token_id=2),
    "gemma": partial(classifier, "Gemma", gemma_files, **OF_GEMMA),
    "gemma2": partial(classifier, "Gemma2", gemma_files, **OF_GEMMA_2),
    "gemma3": partial(classifier, "Gemma3Text", gemma_files, **OF_GEMMA_2),
}
"""A builder for each architecture that `reranker=base` with a model of one's own can be."""

CAUSAL: dict[str, Builder] = {
    "gemma2": partial(causal, "Gemma2", gemma_files, **OF_GEMMA_2),
    "gemma3": partial(causal, "Gemma3Text", gemma_files, **OF_GEMMA_2),
    "llama": partial(causal, "Llama", llama_files, **DECODER),
    "mistral": partial(causal, "Mistral", llama_files, **DECODER),
    "qwen2": partial(causal, "Qwen2", qwen_files, **DECODER),
    "qwen3": partial(causal, "Qwen3", qwen_files, **DECODER),
}
"""Causal models that FlagEmbedding can train into rerankers besides Gemma."""
