"""Pairs as requests: each has one query and as many of its documents as the server takes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from rerankbench.basics.arrays import Ints

TOKEN_BYTES = 4  # of UTF-8 that a token stands for: an estimate, since the server's tokenizer is not here


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold; None: no limit.

    `documents`; `tokens` as they are counted below; `characters` of a text, longer ones are cut.
    """

    documents: int
    tokens: int | None = None
    characters: int | None = None

    def cut(self, text: str) -> str:
        return text if self.characters is None else text[: self.characters]


@dataclass(frozen=True)
class Request:
    """One query, some of its documents, and `positions`, their places among the pairs."""

    query: str
    documents: tuple[str, ...]
    positions: Ints

    @property
    def tokens(self) -> int:
        """About how many tokens it is billed for: the query's counts once for each document."""
        return len(self.documents) * tokens(self.query) + sum(map(tokens, self.documents))


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode("utf-8", "replace")) // TOKEN_BYTES)


def requests(queries: Sequence[str], documents: Sequence[str], limits: Limits) -> Iterator[Request]:
    """Pairs, `queries[i]` with `documents[i]`, as requests; pairs of one query stand side by side."""
    start = 0
    for query, pairs in groupby(queries):
        end = start + sum(1 for _ in pairs)
        own = [limits.cut(text) for text in documents[start:end]]
        for first, last in portions(limits.cut(query), own, limits):
            yield Request(limits.cut(query), tuple(own[first:last]), np.arange(start + first, start + last))
        start = end


def portions(query: str, documents: Sequence[str], limits: Limits) -> Iterator[tuple[int, int]]:
    """From where to where each request goes; a document that alone is too long is asked for all the same."""
    first, used = 0, 0
    for place, text in enumerate(documents):
        own = tokens(query) + tokens(text) if limits.tokens else 0
        full = place - first == limits.documents
        if place > first and (full or (limits.tokens and used + own > limits.tokens)):
            yield first, place
            first, used = place, 0
        used += own
    if first < len(documents):
        yield first, len(documents)
