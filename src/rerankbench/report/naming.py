"""Names of arms: short, and different wherever the arms are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rerankbench.report.runs import Run
from rerankbench.typed_json import shown

NO_RERANKING = "no reranking"
STAGE_PARAMS = ("embedder", "index", "candidates")
RERANKER_PARAMS = ("reranker.model", "reranker.max_length", "precision", "device")


def stages(runs: Mapping[str, Run]) -> dict[str, str]:
    """A name for each first stage's identity: bm25, or dense embedder=bge-m3 where several are dense."""
    return distinct(runs, lambda params: str(params.get("first_stage", "first stage")), is_stage_param)


def rerankers(runs: Mapping[str, Run]) -> dict[str, str]:
    """A name for each reranker's identity: minilm, or minilm max_length=128 where settings differ."""
    return distinct(runs, lambda params: str(params.get("reranker", "reranker")), is_reranker_param)


def is_stage_param(name: str) -> bool:
    return name in STAGE_PARAMS or name.startswith("first_stage.")


def is_reranker_param(name: str) -> bool:
    return name in RERANKER_PARAMS or (name.startswith("reranker.") and name != "reranker.parameters_m")


def distinct(
    runs: Mapping[str, Run], base: Callable[[Mapping[str, Any]], str], counts: Callable[[str], bool]
) -> dict[str, str]:
    """Each identity's base name, with the params in which those of the same name differ, else its hash."""
    names = {}
    for identity, run in runs.items():
        same = [other for other in runs.values() if base(other.params) == base(run.params)]
        wanted = [key for key in run.params if counts(key) and differs(key, same)]
        parts = [f"{key.rpartition('.')[2]}={shown(run.params[key])}" for key in wanted]
        names[identity] = " ".join([shown(base(run.params)), *parts])
    taken = list(names.values())
    return {
        identity: name if taken.count(name) == 1 else f"{name} {shown(identity[:6])}"
        for identity, name in names.items()
    }


def differs(key: str, runs: list[Run]) -> bool:
    return len({str(run.params.get(key)) for run in runs}) > 1


def curve(stage: str, reranker: str, layer: int | None) -> str:
    """The line that an arm lies on: minilm, bm25 > minicpm layer 28."""
    name = reranker or NO_RERANKING
    if layer is not None:
        name = f"{name} layer {layer}"
    return f"{stage} > {name}" if stage else name


def arm(stage: str, reranker: str, layer: int | None, depth: int) -> str:
    """The arm itself: no reranking, minilm@100, bm25 > minicpm@100 layer 28."""
    name = f"{reranker}@{depth}" if reranker else NO_RERANKING
    if layer is not None:
        name = f"{name} layer {layer}"
    return f"{stage} > {name}" if stage else name
