"""Parquet in parts is read whole or refused; columns of one name are refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.files import Files


def columns(rows: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    return {
        name: list(values)
        for name, values in zip(("_id", "title", "text"), zip(*rows, strict=True), strict=True)
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A good collection whose corpus lies in three parts of parquet, too."""
    beir(tmp_path, CAPITALS, QUESTIONS, GRADES)
    for number in range(3):
        pq.write_table(
            pa.table(columns(CAPITALS[number::3])), tmp_path / f"corpus-{number:05d}-of-00003.parquet"
        )
    return tmp_path


def load(data: Path, corpus: str = "corpus.jsonl", queries: str = "queries.jsonl") -> int:
    files = Files(corpus=str(data / corpus), queries=str(data / queries), qrels=str(data / "qrels/test.tsv"))
    return len(files.load(data / "cache").corpus)


def test_all_parts_are_one_file(data: Path) -> None:
    assert load(data, "corpus-00000-of-00003.parquet") == load(data)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_is_missing_is_named(number: int, data: Path) -> None:
    (data / f"corpus-{number:05d}-of-00003.parquet").unlink()
    with pytest.raises(UserError, match=f"corpus-{number:05d}-of-00003.parquet"):
        load(data, "corpus-00000-of-00003.parquet")


def test_another_part_than_the_first_is_not_taken_for_the_whole(data: Path) -> None:
    with pytest.raises(UserError, match="is one of 3 parts; give the first, corpus-00000-of-00003"):
        load(data, "corpus-00001-of-00003.parquet")


@pytest.mark.parametrize("which", ["corpus", "queries"])
def test_a_part_of_other_formats_is_not_taken_for_the_whole(which: str, data: Path) -> None:
    (data / f"{which}.jsonl").rename(data / "x-00000-of-00002.jsonl")
    with pytest.raises(UserError, match="is one of 2 parts; join them"):
        load(data, **{which: "x-00000-of-00002.jsonl"})


@pytest.mark.parametrize("name", ["_id", "title", "text"])
def test_two_columns_of_one_name_are_refused(name: str, data: Path) -> None:
    table = pa.table(columns(CAPITALS))
    pq.write_table(table.append_column(name, table[name]), data / "corpus.parquet")
    with pytest.raises(UserError, match=f"two columns are named '{name}'"):
        load(data, "corpus.parquet")


def test_other_columns_may_have_one_name(data: Path) -> None:
    table = pa.table(columns(CAPITALS))
    more = table.append_column("url", table["title"]).append_column("url", table["title"])
    pq.write_table(more, data / "corpus.parquet")
    assert load(data, "corpus.parquet") == load(data)
