"""A collection of texts that are called by their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.in_memory import collection_of


def collection(queries: Sequence[str], documents: Sequence[str]) -> Collection:
    """Queries q0, q1, ..., documents d0, d1, ...; d0 is relevant to every query."""
    named = {f"d{number}": text for number, text in enumerate(documents)}
    asked = {f"q{number}": text for number, text in enumerate(queries)}
    return collection_of(named, asked, {query: {"d0": 1} for query in asked})
