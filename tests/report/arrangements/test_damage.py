"""Damaged scores: a line that names the file, or a reranker that takes no part; never a wrong figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rerankbench.basics.errors import UserError
from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.findings import find_out
from rerankbench.report.settings import Report
from scored_runs import drawn, first_scores, scores_like, write_scored

Change = Callable[[pa.Table], pa.Table]


def column(name: str, change: Callable[[pa.ChunkedArray], pa.Array]) -> Change:
    return lambda table: table.set_column(table.column_names.index(name), name, change(table[name]))


def first_value(value: object) -> Callable[[pa.ChunkedArray], pa.Array]:
    return lambda values: pa.array([value, *values.to_pylist()[1:]], values.type)


TOLD: dict[str, tuple[Change, str]] = {
    "a query nobody judged": (column("query_id", first_value("zz")), "queries that were not measured"),
    "no rank": (column("rank", first_value(None)), "rows without a rank"),
    "rank 0": (column("rank", first_value(0)), "its column rank should hold"),
    "a rank beyond all": (column("rank", first_value(2**31 - 1)), "its column rank should hold"),
    "a gap": (column("rank", first_value(30)), "should be 1, 2, ... without a gap"),
    "a rank twice": (lambda table: pa.concat_tables([table, table[:1]]), "should be 1, 2, ... without a gap"),
    "text for scores": (column("score", lambda v: pc.cast(v, pa.string())), "should hold numbers"),
}
LACKING: dict[str, tuple[Change, str]] = {
    "no scores": (lambda table: table.drop_columns("score"), "no column score"),
    "no first-stage scores": (
        lambda table: table.drop_columns("first_stage_score"),
        "no column first_stage_score",
    ),
    "other scores": (column("score", pc.negate), "do not give the measures"),
    "not a number": (
        column("score", lambda v: pa.array([float("nan")] * len(v), v.type)),
        "do not give the measures",
    ),
    "other grades": (
        column("relevance", lambda v: pc.add(pc.fill_null(v, 0), 1)),
        "do not give the measures",
    ),
}


def damaged(folder: Path, change: Change) -> Path:
    pool = drawn(20, 20, seed=4)
    write_scored(folder / "0", "small", pool, first_scores(pool, 5), {None: scores_like(pool, 6, 0.5)})
    file = folder / "0" / "scores.parquet"
    pq.write_table(change(pq.read_table(file)), file)
    return folder


@pytest.mark.parametrize("fault", TOLD)
def test_a_damaged_table_is_one_line_that_names_it(fault: str, tmp_path: Path) -> None:
    change, told = TOLD[fault]
    with pytest.raises(UserError, match=r"scores\.parquet: ") as caught:
        find_out(find([damaged(tmp_path, change)]), Report())
    (line,) = caught.value.problems
    assert told in line


@pytest.mark.parametrize("fault", LACKING)
def test_scores_that_are_not_those_of_the_plain_arms_take_no_part(fault: str, tmp_path: Path) -> None:
    change, told = LACKING[fault]
    found = find_out(find([damaged(tmp_path, change)]), Report())
    assert found.arranged is None
    (lacking,) = document.document(found)["lacking"]
    assert told in lacking["why"]
