"""What people call an experiment among others: its arm's name."""

from __future__ import annotations

from rerankbench.basics.masking import masked
from rerankbench.experiment.settings import Experiment

# What the title of a reranker tells by itself, as `changed` writes it.
NAMED = ("name=", "path=")


def arm(experiment: Experiment) -> str:
    """The name of a contestant: its reranker and depth, with whatever else a sweep varies.

    The first stage is named unless it is the dense one in a sweep over nothing else, so that the names of one
    sweep name it in all or none.

    Examples: none, minilm@100, bm25 + base@50, minilm@100 max_length=256, bm25 without reranking.
    """
    e = experiment
    kind = e.labels.get("first_stage", e.first_stage.kind)
    # a sweep over collections compares the same arms on each of them
    told: tuple[str, ...] = ("reranker=", "first_stage=", "depth=", "dataset", "experiment=")
    told += ("reranker.",) if e.reranker.family == "none" else ()
    told += () if e.first_stage.embeds() else ("embedder", "index")
    rest = [changed(line) for line in e.overrides if not line.startswith(told)]
    implied = kind == "dense" and not any(line.startswith("first_stage=") for line in e.overrides)
    if e.reranker.family == "none" and implied:
        return masked(" ".join(["none", *rest]))
    if e.reranker.family == "none":
        return masked(" ".join([kind, *rest, "without reranking"]))
    stage = "" if implied else f"{kind} + "
    rest = [line for line in rest if not (e.reranker.title and line.startswith(NAMED))]
    name = f"{e.reranker.title or e.labels.get('reranker', e.reranker.family)}@{e.depth}"
    return masked(" ".join([stage + name, *rest]))


def run_name(experiment: Experiment) -> str:
    """The arm's name with what else a sweep varies, so that no two runs of a sweep are called the same."""
    e = experiment
    apart = ("dataset",) if e.reranker.family != "none" else ("dataset", "depth=", "reranker.")
    lines = [line for line in e.overrides if line.startswith(apart)]
    more = [f"on {line.partition('=')[2]}" if line.startswith("dataset=") else line for line in lines]
    return masked(" ".join([arm(e), *more]))


def changed(override: str) -> str:
    """An override as a name tells it: a reranker's or a first stage's without its group."""
    return override.lstrip("+").removeprefix("reranker.").removeprefix("first_stage.")
