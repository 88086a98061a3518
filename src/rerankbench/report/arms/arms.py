"""Arms: every reranker at every layer and depth of the runs, and "no reranking" once per first stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.evaluation.measures import display_name
from rerankbench.report.arms import naming, per_query
from rerankbench.report.arms.per_query import Measured, Order, Values
from rerankbench.report.arms.runs import Run
from rerankbench.report.settings import decides


@dataclass(frozen=True)
class Arm:
    """One contestant.

    `stage` and `reranker` are content hashes, `reranker` empty for "no reranking". `layer` is None where the
    model answers from one layer only; `top_layer` is the last it answers from. `curve` names the line that
    the arm lies on, `name` the arm. `run` is where its costs were measured.
    """

    stage: str
    reranker: str
    layer: int | None
    depth: int
    run: Run
    top_layer: int | None = None
    curve: str = ""
    stage_name: str = ""
    name: str = ""

    @property
    def reranks(self) -> bool:
        return bool(self.reranker)

    @property
    def key(self) -> tuple[str, str, int | None, int]:
        return (self.stage, self.reranker, self.layer, self.depth)


FAILED, NOT_A_NUMBER, OVER_BUDGET = "failed", "not a number", "over the budget"


@dataclass(frozen=True)
class LeftOut:
    """What a verdict cannot speak of: an arm without usable values, or one that may not be deployed.

    `kind`: FAILED, NOT_A_NUMBER or OVER_BUDGET; `run`: where people find it.
    """

    arm: str
    kind: str
    why: str
    run: str


@dataclass(frozen=True)
class Contest:
    """All arms and their values, every one of them finite.

    `compared` [arms, queries]: values of the measure that decides; `means`: every measure to [arms].
    `oracle`: (stage, depth) to the best possible values [queries] of each measure. `failed` runs have no
    values. `left_out`: runs and arms that cannot be compared. `incomplete`: measures that are not shown,
    since an arm lacks them for some queries only.
    """

    measure: str
    query_ids: tuple[str, ...]
    arms: tuple[Arm, ...]
    compared: Values
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    oracle: Mapping[tuple[str, int], Mapping[str, Values]] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    incomplete: tuple[str, ...] = ()

    def first_stage(self, arm: int) -> int:
        """The arm that does not rerank the same candidates."""
        stage = self.arms[arm].stage
        return next(i for i, other in enumerate(self.arms) if other.stage == stage and not other.reranks)

    def stages(self) -> list[str]:
        return list(dict.fromkeys(arm.stage for arm in self.arms))

    @property
    def several(self) -> bool:
        """Whether there are several first stages, so that "not reranking" alone would say too little."""
        return len(self.stages()) > 1

    def baseline(self, arm: int) -> str:
        """What the arm's gain is measured against, its own first stage by name where there are several."""
        return f"{self.arms[arm].stage_name} without reranking" if self.several else "not reranking"

    @property
    def baselines(self) -> str:
        """The same, of all arms at once."""
        return "its own first stage without reranking" if self.several else "not reranking"

    @property
    def every_baseline(self) -> str:
        """What an arm has to beat to be recommended: every first stage that could be used as it is."""
        return "every first stage without reranking" if self.several else "not reranking"


Held = dict[tuple[str, str, int | None, int], tuple[Arm, Measured]]


def contest(runs: Sequence[Run], measure: str) -> Contest:
    """The arms of some runs over one collection. Raises UserError where the runs cannot be compared."""
    done = [run for run in runs if not run.failed]
    failed = tuple(run for run in runs if run.failed)
    if not done:
        raise UserError([f"{run.place}: {run.arm} failed: {run.result.get('error')}" for run in failed])
    refuse_mixtures(done)
    names = same_measures(done, [per_query.measured(run) for run in done], measure)
    ids = per_query.query_ids(per_query.read(done[0]))
    held, oracle = gathered(done, ids, names, measure)
    arms, every = named([arm for arm, _ in held.values()]), [values for _, values in held.values()]
    reasons = list(zip(arms, unusable(arms, [each.values for each in every], measure), strict=True))
    damaged = [LeftOut(arm.name, NOT_A_NUMBER, why, arm.run.place) for arm, why in reasons if why]
    usable = [(arm, found) for (arm, why), found in zip(reasons, every, strict=True) if not why]
    if not usable:
        raise UserError([f"{each.run}: {each.arm}: {each.why}; run it again" for each in damaged])
    stages = {run.params.get("first_stage") for run in runs}
    lost = [left_out_by_failure(run, len(stages) > 1) for run in failed if not superseded(run, done)]
    means = {name: np.array([found.means[name] for _, found in usable]) for name in names}
    complete = {name: each for name, each in means.items() if np.isfinite(each).all()}
    partly = [name for name in names if any(name in found.partly for _, found in usable)]
    return Contest(
        measure,
        tuple(ids),
        tuple(arm for arm, _ in usable),
        np.stack([found.values for _, found in usable]),
        complete,
        oracle,
        tuple(done),
        failed,
        left_out=(*lost, *damaged),
        incomplete=tuple(name for name in partly if name not in complete),
    )


def gathered(
    runs: Sequence[Run], ids: list[str], names: Sequence[str], measure: str
) -> tuple[Held, dict[tuple[str, int], Mapping[str, Values]]]:
    """Every arm's values where they were measured best, and the oracle's by first stage and depth."""
    held: Held = {}
    oracle: dict[tuple[str, int], Mapping[str, Values]] = {}
    for run in runs:
        best, found = measured(run, ids, names, measure)
        oracle |= {(stage_of(run), depth): values for depth, values in best.items()}
        for arm, values in arms_of(run, found, measure):
            held[arm.key] = better_measured(held.get(arm.key), (arm, values))
    return held, oracle


