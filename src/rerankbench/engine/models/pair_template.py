"""How a tokenizer joins the two texts of a pair: special tokens around them, and the type of every token."""

from __future__ import annotations

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
        template = cls.read(tokenizer)
        for probe in PROBES:
            template.verify(tokenizer, probe)
        return template

    @classmethod
    def read(cls, tokenizer: Any) -> PairTemplate:
        """By where the tokens of two marks are in a pair of them."""
        for marks in MARKS:
            first, second = (ids.tolist() for ids in token_ids(tokenizer, marks, None, special=False))
            joined = tokenizer(*marks, truncation=False, padding=False, return_token_type_ids=True)
            ids, types = joined["input_ids"], joined["token_type_ids"]
            start = place_of(first, ids, 0)
            begin = None if start is None else place_of(second, ids, start + len(first))
            if start is not None and begin is not None and first != second:
                around = slice(start), slice(start + len(first), begin), slice(begin + len(second), None)
                one, two, three = (np.asarray(ids[part], np.int32) for part in around)
                of_one, of_two, of_three = (np.asarray(types[part], np.int32) for part in around)
                return cls(one, two, three, of_one, of_two, of_three, types[start], types[begin])
        raise ValueError("the tokenizer does not put the second text of a pair behind the first")

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


def place_of(part: list[int], whole: list[int], start: int) -> int | None:
    """Where `part`, which is not empty, begins in `whole` from `start` on; None if nowhere."""
    places = range(start, len(whole) - len(part) + 1)
    return next((place for place in places if part and whole[place : place + len(part)] == part), None)
