"""What a page runs: the plotting library and the page's own script, inlined and allowed by their hashes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = ("vega.min.js", "vega-lite.min.js", "vega-interpreter.js")  # the interpreter does without eval


@cache
def library() -> str:
    """Vega and Vega-Lite, with the notice that their licence asks for."""
    folder = HERE / "vega"
    notice = "".join(f"// {line}\n" for line in (folder / "LICENSE").read_text(encoding="utf-8").splitlines())
    parts = [(folder / name).read_text(encoding="utf-8") for name in LIBRARY]
    return notice + "\n;\n".join(parts)


@cache
def own() -> str:
    """The page's own script."""
    return (HERE / "template.js").read_text(encoding="utf-8")


def policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts, show itself, and ask nobody for anything."""
    allowed = " ".join(f"'sha256-{digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(script: str) -> str:
    """Of the text between the tags, as browsers compute it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
