"""per_query.parquet as arrays: one value per query of every order and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerankbench.basics import typed_parquet
from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_parquet import NUMBER, TEXT, WHOLE
from rerankbench.basics.visible import visible
from rerankbench.evaluation.measures import display_name
from rerankbench.report.arms.runs import PER_QUERY, RESULT, Run, refuse_nameless, refuse_nulls, telling

KEYS = {"query_id": TEXT, "stage": TEXT, "layer": WHOLE, "depth": WHOLE}
STAGES = ("first_stage", "reranked", "oracle")
DEEPEST = 10**9  # of depths and layers
MOST_ORDERS = 10_000  # depths times layers; some 400 are many
LARGEST = 1e6  # of a measure's value, beyond which sums of squares are no longer exact
Values = NDArray[np.float64]


class Order(NamedTuple):
    """Which order of the candidates: first_stage, reranked or oracle; layer -1 where there is none."""

    stage: str
    layer: int
    depth: int


def read(run: Run) -> pa.Table:
    """The table of a run: query_id, stage, layer, depth and the measures, null where an order lacks one.

    Raises UserError where it is damaged, or holds what no run writes.
    """
    with telling(run, PER_QUERY):
        table = typed_parquet.read(run.folder / PER_QUERY, columns)
    refuse_nameless(run)
    with telling(run, PER_QUERY):
        check(table, run)
    return table


def columns(names: Sequence[str]) -> dict[str, str]:
    """The keys and every measure; other columns are not read."""
    return KEYS | {name: NUMBER for name in names if is_measure(name)}


def is_measure(name: str) -> bool:
    try:
        return bool(display_name(name))
    except (ValueError, KeyError):
        return False


def check(table: pa.Table, run: Run) -> None:
    """Raises ValueError in one line for values that no run writes."""
    if not measures(table):
        raise ValueError("it has no column with a measure, such as ndcg_at_10")
    refuse_nulls(table, ["query_id", "stage", "depth"])
    stages = table["stage"].unique().to_pylist()
    if strange := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"its column stage should be one of {', '.join(STAGES)}, not {strange[0][:60]!r}")
    for name in ("layer", "depth"):
        low, high = pc.min_max(table[name]).values()
        if low.is_valid and not 0 <= low.as_py() <= high.as_py() <= DEEPEST:
            raise ValueError(f"its column {name} holds {low} to {high}; it should be 0 to {DEEPEST:,}")
    for name in measures(table):
        values = table[name].drop_null().to_numpy()
        if (beyond := values[np.isfinite(values) & (np.abs(values) > LARGEST)]).size:
            raise ValueError(f"its column {name} holds {beyond[0]:g}, no measure")
    check_orders(table, run)


def check_orders(table: pa.Table, run: Run) -> None:
    """Every order has a row for each query, one of them is the first stage's, and no measure has gaps."""
    ids, found = len(query_ids(table)), grouped(table)
    promised = run.dataset.get("queries", ids)
    if promised != ids:
        raise ValueError(f"it has {ids:,} queries, but {promised:,} were measured")
    if Order("first_stage", -1, 0) not in found or sum(key.stage == "first_stage" for key in found) > 1:
        raise ValueError("it should hold the first stage once, at depth 0 and without a layer")
    if not run.result["identity"]["reranker"] and any(key.stage == "reranked" for key in found):
        raise ValueError(f"it holds reranked orders, but {RESULT} says identity.reranker is empty")
    missing = {name: table[name].is_null().to_numpy() for name in measures(table)}
    for key, rows in found.items():
        if len(rows) != ids or len(table["query_id"].take(rows).unique()) != ids:
            raise ValueError(f"its {key.stage} at depth {key.depth} should have every query once")
        for name, lacks in missing.items():
            if lacks[rows].any() and not lacks[rows].all():
                raise ValueError(f"its {name} of {key.stage} at depth {key.depth} lacks some queries")


