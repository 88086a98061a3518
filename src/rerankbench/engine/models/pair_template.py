"""How a tokenizer joins the two texts of a pair: special tokens around them, and the type of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerankbench.engine.tokens import Tokens, token_ids

MARKS = (("a", "b"), ("1", "2"), ("一", "二"), ("the", "of"))  # one pair of them is known to any vocabulary
PROBES = (("is it so", "it is"), ("a", "the day 12"))


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens that a tokenizer puts before, between and after the two texts of a pair.

    `types`: the token types of these parts in order: before, query, between, document, after; those of the
    special tokens one for each.
    """

    before: Tokens
    between: Tokens
    after: Tokens
    types_before: Tokens
    types_between: Tokens
    types_after: Tokens
    query_type: int
    document_type: int

    @classmethod
    def of(cls, tokenizer: Any) -> PairTemplate:
        """Read the template off a joined pair. Raises ValueError where `tokenizer` joins pairs otherwise."""
        template = read_fast(tokenizer) if tokenizer.is_fast else read_slow(tokenizer)
        for probe in PROBES:
            template.verify(tokenizer, probe)
        return template

    def verify(self, tokenizer: Any, pair: tuple[str, str]) -> None:
        """Raise ValueError unless the tokenizer itself, given a pair, makes the same of it."""
        expected = tokenizer(*pair, truncation=False, padding=False)
        query, document = token_ids(tokenizer, pair, None, special=False)
        same = self.join(query, document).tolist() == list(expected["input_ids"])
        if same and "token_type_ids" in expected:
            same = self.types(query, document).tolist() == list(expected["token_type_ids"])
        if not same:
            raise ValueError(f"the tokenizer ({type(tokenizer).__name__}) joins pairs in a way of its own")

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        return np.concatenate([self.before, query, self.between, document, self.after])

    def types(self, query: Tokens, document: Tokens) -> Tokens:
        """The type of each token of the joined pair."""
        of_query = np.full(len(query), self.query_type, np.int32)
        of_document = np.full(len(document), self.document_type, np.int32)
        return np.concatenate(
            [self.types_before, of_query, self.types_between, of_document, self.types_after]
        )

    @property
    def highest(self) -> int:
        """The highest id among the special tokens."""
        return int(np.concatenate([self.before, self.between, self.after]).max(initial=0))

    @property
    def type_count(self) -> int:
        """How many token types there are, as far as pairs use them."""
        specials = np.concatenate([self.types_before, self.types_between, self.types_after])
        return 1 + max(self.query_type, self.document_type, int(specials.max(initial=0)))


def read_fast(tokenizer: Any) -> PairTemplate:
    """From the tokenizers library, which says of every token which text it is of."""
    backend = tokenizer.backend_tokenizer
    token_ids(tokenizer, ["a"], None, special=True)  # turns off cutting and padding that a file asks for
    backend.no_padding()
    backend.no_truncation()
    for first, second in MARKS:
        joined = backend.encode(first, second)
        owners: Sequence[int | None] = joined.sequence_ids
        if 0 in owners and 1 in owners:
            return split(joined.ids, joined.type_ids, owners)
    raise ValueError("the tokenizer makes no tokens of plain letters and digits")


def read_slow(tokenizer: Any) -> PairTemplate:
    """From a tokenizer in Python, by where the tokens of two marks are in a pair of them."""
    for marks in MARKS:
        first, second = (ids.tolist() for ids in token_ids(tokenizer, marks, None, special=False))
        joined = tokenizer(*marks, truncation=False, padding=False, return_token_type_ids=True)
        owners = owners_of(list(joined["input_ids"]), first, second)
        if owners is not None:
            return split(joined["input_ids"], joined["token_type_ids"], owners)
    raise ValueError(
        f"the tokenizer ({type(tokenizer).__name__}) has no fast form, tokenizer.json, and does not put two "
        "texts one behind the other"
    )


def owners_of(joined: list[int], first: list[int], second: list[int]) -> list[int | None] | None:
    """Which text each token of a pair is of; None where that cannot be seen."""
    begin = place_of(first, joined, 0)
    other = None if begin is None else place_of(second, joined, begin + len(first))
    if begin is None or other is None or first == second:
        return None
    owners: list[int | None] = [None] * len(joined)
    owners[begin : begin + len(first)] = [0] * len(first)
    owners[other : other + len(second)] = [1] * len(second)
    return owners


def place_of(part: list[int], whole: list[int], start: int) -> int | None:
    """Where `part`, which is not empty, begins in `whole` from `start` on; None if nowhere."""
    places = range(start, len(whole) - len(part) + 1)
    return next((place for place in places if part and whole[place : place + len(part)] == part), None)


def split(ids: Sequence[int], types: Sequence[int], owners: Sequence[int | None]) -> PairTemplate:
    """The parts of a joined pair: `owners` are 0 for tokens of the first text, 1 of the second, else None."""
    firsts = [place for place, owner in enumerate(owners) if owner == 0]
    seconds = [place for place, owner in enumerate(owners) if owner == 1]
    (start, stop), (begin, end) = (firsts[0], firsts[-1] + 1), (seconds[0], seconds[-1] + 1)
    if not stop <= begin or len(firsts) != stop - start or len(seconds) != end - begin:
        raise ValueError("the tokenizer does not put the second text of a pair behind the first")

    def parts(values: Sequence[int]) -> tuple[Tokens, Tokens, Tokens]:
        before, between, after = values[:start], values[stop:begin], values[end:]
        return np.asarray(before, np.int32), np.asarray(between, np.int32), np.asarray(after, np.int32)

    return PairTemplate(*parts(ids), *parts(types), int(types[start]), int(types[begin]))
