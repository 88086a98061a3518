"""What to choose now, whether or not anything is shown: a decision under uncertainty, not a finding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.measures import display_name
from rerankbench.report.arms.arms import Contest
from rerankbench.report.claims.comparison import RANGE, SEED, Comparison
from rerankbench.report.costs.cost import Ordering

Array = NDArray[np.float64]

DRAWS = 5_000
_BLOCK = 1 << 21  # weights drawn at a time: 16 MB


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The arm to choose now (a row), in units of the measure.

    `expected_loss` against the truly best arm; `bound`: what that loss does not exceed at the report's
    level, with one more query whose loss is the worst possible; `chance_helps`: of being better than not
    reranking, None where the arm does not rerank or no query differs.
    """

    arm: int
    expected_loss: float
    bound: float
    chance_helps: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A Bayesian bootstrap (Rubin, Annals of Statistics 1981) over queries, shared by all arms.

    `means` [draws, arms] with random weights of the queries, `unseen` [draws] the weight that one query
    more would have, `signs` [draws] +1 or -1 at random.
    """

    means: Array
    unseen: Array
    signs: Array


def draw(values: Array, seed: int, draws: int) -> Draws:
    """Random weighted means of values [arms, queries]."""
    arms, queries = values.shape
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=draws)
    means, unseen = np.empty((draws, arms)), np.empty(draws)
    step = max(1, _BLOCK // (queries + 1))
    for at in range(0, draws, step):
        weights = rng.standard_exponential((min(step, draws - at), queries + 1))
        seen = weights[:, 1:].sum(axis=1)
        means[at : at + step] = weights[:, 1:] @ values.T / seen[:, None]
        unseen[at : at + step] = weights[:, 0] / (weights[:, 0] + seen)
    return Draws(means=means, unseen=unseen, signs=signs)


def choose(
    contest: Contest, comparison: Comparison, order: Ordering, nothing_fits: bool = False
) -> Decision | None:
    """The cheapest arm of known cost whose expected loss is within delta; None where none is allowed.

    Where no arm of known cost is, the one with the smallest expected loss. `nothing_fits`: no arm is known to
    be within the budget, first stages included, which the sentence says.
    """
    allowed = np.array(comparison.allowed, dtype=np.intp)
    if not len(allowed):
        return None
    values = contest.compared
    drawn = draw(values - values[allowed[0]], SEED, DRAWS)
    top = drawn.means[:, allowed].max(axis=1)
    losses = (top[:, None] - drawn.means[:, allowed]).mean(axis=0)
    costs = order.values[allowed]
    near = np.flatnonzero((losses <= comparison.delta + 1e-12) & np.isfinite(costs))
    candidates = near if len(near) else np.arange(len(allowed))
    keys = zip(costs if len(near) else losses, losses, -values[allowed].mean(axis=1), strict=True)
    ranked = dict(enumerate(keys))
    row = min(candidates.tolist(), key=lambda i: tuple(round(float(key), 12) for key in ranked[i]))
    arm, loss = int(allowed[row]), float(losses[row])
    bound = loss_bound(drawn, allowed, row, comparison.level)
    chance = chance_helps(contest, comparison, drawn, arm)
    beside = notes(order, allowed, arm, nothing_fits)
    told = sentence(contest, comparison, arm, loss, bound, chance, beside)
    return Decision(arm=arm, expected_loss=loss, bound=bound, chance_helps=chance, sentence=told)


def loss_bound(drawn: Draws, allowed: NDArray[np.intp], row: int, level: float) -> float:
    """What the loss against the best other arm does not exceed at the level; 0 where there is no other.

    Half of the error is kept for the choice, which was made by the same queries.
    """
    others = np.delete(allowed, row)
    if not len(others):
        return 0.0
    seen = drawn.means[:, others].max(axis=1) - drawn.means[:, allowed[row]]
    with_worst = seen * (1.0 - drawn.unseen) + RANGE * drawn.unseen
    return float(max(0.0, np.quantile(with_worst, (1.0 + level) / 2.0)))


def chance_helps(contest: Contest, comparison: Comparison, drawn: Draws, arm: int) -> float | None:
    """The probability that the arm is better than every first stage that may be deployed, its own included.

    One query more, which gains or loses everything with equal chance, keeps it from 0 and 1 where there are
    few queries.
    """
    if not contest.arms[arm].reranks:
        return None
    stages = {i for i in comparison.allowed if not contest.arms[i].reranks} | {contest.first_stage(arm)}
    if not (contest.compared[arm] != contest.compared[sorted(stages)]).any():
        return None
    seen = drawn.means[:, arm] - drawn.means[:, sorted(stages)].max(axis=1)
    gains = seen * (1.0 - drawn.unseen) + RANGE * drawn.unseen * drawn.signs
    return float((gains > 0).mean())


def sentence(
    contest: Contest,
    comparison: Comparison,
    arm: int,
    loss: float,
    bound: float,
    chance: float | None,
    costs: str = "",
) -> str:
    """The decision in words."""
    measure = display_name(contest.measure)
    name = contest.arms[arm].name
    if len(comparison.allowed) < 2:
        return f"If you must choose now (a decision, not a finding): {name}{costs}, as there is nothing else."
    worse = f"at most {bound:.4f} worse than the best" if bound >= 0.00005 else "no other arm is better"
    text = (
        f"If you must choose now (a decision, not a finding): {name}{costs}; expected loss about {loss:.4f} "
        f"{measure}; with {100 * comparison.level:g}% confidence, {worse}"
    )
    if chance is not None:
        text += f"; chance that it beats {contest.every_baseline}: {percent(chance)}"
    return f"{text}."


def notes(order: Ordering, allowed: NDArray[np.intp], arm: int, nothing_fits: bool) -> str:
    """What to add to the arm's name where not every cost is known, or none is within the budget."""
    if nothing_fits:
        return " (no arm is known to be within the budget)"
    if not np.isfinite(order.values[arm]):
        return " (its cost is not known)"
    return "" if np.isfinite(order.values[allowed]).all() else " (of the arms whose cost is known)"


def percent(chance: float) -> str:
    if chance > 0.99:
        return "more than 99%"
    return "less than 1%" if chance < 0.01 else f"about {100 * chance:.0f}%"
