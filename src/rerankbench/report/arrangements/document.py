"""Arrangements for machines: their part of report.json."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from rerankbench.evaluation.significance import mean_intervals, resampled_means, wins
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements.answers import Answer
from rerankbench.report.arrangements.arrangement import EXIT, FUSION, Arrangement
from rerankbench.report.arrangements.findings import Arranged
from rerankbench.report.arrangements.words import Step, Teller, bounded
from rerankbench.report.claims.comparison import SEED

RESAMPLES = 2_000


def arms(found: Arranged, level: float, delta: float) -> list[dict[str, Any]]:
    """Every arrangement with the keys of a plain arm, best first; what is not tested of it is null."""
    field = found.field
    rows = np.arange(field.plain, len(field))
    if not len(rows):
        return []
    own = np.array([field.first_stage(row) for row in rows.tolist()])
    used = np.unique(np.concatenate([own, rows, [found.reference]]))
    drawn = resampled_means(field.values[used], seed=SEED, resamples=RESAMPLES)
    at = np.searchsorted(used, rows)

    def intervals(against: np.ndarray[Any, Any] | None) -> list[dict[str, float]]:
        if against is None:
            found = mean_intervals(field.values[rows], drawn[:, at], level, least=0.0)
        else:
            minus = drawn[:, np.searchsorted(used, against)]
            found = mean_intervals(field.values[rows] - field.values[against], drawn[:, at] - minus, level)
        return [each._asdict() for each in found]

    mean, gain = intervals(None), intervals(own)
    best = intervals(np.full(len(rows), found.reference))
    made = [
        arm(found, int(row), delta)
        | {"mean": mean[i]}
        | {"against_first_stage": gain[i] | changes(found, int(row), int(own[i])), "against_best": best[i]}
        for i, row in enumerate(rows)
    ]
    return sorted(made, key=lambda each: (-round(each["mean"]["mean"], 12), each["relative_cost"]))


def changes(found: Arranged, row: int, own: int) -> dict[str, Any]:
    gains = found.field.values[row] - found.field.values[own]
    helps = bool(found.shown.helps[row])
    return wins(gains)._asdict() | {"largest_loss": float(max(0.0, -gains.min())), "shown": helps}


def arm(found: Arranged, row: int, delta: float) -> dict[str, Any]:
    field = found.field
    each, steps = field.arrangement(row), field.steps(row)
    assert each is not None
    return {
        "name": field.name(row),
        "kind": each.kind,
        "steps": [arranging.step(step) for step in steps],
        "fusion": fusion(each),
        "early_exit": early_exit(each),
        "reranker": " > ".join(arranging.reranker_name(step) for step in steps),
        "first_stage": steps[0].stage_name,
        "layer": None,
        "depth": steps[0].depth,
        "run": None,
        "mlflow_run_id": None,
        "measures": {field.contest.measure: float(field.values[row].mean())},
        "as_good_as_the_best": {"shown": bool(found.shown.at(delta)[row] and found.shown.helps[row])},
        "excluded": found.excluded[row] or None,
        "cost": asdict(field.costs[row]),
        "relative_cost": float(field.order.values[row]),
    }


def fusion(each: Arrangement) -> dict[str, Any] | None:
    """How scores are mixed: of the first stage and the step, or of both steps; weight of the last one."""
    if each.kind != FUSION:
        return None
    return {"method": each.method, "weight": each.weight, "with_first_stage": len(each.steps) == 1}


def early_exit(each: Arrangement) -> dict[str, Any] | None:
    """Queries with a gap above `gap`, by the step before (0: the first stage), do without the last step."""
    if each.kind != EXIT:
        return None
    return {"gap": each.gap, "after_step": len(each.steps) - 1, "share": each.share}


def summary(found: Arranged, delta: float) -> dict[str, Any]:
    """What was tried and judged, what is deployed, and what could not take part."""
    field, answer, teller = found.field, found.headline, Teller(found, delta)
    return {
        "tried": field.count(),
        "possible": field.possible,
        "reference": field.name(found.reference),
        "baseline": field.name(answer.baseline),
        "judged": estimate(answer),
        "deployed": None if answer.choice is None else field.name(answer.choice),
        "shown": None if answer.arm is None else field.name(answer.arm),
        "lines": teller.tried_lines(),
        "staircase": [stair(step) for step in teller.staircase()],
    }


def stair(step: Step) -> dict[str, str | None]:
    """One step: from which bound on (null: from 0) it holds, and up to which of those that were tried."""
    first, last = (None if end is None else bounded(end, step.unit) for end in (step.first, step.last))
    return {"from": first, "up_to": last, "advice": step.advice}


def estimate(answer: Answer) -> dict[str, Any] | None:
    found = answer.estimate
    return None if found is None else asdict(found) | {"optimism": found.optimism}


def answers(found: Arranged, delta: float) -> list[dict[str, Any]]:
    """For every budget, bound and margin: what to deploy."""
    field, teller = found.field, Teller(found, delta)
    return [
        {
            "budget": each.budget or None,
            "bound": each.bound,
            "margin": each.margin,
            "kind": each.kind,
            "arm": None if each.arm is None else field.name(each.arm),
            "choice": None if each.choice is None else field.name(each.choice),
            "sentence": teller.sentence(each),
            "estimate": estimate(each),
            "ratio": ratio(each),
            "arms_within": each.fits,
        }
        for each in found.answers
    ]


def ratio(each: Answer) -> dict[str, Any] | None:
    if each.ratio is None or not each.ratio.known:
        return None
    return {"value": each.ratio.value, "low": each.ratio.low, "high": each.ratio.high, "of": each.ratio.what}
