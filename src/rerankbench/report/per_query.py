"""per_query.parquet as arrays: one value per query of every order and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rerankbench.errors import UserError
from rerankbench.report.runs import PER_QUERY, Run

KEYS = ("query_id", "stage", "layer", "depth")
Values = NDArray[np.float64]


class Order(NamedTuple):
    """Which order of the candidates: first_stage, reranked or oracle; layer -1 where there is none."""

    stage: str
    layer: int
    depth: int


def read(run: Run) -> pa.Table:
    try:
        return pq.read_table(run.folder / PER_QUERY)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{run.place}/{PER_QUERY}: cannot be read ({error}); run it again") from None


def measures(run: Run) -> list[str]:
    """The measures that every order has, such as ndcg_at_10, without reading their values."""
    try:
        names = pq.read_schema(run.folder / PER_QUERY).names
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{run.place}/{PER_QUERY}: cannot be read ({error}); run it again") from None
    return [name for name in names if name not in KEYS]


def query_ids(table: pa.Table) -> list[str]:
    """The queries in the order of the file."""
    return list(table["query_id"].unique().to_pylist())


def orders(
    table: pa.Table, ids: Sequence[str], names: Sequence[str], place: str
) -> Mapping[Order, dict[str, Values]]:
    """Each order's measures [queries], aligned to `ids`; NaN where the order has no value.

    Raises UserError where the queries are others than `ids`.
    """
    position = pc.index_in(table["query_id"], value_set=pa.array(list(ids), pa.string()))
    rows = position.to_numpy(zero_copy_only=False)
    stage = np.asarray(table["stage"].cast(pa.string()).to_pylist(), dtype=str)
    layer = pc.fill_null(table["layer"], -1).to_numpy()
    depth = table["depth"].to_numpy()
    columns = {name: table[name].to_numpy().astype(np.float64) for name in names}
    found = {}
    for key in dict.fromkeys(zip(stage.tolist(), layer.tolist(), depth.tolist(), strict=True)):
        mask = (stage == key[0]) & (layer == key[1]) & (depth == key[2])
        found[Order(*key)] = aligned({n: c[mask] for n, c in columns.items()}, rows[mask], len(ids), place)
    return found


def aligned(
    columns: Mapping[str, Values], rows: NDArray[np.generic], count: int, place: str
) -> dict[str, Values]:
    """Columns in the order of the queries that `rows` point at."""
    if len(rows) != count or not np.array_equal(np.sort(rows), np.arange(count)):
        raise UserError(
            f"{place}: measured on other queries ({len(rows):,}, not {count:,}); compare it on its own"
        )
    back = np.argsort(rows)
    return {name: values[back] for name, values in columns.items()}
