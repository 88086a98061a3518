"""Ids that changed on the way: "7" for "007", "7.0" for "7", " d1" for "d1", "D1" for "d1"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerankbench.basics.finding import Finding, examples, shown

_NUMBER = r"^0*([0-9]+)(\.0+)?$"
_UNSEEN = r"[\p{Cf}\p{Cc}\p{Zl}\p{Zp}]"  # of RE2
_EXAMPLES = 3
_CURES = {
    "zeros": "write the id column as text, zeros kept",
    "white space": "write the ids without it",
    "capitals": "write them alike in all files",
    "characters that nobody sees": "remove those",
    "the form of Unicode": "write all files in the same one, such as NFC",
}


def lost_zeros(unknown: pa.Array, known: pa.ChunkedArray, what: str) -> list[Finding]:
    """Findings if ids of `unknown` (each once, none in `known`) are ids that `known` spells otherwise.

    Spreadsheets and number columns drop zeros; blanks and capitals come from other tools. Every judgement or
    result under such an id is lost.
    """
    found = [
        _differing(unknown.filter(pc.match_substring_regex(unknown, _NUMBER)), known, _number, "zeros", what),
        _differing(unknown, known, pc.utf8_trim_whitespace, "white space", what),
        _differing(unknown, known, pc.utf8_lower, "capitals", what),
    ]
    if not (_plain(unknown) and _plain(known)):
        found.append(_differing(unknown, known, _seen, "characters that nobody sees", what))
        found.append(_differing(unknown, known, _composed, "the form of Unicode", what))
    return [finding for finding in found if finding is not None]


def none_known(ids: pa.Array, what: str, known: pa.ChunkedArray, where: str, otherwise: str) -> str:
    """What to say of a file not one of whose ids is known: in what they differ, or else what to look at."""
    theirs, ours = (", ".join(examples(some)) for some in (ids, known))
    found = lost_zeros(ids.unique(), known, "ids")
    way = found[0].what.rpartition(" only in ")[2] if found else ""
    hint = f"they differ only in {way}: {found[0].examples[0]}" if found else otherwise
    return f"none of its {what} ids ({theirs or 'it is empty'}) is in {where} ({ours}): {hint}"


def _differing(
    unknown: pa.Array,
    known: pa.ChunkedArray,
    canonical: Callable[[pa.Array | pa.ChunkedArray], pa.Array | pa.ChunkedArray],
    way: str,
    what: str,
) -> Finding | None:
    if not len(unknown):
        return None
    encoded = canonical(unknown).dictionary_encode()
    hits = pc.index_in(canonical(known), value_set=encoded.dictionary).fill_null(-1).to_numpy()
    held = np.flatnonzero(hits >= 0)[::-1]  # backwards, so that the first of several is the one kept
    known_row = np.full(len(encoded.dictionary), -1, np.int64)
    known_row[hits[held]] = held
    meant = known_row[encoded.indices.to_numpy()]
    lost = np.flatnonzero(meant >= 0)
    if not len(lost):
        return None
    pairs = [(unknown[at].as_py(), known[int(meant[at])].as_py()) for at in lost[:_EXAMPLES].tolist()]
    where = tuple(f"{shown(ours, 20)} for {shown(theirs, 20)}" for ours, theirs in pairs)
    effect = f"they count as other ids; {_CURES[way]}"
    return Finding("warning", f"{what} that differ from known ones only in {way}", len(lost), where, effect)


def _plain(ids: pa.Array | pa.ChunkedArray) -> bool:
    """Whether nothing but ASCII is in them."""
    return pc.all(pc.string_is_ascii(ids)).as_py() is not False


def _seen(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.replace_substring_regex(ids, _UNSEEN, "")


def _composed(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.utf8_normalize(ids, "NFKC")


def _number(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.replace_substring_regex(ids, _NUMBER, r"\1")
