"""Collections in MTEB's layout, from folders as they are on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, table
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.hub import Hub

CORPUS = (("_id", "title", "text"), CAPITALS)
QUERIES = (("_id", "text"), [(query_id, text) for query_id, _, text in QUESTIONS])
QRELS = (("query-id", "corpus-id", "score"), GRADES)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def expected(tmp_path: Path) -> str:
    return Beir(path=str(beir(tmp_path / "beir"))).load(tmp_path).fingerprint()


def as_parquet(folder: Path) -> None:
    """As the hub stores what `push_to_hub` made."""
    table(folder / "corpus" / "corpus-00000-of-00001.parquet", *CORPUS)
    table(folder / "queries" / "queries-00000-of-00001.parquet", *QUERIES)
    table(folder / "data" / "test-00000-of-00001.parquet", *QRELS)


def as_jsonl(folder: Path) -> None:
    table(folder / "corpus.jsonl", *CORPUS)
    table(folder / "queries.jsonl", *QUERIES)
    table(folder / "qrels" / "test.jsonl", *QRELS)


def as_parts(folder: Path) -> None:
    as_jsonl(folder)
    (folder / "corpus.jsonl").unlink()
    table(folder / "corpus" / "corpus-00000-of-00002.parquet", CORPUS[0], CAPITALS[:2])
    table(folder / "corpus" / "corpus-00001-of-00002.parquet", CORPUS[0], CAPITALS[2:])


def as_card(folder: Path) -> None:
    """Names of its own, which the card assigns to configs and splits: read by `datasets`, as from the hub."""
    files = {
        "corpus": ("docs.parquet", CORPUS),
        "queries": ("asked.parquet", QUERIES),
        "default": ("judged.parquet", QRELS),
    }
    card = "configs:\n"
    for config, (name, content) in files.items():
        table(folder / name, *content)
        split = "test" if config == "default" else config
        card += f"- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {name}\n"
    (folder / "README.md").write_text(f"---\n{card}---\n")


@pytest.mark.parametrize("write", [as_parquet, as_jsonl, as_parts, as_card])
def test_every_layout_is_the_same_collection(tmp_path: Path, expected: str, write: Any) -> None:
    write(tmp_path / "scifact")
    collection = Hub(path=str(tmp_path / "scifact")).load(tmp_path / "cache")
    assert collection.fingerprint() == expected
    assert (collection.name, collection.split) == ("scifact", "test")


def test_judgements_may_be_another_dataset(tmp_path: Path, expected: str) -> None:
    as_jsonl(tmp_path / "scifact")
    (tmp_path / "scifact-qrels").mkdir()
    (tmp_path / "scifact/qrels/test.jsonl").rename(tmp_path / "scifact-qrels/test.jsonl")
    source = Hub(path=str(tmp_path / "scifact"), qrels_path=str(tmp_path / "scifact-qrels"))
    assert source.load(tmp_path / "cache").fingerprint() == expected


def test_configs_may_have_other_names(tmp_path: Path, expected: str) -> None:
    as_card(tmp_path / "many")
    card = (tmp_path / "many/README.md").read_text()
    (tmp_path / "many/README.md").write_text(card.replace("config_name: ", "config_name: zh-"))
    named = {"corpus_config": "zh-corpus", "queries_config": "zh-queries", "qrels_config": "zh-default"}
    assert Hub(path=str(tmp_path / "many"), **named).load(tmp_path / "cache").fingerprint() == expected


def test_faults_are_told_by_config_and_row(tmp_path: Path) -> None:
    as_card(tmp_path / "d")
    table(tmp_path / "d/docs.parquet", ("_id", "text"), [("7", "a"), ("7", "b")])
    table(tmp_path / "d/judged.parquet", ("query-id", "corpus-id", "score"), [("q1", "7", 0.5)])
    with pytest.raises(UserError) as caught:
        Hub(path=str(tmp_path / "d")).load(tmp_path / "cache")
    assert caught.value.problems == [
        f"{tmp_path}/d corpus row 2: the id '7' was used by row 1: ids are unique, rename or remove one",
        f"{tmp_path}/d default row 1: the grade is 0.5: it must be a whole number of at most ten digits",
    ]


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    as_card(tmp_path / "d")
    table(tmp_path / "d/docs.parquet", ("key", "text"), [("7", "a")])
    with pytest.raises(UserError, match=r"d corpus: no column for the id: looked for _id"):
        Hub(path=str(tmp_path / "d")).load(tmp_path / "cache")


def test_a_missing_split_is_told(tmp_path: Path) -> None:
    as_card(tmp_path / "d")
    with pytest.raises(UserError, match=r"d: config default, split dev could not be loaded"):
        Hub(path=str(tmp_path / "d"), split="dev").load(tmp_path / "cache")


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as caught:
        Hub(path="nobody/nothing").load(tmp_path)
    assert len(caught.value.problems) == 1
    assert "the hub (http://127.0.0.1:9) could not be reached" in caught.value.problems[0]


def test_paths_are_checked_before_loading(tmp_path: Path) -> None:
    told = Hub(path=str(tmp_path / "no"), qrels_path="a/b/c").problems()
    assert [line.partition(":")[0] for line in told] == [f"dataset.path={tmp_path}/no", "dataset.path=a/b/c"]
    assert Hub(path="mteb/scifact").problems() == []
