"""What an arm costs: latency, throughput, memory, size and price, measured or said to be estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms import Arm
from rerankbench.report_settings import Budget

MEASURED = "latency"  # p95 of reranking one query at the arm's depth
ESTIMATED = "estimated time"  # depth over pairs per second
COMPUTE = "compute"  # depth times parameters

NOT_MEASURED, ABOVE = "was not measured", "is above"  # why an arm is out of the budget


@dataclass(frozen=True)
class Cost:
    """One arm's costs; None: not measured.

    latency in ms of reranking one query, `bound` where it was measured with more layers than the arm needs;
    `ms_per_query` estimated from the throughput; memory in MB (10^6 bytes), the process's or the device's
    peak; price per 1,000 queries of a machine that is kept busy.
    """

    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    bound: bool = False
    pairs_per_second: float | None = None
    ms_per_query: float | None = None
    memory_mb: float | None = None
    parameters_m: float | None = None
    load_seconds: float | None = None
    price_per_1k: float | None = None


def of(arm: Arm, price_per_hour: float | None = None) -> Cost:
    """The costs that the arm's run measured, at the arm's depth."""
    result = arm.run.result
    if not arm.reranks:
        return Cost(0.0, 0.0, False, None, 0.0, None, 0.0, 0.0, 0.0 if price_per_hour else None)
    latency = (result.get("latency_ms") or {}).get(str(arm.depth), {})
    rate = (result.get("throughput") or {}).get("pairs_per_second") or None
    per_query = 1000.0 * arm.depth / rate * layer_share(arm) if rate else None
    model = result.get("model", {})
    parameters = model.get("parameters")
    return Cost(
        latency_p50_ms=latency.get("p50"),
        latency_p95_ms=latency.get("p95"),
        bound=bool(latency) and arm.layer != arm.top_layer,
        pairs_per_second=rate / layer_share(arm) if rate else None,
        ms_per_query=per_query,
        memory_mb=memory(arm),
        parameters_m=parameters / 1e6 if parameters else None,
        load_seconds=model.get("load_seconds"),
        price_per_1k=price(per_query if per_query is not None else latency.get("p50"), price_per_hour),
    )


def layer_share(arm: Arm) -> float:
    """The share of the layers that the arm computes; all layers cost about the same."""
    return arm.layer / arm.top_layer if arm.layer and arm.top_layer else 1.0


def memory(arm: Arm) -> float | None:
    """Peak MB on the device, of the process where there is none."""
    found = arm.run.result.get("memory_mb") or {}
    return found.get("peak_cuda") or found.get("peak_rss")


def price(ms_per_query: float | None, price_per_hour: float | None) -> float | None:
    """Price of 1,000 queries in the currency of `price_per_hour`."""
    if ms_per_query is None or price_per_hour is None:
        return None
    return ms_per_query * 1000 / 3_600_000 * price_per_hour


@dataclass(frozen=True)
class Ordering:
    """What arms are ordered by from cheap to dear [arms], one basis for all of them."""

    basis: str
    values: NDArray[np.float64]

    @property
    def unit(self) -> str:
        return {MEASURED: "p95 ms per query", ESTIMATED: "estimated ms per query"}.get(
            self.basis, "billion parameters x pairs per query"
        )

    def ratio(self, arm: int, other: int) -> float:
        """The arm's cost as a share of the other's."""
        return float(self.values[arm] / self.values[other]) if self.values[other] else float("nan")


def ordering(arms: Sequence[Arm], costs: Sequence[Cost]) -> Ordering:
    """Measured latency where all arms have it, else time estimated from throughput, else compute."""
    latency = [share(cost.latency_p95_ms, arm) for arm, cost in zip(arms, costs, strict=True)]
    if all(value is not None for value in latency):
        return Ordering(MEASURED, np.array(latency, dtype=float))
    estimated = [cost.ms_per_query for cost in costs]
    if all(value is not None for value in estimated) and one_machine(arms):
        return Ordering(ESTIMATED, np.array(estimated, dtype=float))
    compute = [
        arm.depth * (cost.parameters_m or 0.0) / 1000 * layer_share(arm)
        for arm, cost in zip(arms, costs, strict=True)
    ]
    return Ordering(COMPUTE, np.array(compute))


def share(latency: float | None, arm: Arm) -> float | None:
    """Latency scaled to the layers that the arm needs."""
    return None if latency is None else latency * layer_share(arm)


def one_machine(arms: Sequence[Arm]) -> bool:
    return len(machines(arms)) <= 1


def machines(arms: Sequence[Arm]) -> list[str]:
    """The devices and precisions that the reranking arms ran on."""
    found = [arm.run.result.get("environment", {}) for arm in arms if arm.reranks]
    return sorted({f"{e.get('device_name', '')} in {e.get('precision', '')}" for e in found})


def over_budget(cost: Cost, arm: Arm, budget: Budget) -> str:
    """Why the arm may not be deployed, empty if it may."""
    if not arm.reranks:
        return ""
    asked = (
        (budget.latency_p95_ms, cost.latency_p95_ms, "p95 latency", "ms", "run with latency=true"),
        (budget.memory_mb, cost.memory_mb, "peak memory", "MB", "run it again"),
        (budget.price_per_1k, cost.price_per_1k, "price per 1,000 queries", "", "set report.price_per_hour"),
    )
    reasons = []
    for bound, value, what, unit, cure in asked:
        if bound is not None and value is None:
            reasons.append(f"{what} {NOT_MEASURED} ({cure})")
        elif bound is not None and value is not None and value > bound:
            reasons.append(f"{what} {value:,.4g} {unit}".rstrip() + f" {ABOVE} {bound:,.4g}")
    return "; ".join(reasons)


def front(quality: NDArray[np.float64], cost: NDArray[np.float64]) -> list[int]:
    """The Pareto front, cheapest first: each arm is better than all cheaper ones."""
    kept: list[int] = []
    for arm in np.lexsort((-quality, cost)):
        if not kept or quality[arm] > quality[kept[-1]]:
            kept.append(int(arm))
    return kept
