"""Pairs as a model sees them: token sequences. What folds to the same sequence has one score.

A sequence is the query's tokens beside the document's, both as far as the model gets them: texts that differ
in what the tokenizer folds (case, accents, white space), or behind the last token that fits, are the same.
Under `long_documents=max_passage` a pair is several sequences, one for each window of its document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Digests, Floats, Ints
from rerankbench.engine.store.rows import KEY, pair_keys
from rerankbench.engine.tokens import Tokens, sizes, token_digests
from rerankbench.rerankers.reranker import PairModel

# Sequences of some pairs: which `pair`, which `part` of its document, and the `key` that equal ones share.
SEQUENCE = np.dtype([("pair", "<i8"), ("part", "<i4"), ("key", KEY)])
TEXTS = 4096  # whose tokens are looked at together

Texts = Callable[[Ints], dict[int, Tokens]]  # row numbers to the tokens of each


def columns(layers: Sequence[int]) -> list[int]:
    """Where a store keeps the scores of sequences: in columns of their own, which look-ups of texts skip."""
    return [-1 - layer for layer in layers]


def sequences_of(
    model: PairModel, queries: Texts, documents: Texts, query_rows: Ints, document_rows: Ints
) -> NDArray[np.void]:
    """The sequences, as `SEQUENCE`, of pairs of rows [pairs] each, in order of pairs and parts.

    Each document is tokenized once, and no more than `TEXTS` of them are held here.
    """
    rooms, asked = seen_queries(model, queries, query_rows)
    listed, document_of = np.unique(document_rows, return_inverse=True)
    order = np.argsort(document_of, kind="stable")
    found = [np.empty(0, SEQUENCE)]
    for start in range(0, len(listed), TEXTS):
        some = listed[start : start + TEXTS]
        low, high = np.searchsorted(document_of[order], [start, start + len(some)])
        pairs, tokens = order[low:high], documents(some)
        texts = [tokens[int(row)] for row in some]
        found.append(seen_documents(model, texts, document_of[pairs] - start, rooms[pairs], pairs))
        found[-1]["key"] = pair_keys(asked[found[-1]["pair"]], found[-1]["key"].astype("S16"))
    together = np.concatenate(found)
    return together[np.lexsort((together["part"], together["pair"]))]


def seen_queries(model: PairModel, queries: Texts, rows: Ints) -> tuple[Ints, Digests]:
    """For the query of each pair: the tokens that it leaves to a document, and the digest of its own."""
    listed, query_of = np.unique(rows, return_inverse=True)
    rooms, digests = [np.empty(0, np.int64)], [np.empty(0, "S16")]
    for start in range(0, len(listed), TEXTS):
        some = listed[start : start + TEXTS]
        tokens = queries(some)
        texts = [tokens[int(row)] for row in some]
        rooms.append(np.array([model.room(len(ids)) for ids in texts], np.int64))
        digests.append(token_digests(ids[:kept] for ids, kept in zip(texts, seen(model, texts), strict=True)))
    return np.concatenate(rooms)[query_of], np.concatenate(digests)[query_of]


def seen(model: PairModel, queries: Sequence[Tokens]) -> Ints:
    """How many tokens of each query the model gets: a query may be longer than all that fits."""
    lengths, nothing = sizes(queries), np.zeros(len(queries), np.int64)
    return model.lengths(lengths, nothing) - model.lengths(nothing, nothing)


def seen_documents(
    model: PairModel, texts: Sequence[Tokens], document_of: Ints, rooms: Ints, pairs: Ints
) -> NDArray[np.void]:
    """The sequences of `pairs`, each of one of the `texts`; their keys are those of the document alone."""
    rooms = np.minimum(
        rooms, sizes(texts)[document_of]
    )  # where all of a text fits, how much more does not matter
    cuts, cut_of = np.unique(np.stack([document_of, rooms], axis=1), axis=0, return_inverse=True)
    parts = [pieces(model, texts[text], room) for text, room in cuts.tolist()]
    counts = sizes(parts)
    digests, starts = token_digests(part for some in parts for part in some), np.cumsum(counts) - counts
    cut_of = cut_of.reshape(-1)  # numpy 2.0 gives it another shape
    each = counts[cut_of]
    found = np.empty(each.sum(), SEQUENCE)
    found["pair"] = np.repeat(pairs, each)
    found["part"] = np.arange(len(found)) - np.repeat(np.cumsum(each) - each, each)
    found["key"] = digests[np.repeat(starts[cut_of], each) + found["part"]]
    return found


def first_of_each(sequences: NDArray[np.void]) -> NDArray[np.void]:
    """The first of the sequences that share a key, in their order."""
    return sequences[np.sort(np.unique(sequences["key"], return_index=True)[1])]


def best(values: Floats, owner: Ints) -> Floats:
    """The highest of each owner's rows [owners, columns]; `owner` ascends, and nobody has none."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    return np.maximum.reduceat(values, starts, axis=0) if len(values) else values


def pieces(model: PairModel, document: Tokens, room: int) -> list[Tokens]:
    """What the model gets of a document where there are `room` tokens for it: its beginning, or windows."""
    if model.settings.long_documents == "max_passage":
        return cut(document, room, model.settings.window_overlap)
    return [document[:room]]


def cut(document: Tokens, room: int, overlap: int) -> list[Tokens]:
    """Windows of `room` tokens, each starting `overlap` tokens before the last one ended.

    Beside a long query `room` is small: windows overlap by half at most, and no room is one empty window.
    """
    overlap = min(overlap, room // 2)
    starts = range(0, max(1, len(document) - overlap), room - overlap) if room else [0]
    return [document[start : start + room] for start in starts]
