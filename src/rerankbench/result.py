"""What one experiment found: result.json, and the same as scalars and curves for MLflow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rerankbench.complaints import shown
from rerankbench.errors import UserError
from rerankbench.masking import masked_tree
from rerankbench.store import write_atomic

SCHEMA = 1


@dataclass
class Result:
    """The figures of one experiment, as `result.json` holds them.

    `arm` says which contestant this is; `params` are the settings in which arms may differ. A failed
    experiment has status `failed`, an `error`, and no measures.
    """

    arm: str
    schema: int = SCHEMA
    status: str = "ok"
    error: str | None = None
    reduced: bool = False
    notes: list[str] = field(default_factory=list)
    dataset: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    sweep_id: str = ""
    depth: int = 0
    layer: int | None = None
    pairs: dict[str, int] = field(default_factory=lambda: {"total": 0, "scored": 0, "reused": 0})
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    by_depth: dict[str, dict[str, float]] = field(default_factory=dict)
    by_layer: dict[str, dict[str, float]] | None = None
    by_cutoff: dict[str, dict[str, float]] = field(default_factory=dict)
    oracle_by_depth: dict[str, dict[str, float]] = field(default_factory=dict)
    index: dict[str, float] = field(default_factory=dict)
    throughput: dict[str, float] | None = None
    latency_ms: dict[str, dict[str, float]] | None = None
    query_latency_ms: dict[str, dict[str, float]] | None = None
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    mlflow_run_id: str | None = None

    def to_json(self) -> str:
        optional = ("by_layer", "latency_ms", "query_latency_ms", "error")
        values = {k: v for k, v in asdict(self).items() if v is not None or k not in optional}
        return json.dumps(masked_tree(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "result.json", self.to_json().encode())

    @classmethod
    def read(cls, folder: Path) -> Result:
        """The result that a folder holds.

        Raises UserError where there is none, or one that this version cannot read.
        """
        file = folder / "result.json"
        try:
            values = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{file}: there is no such file; give the output folder of a run") from None
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: cannot be read ({error}); run the experiment again") from None
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise UserError(
                f"{file}: is no result of this version (schema {SCHEMA}); run the experiment again"
            )
        known = {f.name for f in fields(cls)}
        values = {"arm": None} | {name: value for name, value in values.items() if name in known}
        for name, usual in vars(cls(arm="")).items():
            if isinstance(usual, str | dict | list) and not isinstance(values.get(name, usual), type(usual)):
                raise UserError(f"{file}: its {name} is {shown(values[name])}; run the experiment again")
        return cls(**values)

    def set_run_id(self, run_id: str | None, folder: Path) -> None:
        """Note the MLflow run that holds this result; None: none does."""
        self.mlflow_run_id = run_id
        self.write(folder)

    def tags(self) -> dict[str, str]:
        tags = {"status": self.status, "arm": self.arm, "sweep_id": self.sweep_id}
        tags |= {"dataset": str(self.dataset.get("name", "")), "reduced": str(self.reduced).lower()}
        return tags | ({"error": self.error[:4000]} if self.error else {})

    def scalars(self) -> dict[str, float]:
        """Metrics with one value: reranked measures plainly, everything else under a prefix."""
        named = dict(self.measures.get("reranked", {}))
        for stage in ("first_stage", "oracle"):
            named |= {f"{stage}/{name}": value for name, value in self.measures.get(stage, {}).items()}
        named |= prefixed("index", self.index)
        named |= prefixed("throughput", self.throughput or {})
        named |= prefixed("memory", {f"{name}_mb": value for name, value in self.memory_mb.items()})
        named |= prefixed("pairs", self.pairs)
        deepest = (self.latency_ms or {}).get(str(self.depth), {})
        named |= prefixed("latency", {f"{name}_ms": value for name, value in deepest.items()})
        return {name: float(value) for name, value in named.items() if usable(value)}

    def curves(self) -> Iterator[tuple[str, int, float]]:
        """(metric, step, value) where the step is the x axis: a cutoff k, a depth or a layer."""
        for name, values in self.by_cutoff.items():
            yield from ((name, int(k), value) for k, value in values.items())
        for prefix, table in (("depth", self.by_depth), ("layer", self.by_layer or {})):
            for step, row in table.items():
                yield from ((f"{prefix}/{name}", int(step), value) for name, value in row.items())
        for step, row in self.oracle_by_depth.items():
            yield from ((f"depth/oracle/{name}", int(step), value) for name, value in row.items())
        for step, row in (self.latency_ms or {}).items():
            yield from ((f"depth/latency_{name}_ms", int(step), value) for name, value in row.items())


def prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def usable(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
