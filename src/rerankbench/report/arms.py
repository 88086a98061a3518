"""Arms: every reranker at every layer and depth of the runs, and "no reranking" once per first stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rerankbench.errors import UserError
from rerankbench.measures import display_name
from rerankbench.report import naming, per_query
from rerankbench.report.per_query import Order, Values
from rerankbench.report.runs import Run
from rerankbench.report_settings import decides


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


@dataclass(frozen=True)
class Contest:
    """All arms and their values.

    `values`: measure to [arms, queries]; `oracle`: (stage, depth) to the best possible values [queries] of
    each measure. `failed` runs have no values.
    """

    measure: str
    query_ids: tuple[str, ...]
    arms: tuple[Arm, ...]
    values: Mapping[str, NDArray[np.float64]]
    oracle: Mapping[tuple[str, int], Mapping[str, Values]] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()

    @property
    def compared(self) -> NDArray[np.float64]:
        """Values [arms, queries] of the measure that decides."""
        return self.values[self.measure]

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


Held = dict[tuple[str, str, int | None, int], tuple[Arm, dict[str, Values]]]


def contest(runs: Sequence[Run], measure: str) -> Contest:
    """The arms of some runs over one collection. Raises UserError where the runs cannot be compared."""
    done = [run for run in runs if not run.failed]
    failed = tuple(run for run in runs if run.failed)
    if not done:
        raise UserError([f"{run.place}: {run.arm} failed: {run.result.get('error')}" for run in failed])
    refuse_mixtures(done)
    tables = [per_query.read(run) for run in done]
    names = same_measures(done, [per_query.measures(table) for table in tables], measure)
    ids = per_query.query_ids(tables[0])
    held: Held = {}
    oracle: dict[tuple[str, int], Mapping[str, Values]] = {}
    for run, table in zip(done, tables, strict=True):
        found = per_query.orders(table, ids, names, run.place)
        oracle |= {(stage_of(run), o.depth): v for o, v in found.items() if o.stage == "oracle"}
        for arm, values in arms_of(run, found, measure):
            held[arm.key] = better_measured(held.get(arm.key), (arm, values))
    arms = named([arm for arm, _ in held.values()])
    complete = [name for name in names if all(name in values for _, values in held.values())]
    stacked = {name: np.stack([values[name] for _, values in held.values()]) for name in complete}
    return Contest(measure, tuple(ids), arms, stacked, oracle, tuple(done), failed)


def stage_of(run: Run) -> str:
    return str(run.result["identity"]["candidates"])


def arms_of(
    run: Run, found: Mapping[Order, dict[str, Values]], measure: str
) -> Iterator[tuple[Arm, dict[str, Values]]]:
    """One run's arms; an order without the measure (the tutorial's, at small depths) is none."""
    layers = {order.layer for order in found if order.stage == "reranked"}
    for order, values in found.items():
        if order.stage == "oracle" or measure not in values:
            continue
        if order.stage == "first_stage":
            yield Arm(stage_of(run), "", None, 0, run), values
        else:
            layer, top = (order.layer, max(layers)) if len(layers) > 1 else (None, None)
            yield (
                Arm(stage_of(run), str(run.result["identity"]["reranker"]), layer, order.depth, run, top),
                values,
            )


def better_measured(
    held: tuple[Arm, dict[str, Values]] | None, new: tuple[Arm, dict[str, Values]]
) -> tuple[Arm, dict[str, Values]]:
    """Of the same arm in two runs, the one whose latency was measured at its depth."""
    if held is None:
        return new
    has, gets = (str(a.depth) in (a.run.result.get("latency_ms") or {}) for a in (held[0], new[0]))
    return new if gets and not has else held


def named(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Arms with names that tell them apart, first stages only where there are several."""
    stages = naming.stages({arm.stage: arm.run for arm in arms})
    rerankers = naming.rerankers({arm.reranker: arm.run for arm in arms if arm.reranks})
    several = len(stages) > 1
    return tuple(
        replace(
            arm,
            stage_name=stages[arm.stage],
            curve=naming.curve(
                stages[arm.stage] if several else "", rerankers.get(arm.reranker, ""), arm.layer
            ),
            name=naming.arm(
                stages[arm.stage] if several else "", rerankers.get(arm.reranker, ""), arm.layer, arm.depth
            ),
        )
        for arm in arms
    )


def refuse_mixtures(runs: Sequence[Run]) -> None:
    """Raise UserError naming every run of another collection or split than the first one's."""
    problems = []
    first = runs[0]
    for run in runs[1:]:
        for key, what in (
            ("name", "collection"),
            ("split", "split"),
            ("fingerprint", "content of the collection"),
        ):
            ours, theirs = first.dataset.get(key), run.dataset.get(key)
            if ours != theirs:
                problems.append(
                    f"{run.place} ({run.arm}): its {what} is {shown(theirs)}, that of {first.place} is "
                    f"{shown(ours)}; compare only runs over the same collection"
                )
                break
    if problems:
        raise UserError(problems)


def shown(value: object) -> str:
    return str(value)[:16]


def same_measures(runs: Sequence[Run], found: Sequence[list[str]], measure: str) -> list[str]:
    """The measures that all runs have. Raises UserError where they differ, or lack the one that decides."""
    problems = [
        f"{run.place} ({run.arm}): its measures are {listed(names)}, those of {runs[0].place} are "
        f"{listed(found[0])}; run it again with the same cutoffs and measures (scores are reused)"
        for run, names in zip(runs, found, strict=True)
        if set(names) != set(found[0])
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
