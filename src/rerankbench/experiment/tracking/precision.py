"""What a run's vectors and scores were computed in, whatever the machine was set to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def computed_in(result: Mapping[str, Any]) -> str:
    """Of a result.json: bf16, "of the file" (ONNX), one for each stage; empty where nothing here computed.

    A service behind HTTP computes elsewhere, and a list that another tool wrote is computed nowhere.
    """
    asked = (result.get("environment") or {}).get("precision") or ""
    embedding = asked if (result.get("identity") or {}).get("embedder") else ""
    reranking = scored_in(result)
    if embedding and reranking and embedding != reranking:
        return f"{embedding} for embedding, {reranking} for reranking"
    return embedding or reranking


def scored_in(result: Mapping[str, Any]) -> str:
    """The same of the reranker alone. Results without the key are older than it."""
    asked = (result.get("environment") or {}).get("precision")
    return str((result.get("model") or {}).get("precision", asked) or "")
