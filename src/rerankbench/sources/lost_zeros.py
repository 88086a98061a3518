"""Ids that lost their zeros on the way: "7" where the other file says "007", or "7.0" where it says "7"."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerankbench.finding import Finding, shown

_NUMBER = r"^0*([0-9]+)(\.0+)?$"
_EXAMPLES = 3


def lost_zeros(unknown: pa.Array, known: pa.ChunkedArray, what: str) -> list[Finding]:
    """A finding if ids of `unknown` (each once, none in `known`) are numbers that `known` spells otherwise.

    Spreadsheets and number columns do that; every judgement or result under such an id is lost.
    """
    numbers = unknown.filter(pc.match_substring_regex(unknown, _NUMBER))
    if not len(numbers):
        return []
    encoded = _canonical(numbers).dictionary_encode()
    hits = pc.index_in(_canonical(known), value_set=encoded.dictionary).fill_null(-1).to_numpy()
    held = np.flatnonzero(hits >= 0)[::-1]  # backwards, so that the first of several is the one kept
    known_row = np.full(len(encoded.dictionary), -1, np.int64)
    known_row[hits[held]] = held
    meant = known_row[encoded.indices.to_numpy()]
    lost = np.flatnonzero(meant >= 0)
    if not len(lost):
        return []
    pairs = [(numbers[at].as_py(), known[int(meant[at])].as_py()) for at in lost[:_EXAMPLES].tolist()]
    where = tuple(f"{shown(ours, 20)} for {shown(theirs, 20)}" for ours, theirs in pairs)
    effect = "they count as other ids; write the id column as text, zeros kept"
    return [Finding("warning", f"{what} that differ from known ones only in zeros", len(lost), where, effect)]


def _canonical(ids: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(ids, _NUMBER, r"\1")
