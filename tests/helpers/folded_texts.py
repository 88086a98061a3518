"""Texts, and changes that some tokenizers fold and others do not, for tests of ties."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from hypothesis import strategies as st

VARIANTS: dict[str, Callable[[str], str]] = {
    "same": lambda text: text,
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "composed": lambda text: unicodedata.normalize("NFC", text),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "compatible": lambda text: unicodedata.normalize("NFKC", text),
    "without accents": lambda text: "".join(
        character for character in unicodedata.normalize("NFD", text) if not unicodedata.combining(character)
    ),
    "spaces around": lambda text: f"  {text}\n ",
    "wider spaces": lambda text: text.replace(" ", " \t \u00a0"),
    "lines": lambda text: text.replace(" ", "\n"),
    "control characters": lambda text: text.replace(" ", "\x07 \x00"),
    "zero width": lambda text: text.replace(" ", "\u200b \u200d\ufeff"),
    "soft hyphen": lambda text: text.replace("a", "a\u00ad"),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "longer": lambda text: f"{text} " + "and so on and on " * 12,
    "longer otherwise": lambda text: f"{text} " + "and so on and on " * 10 + "until the end",
    "unknown": lambda text: text.replace("a", "\ud55c"),
    "other unknown": lambda text: text.replace("a", "\u16a0"),
}
WORDS = [
    "The",
    "tide",
    "follows",
    "the",
    "moon",
    "café",
    "marché",
    "naïve",
    "Über",
    "北京",
    "首都",
    "नई",
    "राजधानी",
    "ﬁnal",
    "Mars",
    "moons",
    "١٢",
    "two",
]

sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
families = st.tuples(sentences, st.lists(st.sampled_from(sorted(VARIANTS)), min_size=1, max_size=5)).map(
    lambda drawn: [VARIANTS[name](drawn[0]) for name in drawn[1]]
)
texts = st.lists(families, min_size=1, max_size=3).map(
    lambda groups: list(dict.fromkeys(text for group in groups for text in group))
)
