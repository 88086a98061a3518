"""LlamaIndex's nodes and documents: `to_dict()` of one, an entry of docstore.json, a retriever's find."""

from __future__ import annotations

from rerankbench.collections.reading.shapes.shape import RecordShape

_NAME = "LlamaIndex nodes"

_NODE = {"id": ("id_",), "text": ("text",)}

SHAPES = (
    RecordShape(_NAME, ("id_", "text"), _NODE),
    RecordShape(_NAME, ("id_", "text_resource.text"), {"id": ("id_",), "text": ("text_resource.text",)}),
    RecordShape(_NAME, ("node.id_", "node.text"), _NODE, inside="node"),
)
