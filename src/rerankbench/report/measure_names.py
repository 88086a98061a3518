"""Names of measures as ir_measures writes them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

from rerankbench.basics.errors import UserError

INSTALL = "it needs ir_measures: pip install 'rerankbench[measures]'"
CURE = 'write it like P@5, AP, ERR@10 or "RBP(rel=1)"'


def problems(names: Sequence[str], place: str) -> list[str]:
    """What is wrong with names of measures that are given in `place`, told before any work."""
    if names and importlib.util.find_spec("ir_measures") is None:
        return [f"{place}: {names[0]}: {INSTALL}"]
    return [f"{place}: {name}: ir_measures has no such measure; {CURE}" for name in names if not known(name)]


def known(name: str) -> bool:
    try:
        return bool(parsed(name))
    except UserError:
        return False


def parsed(name: str) -> Any:
    """ir_measures' object. Raises UserError."""
    import ir_measures

    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, AssertionError, SyntaxError, TypeError):
        raise UserError(f"{name}: ir_measures has no such measure; {CURE}") from None


def metric(name: str) -> str:
    """A measure's name as MLflow takes it for a metric: ERR_at_10."""
    return re.sub(r"_+", "_", re.sub(r"[^\w. -]", "_", name.replace("@", "_at_"))).strip("_")
