"""Names of arms: short, and different wherever the arms are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rerankbench.basics import value_names
from rerankbench.basics.visible import visible
from rerankbench.report.arms.runs import Run

NO_RERANKING = "no reranking"
STAGE_GROUPS = ("embedder", "index")
STAGE_PARAMS = (*STAGE_GROUPS, "candidates")
EMBEDDING_PARAMS = ("precision", "seed")
RERANKER_PARAMS = ("precision", "device")
NOT_TOLD = ("reranker.parameters_m",)  # a label of the axis of sizes


def stages(runs: Mapping[str, Run]) -> dict[str, str]:
    """A name for each first stage's identity: bm25, bm25 k1=0.9 b=0.4 where several are bm25."""
    return distinct(runs, lambda params: str(params.get("first_stage", "first stage")), is_stage_param)


def rerankers(runs: Mapping[str, Run]) -> dict[str, str]:
    """A name for each reranker's identity: minilm, or minilm max_length=128 where settings differ."""
    return distinct(runs, lambda params: str(params.get("reranker", "reranker")), is_reranker_param)


def is_stage_param(name: str, params: Mapping[str, Any]) -> bool:
    """Whether a setting may change candidates; what embeds nothing has no precision."""
    if name in STAGE_PARAMS or name.startswith("first_stage."):
        return True
    embeds = params.get("embedder", "none") != "none"
    return embeds and (name in EMBEDDING_PARAMS or name.startswith(("embedder.", "index.")))


def is_reranker_param(name: str, params: Mapping[str, Any]) -> bool:
    """Whether a setting may change what reranking yields."""
    return name in RERANKER_PARAMS or (name.startswith("reranker.") and name not in NOT_TOLD)


def distinct(
    runs: Mapping[str, Run],
    base: Callable[[Mapping[str, Any]], str],
    counts: Callable[[str, Mapping[str, Any]], bool],
) -> dict[str, str]:
    """Each identity's base name with all settings in which those of the same name differ.

    Only what differs in no setting, such as other weights under one name, is told apart by its hash.
    """
    names = {}
    for identity, run in runs.items():
        same = [other.params for other in runs.values() if base(other.params) == base(run.params)]
        told = telling(same, counts)
        parts = [
            f"{short(key, told)}={told[key][str(run.params[key])]}"
            for key in told
            if run.params.get(key) is not None
        ]
        names[identity] = visible(" ".join([base(run.params), *parts]))
    taken = list(names.values())
    return {
        identity: name if taken.count(name) == 1 else f"{name} {visible(identity[:6])}"
        for identity, name in names.items()
    }


def telling(
    several: Sequence[Mapping[str, Any]], counts: Callable[[str, Mapping[str, Any]], bool]
) -> dict[str, dict[str, str]]:
    """The settings in which runs differ, with a label for each value.

    What follows from the choice of an embedder or an index, such as its model, is not told beside it.
    """
    keys = dict.fromkeys(key for params in several for key in params if counts(key, params))
    differing = [key for key in keys if differs(key, several)]
    told = [key for key in differing if not follows(key, several, differing)]
    return {
        key: value_names.labels(key, [params[key] for params in several if params.get(key) is not None])
        for key in told
    }


def differs(key: str, several: Sequence[Mapping[str, Any]]) -> bool:
    return len({str(params.get(key)) for params in several}) > 1


def follows(key: str, several: Sequence[Mapping[str, Any]], differing: Sequence[str]) -> bool:
    """Whether a setting is the same wherever the option of its group is, which is told itself."""
    group = key.partition(".")[0]
    if group == key or group not in STAGE_GROUPS or group not in differing:
        return False
    pairs = {(str(params.get(group)), str(params.get(key))) for params in several}
    return len(pairs) == len({option for option, _ in pairs})


def short(key: str, told: Collection[str]) -> str:
    """A key without its group, unless another key would be called the same."""
    name = key.rpartition(".")[2]
    return name if [other.rpartition(".")[2] for other in told].count(name) == 1 else key


def curve(stage: str, reranker: str, layer: int | None) -> str:
    """The line that an arm lies on: minilm, bm25 + minicpm layer 28, bm25 without reranking."""
    if not reranker:
        return f"{stage} without reranking" if stage else NO_RERANKING
    name = reranker if layer is None else f"{reranker} layer {layer}"
    return f"{stage} + {name}" if stage else name


def arm(stage: str, reranker: str, layer: int | None, depth: int) -> str:
    """The arm itself: no reranking, minilm@100 max_length=128, bm25 + minicpm@100 layer 28."""
    if not reranker:
        return curve(stage, reranker, layer)
    base, _, rest = reranker.partition(" ")
    return curve(stage, f"{base}@{depth} {rest}".rstrip(), layer)
