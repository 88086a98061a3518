"""What a report is asked to decide by."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from omegaconf import DictConfig, OmegaConf

from rerankbench.experiment.config import within
from rerankbench.report import measure_names

USUAL = "ndcg_at_10"
KAPPA = 0.4  # below which Landis and Koch (Biometrics 1977) call agreement fair at best
NAME = re.compile(r"[\w.-][\w. -]{0,99}")  # of a registered model: MLflow refuses / and :


@dataclass(frozen=True)
class Budget:
    """What the deployed arm may cost; None: no bound.

    `latency_p95_ms` of reranking one query, of the whole query where several first stages compete;
    `memory_mb` (10^6 bytes) the peak, `price_per_1k` queries.
    """

    latency_p95_ms: float | None = None
    memory_mb: float | None = None
    price_per_1k: float | None = None


@dataclass(frozen=True)
class Race:
    """How costs are measured when a sweep is over.

    `seconds`: at most, loading included; 0: not at all. It ends before where half the interval of each median
    is within `width` of it. `paid`: whether services that cost money are asked, too.
    """

    seconds: float = 120.0
    width: float = 0.05
    paid: bool = False

    def problems(self) -> list[str]:
        found = []
        if not 0 <= self.seconds < math.inf:
            found.append(f"report.race.seconds={self.seconds}: give seconds such as 120, or 0 for no race")
        if not 0 < self.width < 1:
            found.append(f"report.race.width={self.width}: give a share of the median, such as 0.05")
        return found


@dataclass(frozen=True)
class Report:
    """Settings of the verdict.

    `measure` is what arms are compared by, `delta` how much of it may be given up for a cheaper arm,
    `level` the confidence, `price_per_hour` what the machine costs, `arrangements` whether cascades, fusions
    and early exits compete as well, `more` measures to list besides, by ir_measures' names, `register` the
    name under which MLflow's registry gets the deployed arm, `kappa` the agreement with people (Cohen's)
    below which judgements of a language model carry a warning.
    """

    measure: str = USUAL
    delta: float = 0.01
    level: float = 0.95
    price_per_hour: float | None = None
    arrangements: bool = True
    more: tuple[str, ...] = ()
    register: str | None = None
    kappa: float = KAPPA
    budget: Budget = field(default_factory=Budget)
    race: Race = field(default_factory=Race)

    def problems(self) -> list[str]:
        found = [f"report.measure={self.measure}: {why}"] if (why := measure_problem(self.measure)) else []
        if not 0 <= self.delta < math.inf:
            found.append(f"report.delta={self.delta}: give 0 or more, in units of the measure, such as 0.01")
        if not 0.5 < self.level < 1:
            found.append(f"report.level={self.level}: give a confidence between 0.5 and 1, for instance 0.95")
        if self.price_per_hour is not None and not 0 < self.price_per_hour < math.inf:
            found.append(f"report.price_per_hour={self.price_per_hour}: give what the machine costs per hour")
        found += measure_names.problems(self.more, "report.more")
        for name, bound in vars(self.budget).items():
            if bound is not None and not bound > 0:
                found.append(f"report.budget.{name}={bound}: give more than 0, or null for no bound")
        if not 0 <= self.kappa <= 1:
            found.append(f"report.kappa={self.kappa}: give an agreement from 0 to 1, such as {KAPPA:g}")
        if self.register is not None and not NAME.fullmatch(self.register):
            found.append(f"report.register={self.register}: give a name of letters, digits, - and _")
        found += self.race.problems()
        if self.budget.price_per_1k is not None and self.price_per_hour is None:
            found.append("report.budget.price_per_1k needs report.price_per_hour=PRICE of the machine")
        return found


def measure_problem(measure: str) -> str:
    """Why arms cannot be compared by a measure; empty if they can."""
    from rerankbench.evaluation.measures import display_name

    try:
        display_name(measure)
    except Exception:  # the function names the spelling it expects
        return "write it like ndcg_at_10 or recall_at_100"
    if decides(measure):
        return ""
    return (
        "Judged says how many results have judgements, not how good they are; choose another measure, "
        "such as ndcg_at_10, mrr_at_10 or recall_at_100"
    )


def decides(measure: str) -> bool:
    """Whether more of a measure is better."""
    return not measure.startswith("judged_")


def usual_measure(*, _root_: DictConfig) -> str:
    """What arms are compared by unless it is told: nDCG at 10, or at the cutoff that comes closest to it.

    The shipped config refers to it, so that all who read the config read the same. Where the cutoffs are
    wrong, they are named elsewhere.
    """
    try:
        cutoffs = within([int(k) for k in _root_.cutoffs], int(_root_.candidates))
    except Exception:
        return USUAL
    return f"ndcg_at_{closest(cutoffs)}" if cutoffs and min(cutoffs) > 0 else USUAL


def closest(cutoffs: Sequence[int]) -> int:
    """The largest cutoff up to 10, else the smallest."""
    return max((k for k in cutoffs if k <= 10), default=min(cutoffs))


OmegaConf.register_new_resolver("usual_measure", usual_measure, replace=True)


def missing_measure(measure: str, cutoffs: Sequence[int], measures: str) -> list[str]:
    """Why runs with these cutoffs and measures do not have the measure that decides."""
    kind, _, cutoff = measure.rpartition("_at_")
    if kind.startswith("tutorial_") and measures != "tutorial":
        return [f"report.measure={measure}: needs measures=tutorial; add it, or give {USUAL}"]
    if int(cutoff) in cutoffs:
        return []
    wanted = ",".join(map(str, sorted({*cutoffs, int(cutoff)})))
    given = ",".join(map(str, cutoffs))
    return [
        f"report.measure={measure}: {cutoff} is not among cutoffs=[{given}]; give cutoffs=[{wanted}] or "
        f"report.measure={kind}_at_{closest(cutoffs)}"
    ]
