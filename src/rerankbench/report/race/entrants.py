"""Who takes part in a race: every first stage and reranker of some runs, and what is timed of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rerankbench.report.arms.runs import CONFIG, Run
from rerankbench.report.race.record import Cell

MOST_DEPTHS = 4  # that are timed of one reranker; what lies between is interpolated
FIRST_STAGE, RERANKER = "first_stage", "reranker"


@dataclass(frozen=True)
class Entrant:
    """One process to be. `key` is the content hash by which runs name it, `run` one that used it.

    `cells` is what is timed of it; `why` says why it cannot take part, where it cannot.
    """

    kind: str
    key: str
    label: str
    run: Run
    cells: tuple[Cell, ...]
    why: str = ""


def entrants(runs: Iterable[Run], paid: bool = False) -> list[Entrant]:
    """First stages, then rerankers, each in the order of their keys: whatever order the runs came in.

    paid: whether those that cost money take part.
    """
    done = [run for run in runs if not run.failed]
    stages: dict[str, Run] = {}
    rerankers: dict[str, Run] = {}
    cells: dict[str, set[Cell]] = {}
    for run in done:
        stage, reranker = (str(run.result["identity"][name]) for name in ("candidates", "reranker"))
        stages[stage] = better(stages.get(stage), run)
        if reranker:
            rerankers[reranker] = better(rerankers.get(reranker), run)
            cells.setdefault(reranker, set()).update(cells_of(run, stage, reranker))
    found = [
        Entrant(
            FIRST_STAGE, key, str(run.params.get("first_stage", "")), run, (Cell(key),), first_problem(run)
        )
        for key, run in sorted(stages.items())
    ]
    found += [
        Entrant(RERANKER, key, str(run.params.get("reranker", "")), run, ordered(cells[key]), why(run, paid))
        for key, run in sorted(rerankers.items())
    ]
    return found


def ordered(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple(sorted(cells, key=lambda cell: (cell.stage, cell.layer or 0, cell.depth)))


def better(held: Run | None, new: Run) -> Run:
    """Of two runs that used the same, the one that can be loaded again."""
    return new if held is None or (problem(held) and not problem(new)) else held


def problem(run: Run) -> str:
    """Why a run's models cannot be loaded again, empty if they may."""
    if (run.folder / CONFIG).is_file():
        return ""
    return f"its folder has no {CONFIG}, by which it could be loaded (runs of MLflow alone cannot be raced)"


def why(run: Run, paid: bool) -> str:
    """Why a run's reranker is not raced, empty if it is."""
    if not paid and run.result.get("model", {}).get("paid"):
        return "asking it costs money, so it is raced only with report.race.paid=true"
    return problem(run)


def first_problem(run: Run) -> str:
    if run.params.get("first_stage") == "run":
        return "a run file does not say what its candidates cost, and a reranker may have made it"
    return problem(run)


def cells_of(run: Run, stage: str, reranker: str) -> list[Cell]:
    """What is timed of a run's reranker: some of its depths, of its layers the lowest and the last."""
    depths = spread([int(depth) for depth in run.result.get("by_depth") or {run.result["depth"]: 0}])
    layers = sorted(int(layer) for layer in run.result.get("by_layer") or ())
    ends: list[int | None] = list(dict.fromkeys([layers[0], layers[-1]])) if len(layers) > 1 else [None]
    return [Cell(stage, reranker, layer, depth) for layer in ends for depth in depths if depth > 0]


def spread(depths: Sequence[int], most: int = MOST_DEPTHS) -> list[int]:
    """At most `most` of some depths, evenly spaced in their order, the least and the deepest among them."""
    ordered_depths = sorted(set(depths))
    places = np.linspace(0, len(ordered_depths) - 1, min(most, len(ordered_depths))).round().astype(int)
    return [ordered_depths[place] for place in places]
