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
    hits = pc.index_in(_canonical(known), value_set=_canonical(numbers)).fill_null(-1).to_numpy()
    at = np.flatnonzero(hits >= 0)
    spelled, first = np.unique(hits[at], return_index=True)
    if not len(spelled):
        return []
    pairs = zip(spelled[:_EXAMPLES].tolist(), at[first][:_EXAMPLES].tolist(), strict=True)
    where = tuple(f"{shown(numbers[i].as_py(), 20)} for {shown(known[j].as_py(), 20)}" for i, j in pairs)
    effect = "they count as other ids; write the id column as text, zeros kept"
    return [
        Finding("warning", f"{what} that differ from known ones only in zeros", len(spelled), where, effect)
    ]


def _canonical(ids: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(ids, _NUMBER, r"\1")