def grouped(table: pa.Table) -> dict[Order, NDArray[np.int64]]:
    """The rows of each order, orders as they come first. Raises ValueError for more than any run has."""
    stage = pc.index_in(table["stage"], value_set=pa.array(STAGES)).to_numpy().astype(np.int64)
    layer = pc.fill_null(table["layer"], -1).to_numpy()
    depth = table["depth"].to_numpy()
    codes = pa.array((stage << 60) | ((layer + 1) << 30) | depth).dictionary_encode()
    if len(codes.dictionary) > MOST_ORDERS:
        raise ValueError(f"it holds {len(codes.dictionary):,} orders, at most {MOST_ORDERS:,} are possible")
    place = codes.indices.to_numpy()
    ends = np.cumsum(np.bincount(place))
    parts = np.split(np.argsort(place, kind="stable"), ends[:-1])
    return {Order(STAGES[stage[p[0]]], int(layer[p[0]]), int(depth[p[0]])): p for p in parts}


def measured(run: Run) -> list[str]:
    """The measures that every order of a run has, such as ndcg_at_10, without reading their values."""
    with telling(run, PER_QUERY):
        return [name for name in typed_parquet.names(run.folder / PER_QUERY) if is_measure(name)]


def measures(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in KEYS]


def query_ids(table: pa.Table) -> list[str]:
    """The queries in the order of the file."""
    return list(table["query_id"].unique().to_pylist())


@dataclass(frozen=True, eq=False)
class Measured:
    """One order's measures: `values` [queries] of the one that decides, NaN where there is none.

    `means`: of every measure over the queries, NaN where some query lacks it; `partly`: measures that some
    queries have and others lack. Each query's value of them all would be most of what a large sweep holds.
    """

    values: Values
    means: Mapping[str, float]
    partly: frozenset[str] = frozenset()


Layout = Mapping[Order, NDArray[np.int64]]  # of each order the table's rows [queries]


def layout(table: pa.Table, ids: Sequence[str], place: str) -> Layout:
    """Where each order's rows are, aligned to `ids`. Raises UserError where the queries are others."""
    position = pc.index_in(table["query_id"], value_set=pa.array(list(ids), pa.string()))
    rows = position.to_numpy(zero_copy_only=False)
    return {key: rows_of(at, rows[at], len(ids), place) for key, at in grouped(table).items()}


def orders(table: pa.Table, rows: Layout, names: Sequence[str], measure: str) -> Mapping[Order, Measured]:
    """Each order's measures `names`, with its values of `measure`, which is one of them."""
    at = np.stack(list(rows.values()))
    values = table[measure].to_numpy()[at]  # one piece of memory for all orders
    means, partly = {}, {}
    for name in names:  # one measure in memory at a time
        each = values if name == measure else table[name].to_numpy()[at]
        with np.errstate(invalid="ignore"):  # of infinite values there is no mean
            means[name] = each.mean(axis=1).tolist()
        partly[name] = in_part(each).tolist()
    return {
        key: Measured(
            values[i],
            {name: means[name][i] for name in names},
            frozenset(name for name in names if partly[name][i]),
        )
        for i, key in enumerate(rows)
    }


def in_part(values: Values) -> NDArray[np.bool_]:
    """Whether some queries of each order have a value and others do not, for values [orders, queries].

    Measures of whole lists lack small depths.
    """
    there = np.isfinite(values)
    return np.asarray(there.any(axis=1) & ~there.all(axis=1))


def oracles(table: pa.Table, rows: Layout, names: Sequence[str]) -> dict[int, dict[str, Values]]:
    """Of each depth the measures [queries] of the best possible order, those that every query has."""
    best = {key.depth: at for key, at in rows.items() if key.stage == "oracle"}
    columns = {name: table[name].to_numpy() for name in names} if best else {}
    return {
        depth: {name: values[at] for name, values in columns.items() if np.isfinite(values[at]).all()}
        for depth, at in best.items()
    }


def rows_of(at: NDArray[np.int64], queries: NDArray[np.generic], count: int, place: str) -> NDArray[np.int64]:
    """An order's rows `at` in the order of the `queries` that they are about."""
    if len(queries) != count or not np.array_equal(np.sort(queries), np.arange(count)):
        told = f"{len(queries):,}, not {count:,}"
        raise UserError(f"{visible(place)}: measured on other queries ({told}); compare it on its own")
    return np.asarray(at[np.argsort(queries)])
