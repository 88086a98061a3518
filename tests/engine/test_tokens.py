"""Token ids are those of the tokenizer's own call, whichever way they are made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rerankbench.engine.models.model_config import reads_version_5
from rerankbench.engine.tokens import plain, token_ids
from tiny_models import ALL

TEXTS = [
    "",
    "  ",
    "Paris is the capital of France.",
    "法国的首都是哪里？",
    "ŵ 🙂 ᚠ 龘",
    "</s> [SEP] <eos> Yes",
    "a " * 90,
]


def called(tokenizer: Any, texts: list[str], limit: int | None, special: bool) -> list[list[int]]:
    options = {"truncation": limit is not None, "max_length": limit, "add_special_tokens": special}
    found: list[list[int]] = tokenizer(texts, **options)["input_ids"]
    return found


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("limit", [None, 5, 64])
@pytest.mark.parametrize("name", [*ALL, "bge-small-en"])
def test_ids_are_those_of_a_call(name: str, limit: int | None, special: bool, models: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / name)
    assert plain(tokenizer)
    expected = called(tokenizer, TEXTS, limit, special)
    assert [list(ids) for ids in token_ids(tokenizer, TEXTS, limit, special)] == expected
    called(tokenizer, TEXTS, 7, not special)  # leaves its own settings behind
    assert [list(ids) for ids in token_ids(tokenizer, TEXTS, limit, special)] == expected
    assert called(tokenizer, TEXTS, limit, special) == expected


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=40), max_size=4), limit=st.none() | st.integers(1, 12))
def test_whatever_the_text(texts: list[str], limit: int | None, models: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / "gemma")
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    expected = called(tokenizer, texts, limit, False) if texts else []
    assert [list(ids) for ids in token_ids(tokenizer, texts, limit, False)] == expected


def test_both_sides_are_cut_as_the_tokenizer_says(models: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / "base", truncation_side="left")
    expected = called(tokenizer, TEXTS, 5, False)
    assert [list(ids) for ids in token_ids(tokenizer, TEXTS, 5, False)] == expected


def test_a_tokenizer_that_does_more_is_called(models: Path) -> None:
    known = type(AutoTokenizer.from_pretrained(models / "base"))

    name, argument = ("_batch_encode_plus", "batch_text_or_text_pairs")
    if reads_version_5():
        name, argument = ("_encode_plus", "text")

    def louder(self: Any, **options: Any) -> Any:
        options[argument] = [text.upper() for text in options[argument]]
        return getattr(known, name)(self, **options)

    Loud = type("Loud", (known,), {name: louder})
    loud, quiet = Loud.from_pretrained(models / "base"), known.from_pretrained(models / "base")
    assert not plain(loud)
    (found,), (expected,) = token_ids(loud, ["mars"], None, False), token_ids(quiet, ["MARS"], None, False)
    assert list(found) == list(expected) != list(token_ids(quiet, ["mars"], None, False)[0])


def test_threads_can_share_a_tokenizer(models: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / "base")
    expected = [list(ids) for ids in token_ids(tokenizer, TEXTS, 9, False)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: token_ids(tokenizer, TEXTS * 20, 9, False), range(60)))
    assert all([list(ids) for ids in one] == expected * 20 for one in found)
