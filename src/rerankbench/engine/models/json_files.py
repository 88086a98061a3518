"""Small JSON files of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError

AGAIN = "fetch the model again"
LARGEST = 100_000_000  # bytes; no config and no index of weights has as many


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError naming the file."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not readable as JSON ({error}); {AGAIN}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a JSON object; {AGAIN}")
    return content


def json_object(file: Path) -> dict[str, Any]:
    """A file's object; empty where there is none, or none that can be read, which is reported elsewhere."""
    try:
        return read_json(file) if file.is_file() else {}
    except UserError:
        return {}
