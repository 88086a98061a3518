"""What an arrangement is: rerankers one after the other, mixed, or left out where a query seems easy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankbench.report.arms.arms import Arm

CASCADE, FUSION, EXIT = "cascade", "fusion", "early exit"
KINDS = (CASCADE, FUSION, EXIT)
MIN_MAX, Z, RANKS = "min-max", "z", "reciprocal ranks"
METHODS = (MIN_MAX, Z, RANKS)


@dataclass(frozen=True)
class Arrangement:
    """One arrangement over one first stage's candidates; `steps` are rows of the contest's plain arms.

    CASCADE: each step reranks the best of the step before. FUSION: of the first stage and one step, or of two
    steps at one depth, by `method`; `weight` is that of the last step, None for reciprocal ranks. EXIT: a
    query whose first two documents are more than `gap` apart, before the last step, does without it; `share`
    of the queries do.
    """

    kind: str
    steps: tuple[int, ...]
    method: str = ""
    weight: float | None = None
    gap: float | None = None
    share: float = 0.0

    def shares(self) -> list[float]:
        """The share of the queries that each step is computed for."""
        return [1.0] * (len(self.steps) - 1) + [1.0 - self.share]


def name(arrangement: Arrangement, arms: Sequence[Arm], several: bool) -> str:
    """As tables name it: minilm@100 > v2-m3@20, bm25 + (minilm@100 × first stage min-max 0.5)."""
    steps = [step_name(arms[row]) for row in arrangement.steps]
    if arrangement.kind == FUSION:
        parts = steps if len(steps) > 1 else ["first stage", *steps]
        how = (
            arrangement.method
            if arrangement.weight is None
            else f"{arrangement.method} {arrangement.weight:g}"
        )
        text = f"{' × '.join(parts)} ({how})"
    elif arrangement.kind == EXIT:
        text = " > ".join([*steps[:-1], f"{steps[-1]} unless gap > {arrangement.gap:.4g}"])
    else:
        text = " > ".join(steps)
    return f"{arms[arrangement.steps[0]].stage_name} + {text}" if several else text


def step_name(arm: Arm) -> str:
    """A plain arm without its first stage: minilm@100, minicpm@20 layer 28."""
    return arm.name.removeprefix(f"{arm.stage_name} + ")


def reranker_name(arm: Arm) -> str:
    """The reranker alone: minilm, minilm max_length=128."""
    if not arm.reranks:
        return "none"
    base = arm.curve.removeprefix(f"{arm.stage_name} + ")
    return base.removesuffix(f" layer {arm.layer}") if arm.layer is not None else base


def spoken(arrangement: Arrangement, arms: Sequence[Arm]) -> str:
    """As a sentence says it: BM25, then minilm at depth 100, then v2-m3 at depth 20."""
    stage = arms[arrangement.steps[0]].stage_name
    over = [said(arms[row]) for row in arrangement.steps]
    if arrangement.kind == CASCADE:
        return ", then ".join([stage, *over])
    if arrangement.kind == FUSION:
        two = " and ".join(over) if len(over) > 1 else f"its own scores and {over[0]}"
        last = reranker_name(arms[arrangement.steps[-1]])
        weight = "" if arrangement.weight is None else f", weight {arrangement.weight:g} on {last}"
        return f"{stage}, then {two} fused ({arrangement.method}{weight})"
    before = ", then ".join([stage, *over[:-1]])
    return (
        f"{before}, then {over[-1]} unless the best two scores are more than {arrangement.gap:.4g} apart "
        f"(those of {100 * arrangement.share:.0f}% of the queries are)"
    )


def said(arm: Arm) -> str:
    layer = f"layer {arm.layer} and " if arm.layer is not None else ""
    return f"{reranker_name(arm)} at {layer}depth {arm.depth}"


def step(arm: Arm) -> dict[str, object]:
    """One step as report.json has it."""
    return {"reranker": reranker_name(arm), "depth": arm.depth, "layer": arm.layer}
