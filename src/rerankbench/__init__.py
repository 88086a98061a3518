"""rerankbench: which reranker should I deploy, at which depth, at what cost, and is the gain real?

    from rerankbench import load_reranker
    for position, score, text in load_reranker("minilm").rank("what is panda?", texts):
        print(f"{score:.2f} {text}")

What is exported here is described in `rerankbench.api`; `differences` is in
`rerankbench.judging.reports.notebook`. All of it is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerankbench.api import (
        Candidates,
        Collection,
        Comparison,
        Measured,
        Ranked,
        Reranker,
        collection_of,
        compare,
        evaluate,
        load_collection,
        load_reranker,
        retrieve,
        score,
    )
    from rerankbench.basics.errors import UserError
    from rerankbench.judging.reports.notebook import differences

__all__ = [
    "Candidates",
    "Collection",
    "Comparison",
    "Measured",
    "Ranked",
    "Reranker",
    "UserError",
    "collection_of",
    "compare",
    "differences",
    "evaluate",
    "load_collection",
    "load_reranker",
    "retrieve",
    "score",
]

_ELSEWHERE = {"UserError": "rerankbench.basics.errors", "differences": "rerankbench.judging.reports.notebook"}


def __getattr__(name: str) -> Any:
    if name == "__version__":  # read when asked for: not every use of the package needs it
        return importlib.import_module("importlib.metadata").version("rerankbench")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "rerankbench.api")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