def measured(
    run: Run, ids: list[str], names: Sequence[str], measure: str
) -> tuple[Mapping[int, Mapping[str, Values]], Mapping[Order, Measured]]:
    """A run's best possible values by depth, and its orders; its table is let go before the next is read."""
    table = per_query.read(run)
    rows = per_query.layout(table, ids, run.place)
    return per_query.oracles(table, rows, names), per_query.orders(table, rows, names, measure)


def unusable(arms: Sequence[Arm], values: Sequence[Values], measure: str) -> list[str]:
    """Why each arm cannot be compared, empty where it can; without a first stage no arm of it can."""
    missing = [int(np.count_nonzero(~np.isfinite(each))) for each in values]
    whole = {arm.stage for arm, count in zip(arms, missing, strict=True) if not arm.reranks and not count}
    name = display_name(measure)
    reasons = []
    for arm, count in zip(arms, missing, strict=True):
        if count:
            reasons.append(f"{name} is not a number for {count:,} of {len(values[0]):,} queries")
        elif arm.stage not in whole:
            reasons.append(f"{name} of its first stage is not a number for some queries")
        else:
            reasons.append("")
    return reasons


def left_out_by_failure(run: Run, several: bool = False) -> LeftOut:
    """A failed run by the name it gave itself, with its first stage where there are several."""
    stage, name = str(run.params.get("first_stage") or ""), run.arm
    if several and stage and not (" + " in name or name.endswith(" without reranking")):
        name = naming.curve(stage, "" if name == naming.NO_RERANKING else name, None)
    return LeftOut(name, FAILED, f"the run failed: {run.result.get('error')}", run.place)


def superseded(failed: Run, done: Sequence[Run]) -> bool:
    """Whether the same settings ran to their end in another run."""
    return bool(failed.params) and any(run.params == failed.params for run in done)


def stage_of(run: Run) -> str:
    return str(run.result["identity"]["candidates"])


def arms_of(run: Run, found: Mapping[Order, Measured], measure: str) -> Iterator[tuple[Arm, Measured]]:
    """One run's arms; the tutorial's measures are of whole lists, so smaller depths are no arms."""
    layers = {order.layer for order in found if order.stage == "reranked"}
    for order, values in found.items():
        whole_lists_only = measure.startswith("tutorial_") and np.isnan(values.values).all()
        if order.stage == "oracle" or whole_lists_only:
            continue
        if order.stage == "first_stage":
            yield Arm(stage_of(run), "", None, 0, run), values
        else:
            layer, top = (order.layer, max(layers)) if len(layers) > 1 else (None, None)
            reranker = str(run.result["identity"]["reranker"])
            yield Arm(stage_of(run), reranker, layer, order.depth, run, top), values


def better_measured(held: tuple[Arm, Measured] | None, new: tuple[Arm, Measured]) -> tuple[Arm, Measured]:
    """Of the same arm in two runs, the one that has all values, then the one that was timed at its depth."""
    if held is None:
        return new
    usable, usable_too = (np.isfinite(found.values).all() for _, found in (held, new))
    if usable != usable_too:
        return held if usable else new
    has, gets = (str(a.depth) in (a.run.result.get("latency_ms") or {}) for a in (held[0], new[0]))
    return new if gets and not has else held


def named(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Arms with names that tell them apart, first stages only where there are several."""
    stages = naming.stages({arm.stage: arm.run for arm in arms})
    rerankers = naming.rerankers({arm.reranker: arm.run for arm in arms if arm.reranks})

    def with_names(arm: Arm) -> Arm:
        stage = stages[arm.stage] if len(stages) > 1 else ""
        curve = (stage, rerankers.get(arm.reranker, ""), arm.layer)
        name = naming.arm(*curve, arm.depth)
        return replace(arm, stage_name=stages[arm.stage], curve=naming.curve(*curve), name=name)

    return tuple(map(with_names, arms))


SAME = {"name": "collection", "split": "split", "fingerprint": "content of the collection"}


def refuse_mixtures(runs: Sequence[Run]) -> None:
    """Raise UserError naming every run of another collection or split than the first one's."""
    problems, first = [], runs[0]
    for run in runs[1:]:
        if others := [key for key in SAME if first.dataset.get(key) != run.dataset.get(key)]:
            ours, theirs = (str(each.dataset.get(others[0]))[:16] for each in (first, run))
            problems.append(
                f"{run.place} ({run.arm}): its {SAME[others[0]]} is {theirs}, that of {first.place} is "
                f"{ours}; compare only runs over the same collection"
            )
    if problems:
        raise UserError(problems)


def same_measures(runs: Sequence[Run], found: Sequence[list[str]], measure: str) -> list[str]:
    """The measures that all runs have. Raises UserError where they differ, or lack the one that decides."""
    problems = [
        f"{run.place} ({run.arm}): its measures are {listed(names)}, those of {runs[0].place} are "
        f"{listed(found[0])}; run it again with the same cutoffs and measures (scores are reused)"
        for run, names in zip(runs, found, strict=True)
        if set(names) != set(found[0])
    ]
    if not problems and not found[0]:
        problems = [
            f"{runs[0].place}: has no measures, as nobody judged its queries; judge some pairs: "
            f"rerankbench-judge {runs[0].folder.parent}"
        ]
    if not problems and measure not in found[0]:
        problems = [
            f"report.measure={measure}: these runs do not have it; choose one of "
            f"{', '.join(filter(decides, found[0]))}, "
            "or run again with its cutoff among cutoffs="
        ]
    if problems:
        raise UserError(problems)
    return found[0]


def listed(names: Sequence[str]) -> str:
    return ", ".join(display_name(name) for name in names)
