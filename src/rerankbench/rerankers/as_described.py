"""Settings that follow what a sentence-transformers folder says of itself, as far as they leave it open."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.rerankers.reranker import LocalReranker

log = logging.getLogger(__name__)

R = TypeVar("R", bound=LocalReranker)


def as_described(settings: R, folder: Path) -> R:
    """No longer than the folder reads, and with the prompt that it puts before queries."""
    said = described(folder)
    found = replace(settings, query_instruction=settings.query_instruction or said.prompt)
    if said.max_length is None or said.max_length >= settings.max_length:
        return found
    log.info("%s: max_length=%d, which the folder says of itself", folder.name, said.max_length)
    return replace(found, max_length=said.max_length)
