"""What one experiment found: result.json, and the same as scalars and curves for MLflow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from rerankbench.basics import typed_json
from rerankbench.basics.errors import UserError
from rerankbench.basics.masking import masked_tree
from rerankbench.basics.regular_file import read_regular
from rerankbench.basics.typed_json import Amount, Count, Name, Number, Step
from rerankbench.basics.visible import visible, visible_json, visible_lines
from rerankbench.engine.store.rows import write_atomic
from rerankbench.experiment.tracking.run_folders import CURE, RESULT

SCHEMA = 1
MOST_PARAMS = 100  # that MLflow takes of a run at once

Text = Annotated[str, Field(max_length=5000)]
Values = dict[Name, Number]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]  # part of an address of MLflow's server

if TYPE_CHECKING:
    Dataset = dict[str, Any]
    Throughput = dict[str, Any]
    Model = dict[str, Any]
    Environment = dict[str, Any]
    Timing = dict[str, dict[str, float]]
else:
    Timing = dict[Step, dict[Name, Amount | None]]
    OPEN = ConfigDict(strict=True, extra="allow")  # later versions may add keys

    class Dataset(TypedDict, total=False):
        __pydantic_config__ = OPEN
        name: Text
        split: Text
        docs: Count
        queries: Count
        judgements: Count
        synthetic_queries: Count
        relevance_threshold: Number
        fingerprint: Text

    class Throughput(TypedDict, total=False):
        __pydantic_config__ = OPEN
        pairs_per_second: Amount | None
        tokens_per_second: Amount | None
        padding_share: Amount | None
        pairs: Amount | None
        seconds: Amount | None

    class Model(TypedDict, total=False):
        __pydantic_config__ = OPEN
        label: Text
        parameters: Amount | None
        load_seconds: Amount | None
        precision: Text | None
        paid: bool
        compares_vectors: bool
        served: dict[Name, Any]

    class Environment(TypedDict, total=False):
        __pydantic_config__ = OPEN
        device: Text | None
        device_name: Text | None
        precision: Text | None
        threads: Count | None


@dataclass
class Result:
    """The figures of one experiment, as `result.json` holds them.

    `arm` says which contestant this is, `name` which run of a sweep; `params` are the settings in which arms
    may differ. A failed experiment has status `failed`, an `error`, and no measures. The types are the file's
    schema, which `read` checks.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore")

    arm: Text
    name: Text = ""
    schema: int = SCHEMA
    status: Literal["ok", "failed", "forecast"] = "ok"
    error: str | None = None
    reduced: bool = False
    notes: list[str] = field(default_factory=list)
    dataset: Dataset = field(default_factory=dict)
    identity: dict[str, Text] = field(default_factory=dict)
    params: Annotated[dict[Name, Any], Field(max_length=MOST_PARAMS)] = field(default_factory=dict)
    sweep_id: Text = ""
    depth: Count = 0
    layer: Count | None = None
    pairs: dict[Name, Count] = field(default_factory=lambda: {"total": 0, "scored": 0, "reused": 0})
    measures: dict[str, Values] = field(default_factory=dict)
    by_depth: dict[Step, Values] = field(default_factory=dict)
    by_layer: dict[Step, Values] | None = None
    by_cutoff: dict[Name, dict[Step, Number]] = field(default_factory=dict)
    oracle_by_depth: dict[Step, Values] = field(default_factory=dict)
    index: Values = field(default_factory=dict)
    throughput: Throughput | None = None
    latency_ms: Timing | None = None
    query_latency_ms: Timing | None = None
    price_per_1k: dict[Step, Amount] | None = None
    memory_mb: dict[Name, Amount | None] = field(default_factory=dict)
    memory_note: Text | None = None
    model: Model = field(default_factory=dict)
    environment: Environment = field(default_factory=dict)
    seconds: dict[Name, Amount] = field(default_factory=dict)
    mlflow_run_id: RunId | None = None

    def to_json(self) -> str:
        optional = ("by_layer", "latency_ms", "query_latency_ms", "price_per_1k", "memory_note", "error")
        values = {k: v for k, v in asdict(self).items() if v is not None or k not in optional}
        text = json.dumps(masked_tree(values), indent=2, ensure_ascii=False, allow_nan=False)
        return visible_json(text) + "\n"

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / RESULT, self.to_json().encode())

    @classmethod
    def read(cls, folder: Path, place: str = "") -> Result:
        """The result that a folder holds; `place`: how people find that folder, if not by its path.

        Raises UserError where there is none, or one that is damaged or of another schema.
        """
        file = visible(f"{place or folder}/{RESULT}")
        try:
            data = read_regular(folder / RESULT, typed_json.MOST)
            refuse_other_schemas(typed_json.plain(data))
            found = typed_json.parsed(data, schema())
            json.dumps(asdict(found), allow_nan=False)  # 1e999 where any number may stand
        except FileNotFoundError:
            raise UserError(f"{file}: there is no such file; give the output folder of a run") from None
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); {CURE}") from None
        except ValueError as error:
            raise UserError(f"{file}: {error}; {CURE}") from None
        return found

    def set_run_id(self, run_id: str | None, folder: Path) -> None:
        """Note the MLflow run that holds this result; None: none does."""
        self.mlflow_run_id = run_id
        self.write(folder)

    def tags(self) -> dict[str, str]:
        tags = {"status": self.status, "arm": self.arm, "sweep_id": self.sweep_id}
        tags |= {"dataset": str(self.dataset.get("name", "")), "reduced": str(self.reduced).lower()}
        tags |= {"error": self.error[:4000]} if self.error else {}
        return {name: visible_lines(text) for name, text in tags.items()}

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


@cache
def schema() -> TypeAdapter[Result]:
    return TypeAdapter(Result)


def refuse_other_schemas(values: object) -> None:
    """Raises ValueError for what is no result of this schema."""
    found = values.get("schema") if isinstance(values, dict) else None
    if found != SCHEMA or isinstance(found, bool):
        told = f"its schema is {typed_json.shown(found)}" if found is not None else "it has none"
        raise ValueError(f"not a result of schema {SCHEMA} ({told})")


def prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def usable(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
