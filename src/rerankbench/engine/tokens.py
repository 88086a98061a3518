"""Texts as numbers of tokens, by a model's own tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Digests, Ints
from rerankbench.basics.errors import UserError

Tokens = NDArray[np.int32]
KNOWN_BELOW = "rerankbench_known_below"  # set on a tokenizer whose model knows tokens below this only


def token_ids(tokenizer: Any, texts: Sequence[str], limit: int | None, special: bool) -> list[Tokens]:
    """Token ids of each text, at most `limit` of them, with the model's `special` tokens or without.

    What the tokenizer gives when it is called; where it is one of the tokenizers library and nothing else,
    that library is called without the detour, which takes almost half of the time.
    """
    found = ids_of(tokenizer, texts, limit, special)
    below = getattr(tokenizer, KNOWN_BELOW, None)
    highest = max((int(ids.max(initial=0)) for ids in found), default=0) if below is not None else 0
    if below is not None and highest >= below:
        raise UserError(
            f"a text holds {tokenizer.convert_ids_to_tokens(highest)!r}, which the tokenizer of "
            f"{tokenizer.name_or_path} knows and its model does not; take it out of the text or the tokenizer"
        )
    return found


def ids_of(tokenizer: Any, texts: Sequence[str], limit: int | None, special: bool) -> list[Tokens]:
    """The ids, whether the model knows them or not."""
    if plain(tokenizer):
        return backend_ids(tokenizer, texts, limit, special)
    encoded = tokenizer(
        list(texts),
        add_special_tokens=special,
        truncation=limit is not None,
        max_length=limit,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # windows are cut later: longer than the model is expected here
    )
    return [np.asarray(ids, np.int32) for ids in encoded["input_ids"]]


def plain(tokenizer: Any) -> bool:
    """Whether a call of `tokenizer` does no more than its library does."""
    from transformers import PreTrainedTokenizerFast

    # what encodes is called differently in versions 4 and 5
    own = ("__call__", "_batch_encode_plus", "_encode_plus")
    return isinstance(tokenizer, PreTrainedTokenizerFast) and all(
        getattr(type(tokenizer), name, None) is getattr(PreTrainedTokenizerFast, name, None) for name in own
    )


def backend_ids(tokenizer: Any, texts: Sequence[str], limit: int | None, special: bool) -> list[Tokens]:
    """The same straight from the tokenizers library; where in a text each token is, it leaves out."""
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils import PaddingStrategy

    backend, cutting = tokenizer.backend_tokenizer, TruncationStrategy.LONGEST_FIRST
    # changes nothing where all is as it was, so that threads can share a tokenizer
    tokenizer.set_truncation_and_padding(
        padding_strategy=PaddingStrategy.DO_NOT_PAD,
        truncation_strategy=TruncationStrategy.DO_NOT_TRUNCATE if limit is None else cutting,
        max_length=limit or 0,
        stride=0,
        pad_to_multiple_of=None,
        padding_side=None,
    )
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    encoded = backend.encode_batch_fast(list(texts), add_special_tokens=special)
    return [np.asarray(one.ids, np.int32) for one in encoded]


def sizes(sequences: Sequence[Sequence[Any] | Tokens]) -> Ints:
    """How long each one is."""
    return np.array([len(sequence) for sequence in sequences], np.int64)


def pad(sequences: Sequence[Tokens], value: int, multiple: int = 1) -> Ints:
    """Sequences side by side, padded on the right with `value`: [n, the longest, up to a multiple]."""
    longest = max(map(len, sequences))
    padded = np.full((len(sequences), longest + -longest % multiple), value, np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded


def token_digests(sequences: Iterable[Tokens]) -> Digests:
    """16-byte BLAKE2b digest of each row of token ids, as S16; no text has the same one."""
    data = (np.ascontiguousarray(ids, np.int32).tobytes() for ids in sequences)
    return np.array([hashlib.blake2b(ids, digest_size=16, person=b"tokens").digest() for ids in data], "S16")
