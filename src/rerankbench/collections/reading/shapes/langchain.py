"""LangChain's documents: `model_dump()` of one, or what `langchain_core.load.dumpd` makes of it."""

from __future__ import annotations

from rerankbench.collections.reading.shapes.shape import RecordShape

_NAME = "LangChain documents"
_COLUMNS = {"id": ("id", "metadata.source"), "text": ("page_content",)}

SHAPES = (
    RecordShape(_NAME, ("page_content", "metadata"), _COLUMNS),
    RecordShape(_NAME, ("lc", "kwargs.page_content"), _COLUMNS, inside="kwargs"),
)
