"""Grades that are words: yes and no in the forms that people and tables give them."""

from __future__ import annotations

import numpy as np

PAIRS = (
    ("yes", "no"),
    ("y", "n"),
    ("true", "false"),
    ("t", "f"),
    ("relevant", "irrelevant"),
    ("relevant", "not relevant"),
    ("relevant", "non-relevant"),
)
GRADES = {yes: 1 for yes, _ in PAIRS} | {no: 0 for _, no in PAIRS}


def grade_word(value: object) -> str | None:
    """A grade that is such a word, or a truth value, in lower case; None for all others."""
    word = str(value).strip().casefold() if isinstance(value, str | bool | np.bool_) else ""
    return word if word in GRADES else None


def are_akin(first: str, second: str) -> bool:
    """Whether two words may stand in one column: they are the same, or of one pair."""
    return any({first, second} <= set(pair) for pair in PAIRS)
