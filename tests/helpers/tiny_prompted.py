"""Tiny random rerankers that read a prompt, with a byte-level BPE that joins characters as the real ones do.

Their references are the recipes of model cards, in plain transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiny_architectures import DECODER, Files, built, causal, saved, sentencepiece
from tiny_models import _corpus, _train_sentencepiece

Pair = tuple[str, str]
# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B/blob/main/tokenizer.json
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINKING = ["<think>", "</think>"]
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
SYSTEM = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)
QWEN_SYSTEM = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)


@cache
def qwen_bpe(thinking: bool) -> Files:
    """Merges are learned from prompts and texts; punctuation joins line breaks, as in Qwen's vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    own = Tokenizer(models.BPE())
    own.normalizer = normalizers.NFC()
    own.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    own.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIALS,
        show_progress=False,
    )
    ends = ["is it?\n", "it is.\n\n", 'so"\n', "yes no yes no true false", "1 0", "\n\n\n"] * 20
    prompts = [SYSTEM, ASSISTANT, TASK, QWEN_SYSTEM, INSTRUCTION, "<Instruct>: <Query>: \n<Document>: "] * 20
    own.train_from_iterator([*_corpus(), *prompts, *ends], trainer)
    tokenizer = Qwen2TokenizerFast(tokenizer_object=own, pad_token="<|endoftext|>", padding_side="left")
    if thinking:
        tokenizer.add_tokens(THINKING)
    return saved(tokenizer)


def tiny_qwen3_reranker(path: str | Path, seed: int = 0, **options: Any) -> Path:
    """Qwen3ForCausalLM, as Qwen3-Reranker."""
    return causal("Qwen3", lambda: qwen_bpe(True), path, seed, **DECODER | options)


def tiny_mxbai_reranker(path: str | Path, seed: int = 0) -> Path:
    """Qwen2ForCausalLM, as mxbai-rerank-base-v2."""
    return causal("Qwen2", lambda: qwen_bpe(False), path, seed, **DECODER)


@cache
def t5_files() -> Files:
    """T5's kind of SentencePiece, with a word for each answer."""
    files = sentencepiece("T5TokenizerFast", t5_model, extra_ids=0, add_prefix_space=True)
    content = json.loads(files["tokenizer.json"])
    content["model"]["vocab"] += [["▁true", -3.0], ["▁false", -3.0]]
    settings = json.loads(files["tokenizer_config.json"])
    del settings["add_prefix_space"]  # it would convert again on every load
    edited = {"tokenizer.json": content, "tokenizer_config.json": settings}
    kept = {name: file for name, file in files.items() if name != "spiece.model"}
    return kept | {name: json.dumps(one).encode() for name, one in edited.items()}


def t5_model() -> bytes:
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    return _train_sentencepiece(model_type="unigram", vocab_size=1400, hard_vocab_limit=False, **ids)


def tiny_monot5(path: str | Path, seed: int = 0, **options: Any) -> Path:
    """T5ForConditionalGeneration, as monot5-base-msmarco."""
    own = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4} | options
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    return built("T5", "ForConditionalGeneration", t5_files(), Path(path), seed, **own, **ids)


def monot5(folder: Path, pairs: Sequence[Pair], max_length: int = 512) -> NDArray[np.float32]:
    """Log-probability of true against false as PyTerrier's monoT5 computes it, one pair at a time."""
    import torch
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = T5ForConditionalGeneration.from_pretrained(folder).eval()
    answers = [tokenizer.encode(word, add_special_tokens=False)[0] for word in ("true", "false")]
    end = tokenizer("Relevant:")["input_ids"]
    assert end[-1] == tokenizer.eos_token_id
    found = []
    for query, document in pairs:
        ids = tokenizer(f"Query: {query} Document: {document}")["input_ids"][:-1][: max_length - len(end)]
        with torch.no_grad():
            start = torch.tensor([[model.config.pad_token_id]])
            logits = model(input_ids=torch.tensor([ids + end]), decoder_input_ids=start).logits[0, 0]
        found.append(float(torch.log_softmax(logits[answers], dim=0)[0]))
    return np.asarray(found, np.float32)


PROMPTED: dict[str, Callable[..., Path]] = {"qwen3-0.6b": tiny_qwen3_reranker, "monot5-base": tiny_monot5}
"""A builder for one model of each family whose prompt counts among `max_length`."""


@cache
def prompt_size(folder: Path) -> int:
    """Tokens of the prompt alone."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if "T5" in type(tokenizer).__name__:
        return sum(len(tokenizer(text)["input_ids"]) - 1 for text in ("Query:", "Document:", "Relevant:")) + 1
    body = f"<Instruct>: {INSTRUCTION}\n<Query>:", "<Document>:"
    return sum(len(tokenizer(text)["input_ids"]) for text in (SYSTEM, *body, ASSISTANT))


def opened(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer


def qwen3_card(
    folder: Path, pairs: Sequence[Pair], max_length: int = 8192, instruction: str = INSTRUCTION
) -> NDArray[np.float32]:
    """Log-odds by the card of Qwen3-Reranker; the card goes on to the probability of yes."""
    import torch

    model, tokenizer = opened(folder)
    prefix, suffix = (tokenizer.encode(text, add_special_tokens=False) for text in (SYSTEM, ASSISTANT))
    texts = [f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {doc}" for query, doc in pairs]
    inputs = tokenizer(
        texts,
        padding=False,
        truncation="longest_first",
        return_attention_mask=False,
        max_length=max_length - len(prefix) - len(suffix),
    )
    rows = [prefix + ids + suffix for ids in inputs["input_ids"]]
    padded = tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt", max_length=max_length)
    with torch.no_grad():
        logits = model(**padded).logits[:, -1, :]
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    return np.asarray(logits[:, yes] - logits[:, no], np.float32)


def mxbai_recipe(
    folder: Path, pairs: Sequence[Pair], max_length: int = 8192, instruction: str | None = None
) -> NDArray[np.float32]:
    """Raw scores as the mxbai-rerank library 0.1.6 makes them; `max_length` is without the prompt's parts."""
    import torch

    model, tokenizer = opened(folder)

    def ids(text: str, limit: int | None = None) -> list[int]:
        cut = {"truncation": True, "max_length": limit} if limit else {}
        return list(tokenizer(text, add_special_tokens=False, **cut)["input_ids"])

    rows = []
    for query, document in pairs:
        asked = f"query: {query}"
        if instruction:
            asked = f"instruction: {instruction}\n{asked}"
        question = ids(asked, max_length * 3 // 4)
        pair = question + (ids("\n") + ids(f"document: {document}", max_length))
        end = ids("\n") + ids(TASK) + ids("<|im_end|>\n<|im_start|>assistant\n")
        rows.append(ids(QWEN_SYSTEM) + pair[:max_length] + end)
    padded = tokenizer.pad({"input_ids": rows}, padding="longest", pad_to_multiple_of=8, return_tensors="pt")
    with torch.no_grad():
        logits = model(**padded).logits[:, -1, :]
    return np.asarray(logits[:, ids("1")[0]] - logits[:, ids("0")[0]], np.float32)
