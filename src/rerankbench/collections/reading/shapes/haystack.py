"""Haystack's documents: `to_dict(flatten=False)`, or `to_dict()`, which puts the meta beside the content."""

from __future__ import annotations

from rerankbench.collections.reading.shapes.shape import RecordShape

_NAME = "Haystack documents"
_COLUMNS = {"id": ("id",), "text": ("content",)}

SHAPES = (
    RecordShape(_NAME, ("id", "content", "meta"), _COLUMNS),
    RecordShape(_NAME, ("id", "content", "blob", "score"), _COLUMNS),
)
