"""LlamaIndex's nodes and documents: `to_dict()` of one, or an entry of docstore.json."""

from __future__ import annotations

from rerankbench.collections.sources.shapes.shape import RecordShape

_NAME = "LlamaIndex nodes"

SHAPES = (
    RecordShape(_NAME, ("id_", "text"), {"id": ("id_",), "text": ("text",)}),
    RecordShape(_NAME, ("id_", "text_resource.text"), {"id": ("id_",), "text": ("text_resource.text",)}),
)
