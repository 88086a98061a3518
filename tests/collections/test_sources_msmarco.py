"""The tutorial's collection, from a table of queries and their positive passages."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import datasets
import pytest

from rerankbench.basics.errors import UserError
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.msmarco import Msmarco

ROWS: list[dict[str, Any]] = [
    {"query": "where is Paris?", "positive": ["In France.", "On the Seine."], "negative": ["In Texas."]},
    {"query": "what is water?", "positive": ["H2O."], "negative": []},
    {"query": "again: where?", "positive": ["On the Seine.", "007"], "negative": []},
    {"query": "nobody knows", "positive": [], "negative": []},
    {"query": "last", "positive": ["H2O.", "H2O."], "negative": []},
]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def as_jsonl(folder: Path) -> None:
    folder.mkdir()
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def as_data_parquet(folder: Path) -> None:
    datasets.Dataset.from_list(ROWS).to_parquet(str(folder / "data" / "dev-00000-of-00001.parquet"))


def as_saved(folder: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(folder))


def as_saved_splits(folder: Path) -> None:
    table = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": table.select([0]), "dev": table}).save_to_disk(str(folder))


def as_hub_repository(folder: Path) -> None:
    """Files under names of their own, which the card assigns to splits: only `datasets` can tell."""
    datasets.Dataset.from_list(ROWS).to_parquet(str(folder / "rows.parquet"))
    card = "configs:\n- config_name: default\n  data_files:\n  - split: dev\n    path: rows.parquet\n"
    (folder / "README.md").write_text(f"---\n{card}---\n")


FORMS = [as_jsonl, as_data_parquet, as_saved, as_saved_splits, as_hub_repository]


def load(folder: Path, **options: Any) -> Collection:
    return Msmarco(path=str(folder), **options).load(folder.parent / "cache")


@pytest.mark.parametrize("write", FORMS)
def test_the_corpus_is_the_positives_one_after_the_other(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "rows")
    collection = load(tmp_path / "rows", queries=3, corpus_rows=5)
    passages = ["In France.", "On the Seine.", "H2O.", "On the Seine.", "007", "H2O.", "H2O."]
    assert collection.corpus.texts(collection.corpus.rows([str(n) for n in range(7)])) == passages
    assert collection.corpus.ids() == [str(number) for number in range(7)]
    assert (collection.query_ids, collection.query_texts) == (
        ["0", "1", "2"],
        [row["query"] for row in ROWS[:3]],
    )
    judged = set(zip(collection.judged_query.tolist(), collection.judged_row.tolist(), strict=True))
    by_text = {
        (query, row)
        for query in range(3)
        for row, text in enumerate(passages)
        if text in ROWS[query]["positive"]
    }
    assert judged == by_text == {(0, 0), (0, 1), (0, 3), (1, 2), (1, 5), (1, 6), (2, 1), (2, 3), (2, 4)}
    assert len(collection.judged_query) == len(judged)
    assert set(collection.judged_grade.tolist()) == {1}
    assert collection.notes[0].startswith(
        "passages that are in the corpus already: 3; kept, as in the tutorial"
    )


def test_a_positive_given_twice_is_one_judgement(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows")
    collection = load(tmp_path / "rows", queries=5, corpus_rows=5)
    last = collection.judged_query == 3
    assert (collection.query_ids[3], collection.judged_row[last].tolist()) == ("4", [2, 5, 6])


def test_a_positive_beyond_the_corpus_still_counts(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows")
    collection = load(tmp_path / "rows", queries=3, corpus_rows=1)
    assert collection.judged_row.tolist() == [0, 1, -1, 1, -1]
    assert collection.missing_ids == ("query 1 positive 0", "query 2 positive 1")


def test_a_query_without_positives_and_too_few_rows_are_noted(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "rows")
    collection = load(tmp_path / "rows", queries=4, corpus_rows=9)
    assert collection.query_ids == ["0", "1", "2"]
    assert [note.partition(":")[0] for note in collection.notes] == [
        "rows fewer than the 9 asked for",
        "passages that are in the corpus already",
        "queries without judgements in this split",
    ]


def test_the_defaults_are_the_tutorials() -> None:
    source = Msmarco()
    assert (source.path, source.split, source.queries, source.corpus_rows) == (
        "namespace-Pt/msmarco",
        "dev",
        100,
        5000,
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": 7, "positive": []}, "dev.jsonl:2: query is 7: it must be a string"),
        ({"query": "q", "positive": "text"}, "dev.jsonl:2: positive is 'text': it must be a list of strings"),
        ({"query": "q", "positive": [None]}, "dev.jsonl:2: positive is [None]"),
        ({"query": "q", "positives": []}, "dev.jsonl:2: lacks 'positive'"),
    ],
)
def test_faults_of_the_table(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    (tmp_path / "dev.jsonl").write_text(f"{json.dumps(ROWS[0])}\n{json.dumps(row)}\n{json.dumps(ROWS[1])}\n")
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert [expected in line for line in caught.value.problems] == [True]


def test_wrong_columns_are_told(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"question": "q", "answers": ["a"]}]).save_to_disk(str(tmp_path / "rows"))
    with pytest.raises(UserError) as caught:
        load(tmp_path / "rows")
    assert [line.partition(": ")[2].partition(": ")[0] for line in caught.value.problems] == [
        "no column for the query",
        "no column for the positives",
    ]


def test_what_is_impossible_is_told_before_loading(tmp_path: Path) -> None:
    assert Msmarco(path=str(tmp_path), queries=0, corpus_rows=-1).problems() == [
        "dataset.queries=0: must be at least 1",
        "dataset.corpus_rows=-1: must be at least 1",
    ]
    assert "there is no such folder" in Msmarco(path=str(tmp_path / "no")).problems()[0]
    assert "no hub id looks like it" in Msmarco(path="../elsewhere").problems()[0]
    file = tmp_path / "file"
    file.touch()
    assert "is a file, not a folder" in Msmarco(path=str(file)).problems()[0]


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    as_saved_splits(tmp_path / "rows")
    with pytest.raises(UserError, match=r"dataset.path=.*rows: split test could not be loaded"):
        load(tmp_path / "rows", split="test")


def test_a_split_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "other")
    (tmp_path / "rows").mkdir()
    with pytest.raises(UserError, match=r"split \.\./other/dev could not be loaded"):
        load(tmp_path / "rows", split="../other/dev")


def test_a_hub_out_of_reach_is_one_line_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        Msmarco(path="nobody/nothing").load(tmp_path)
    assert time.monotonic() - start < 6
    assert len(caught.value.problems) == 1
    assert "dataset.path=nobody/nothing: not in the hub's cache, and the hub" in caught.value.problems[0]
    assert "give a local folder of the same layout" in caught.value.problems[0]


def test_what_was_loaded_before_is_found_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_jsonl(tmp_path / "rows")
    built = datasets.load_dataset(
        "json", data_files={"dev": str(tmp_path / "rows/dev.jsonl")}, cache_dir=str(tmp_path / "c")
    )
    folder = Path(built["dev"].cache_files[0]["filename"]).parent
    kept = tmp_path / "hub" / "nobody___nothing" / "default" / "0.0.0" / folder.name
    kept.parent.mkdir(parents=True)
    folder.rename(kept)
    for file in kept.glob("json-*"):
        file.rename(kept / file.name.replace("json-", "nothing-"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    collection = Msmarco(path="nobody/nothing", queries=3, corpus_rows=5).load(tmp_path)
    assert collection.fingerprint() == load(tmp_path / "rows", queries=3, corpus_rows=5).fingerprint()
