"""Every kind of collection that nobody has judged reaches the report of how much arms differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collections_on_disk import CAPITALS, GRADES, QUESTIONS, beir, table
from commands import run
from rerankbench import UserError, collection_of, compare, differences, evaluate, retrieve
from rerankbench.collections.sources.beir import Beir
from rerankbench.collections.sources.hub import Hub
from rerankbench.commands import report
from rerankbench.commands.check import keeping

DOCUMENTS = {doc_id: f"{title} {text}".strip() for doc_id, title, text in CAPITALS}
QUERIES = {query_id: text for query_id, _, text in QUESTIONS}
CORPUS_TABLE = (("_id", "title", "text"), CAPITALS)
QUERIES_TABLE = (("_id", "text"), list(QUERIES.items()))


@pytest.fixture
def unjudged(tmp_path: Path) -> Path:
    folder = beir(tmp_path / "mine")
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels").rmdir()
    return folder


def test_a_beir_folder_without_qrels_has_all_queries_and_no_judgements(
    unjudged: Path, tmp_path: Path
) -> None:
    found = Beir(path=str(unjudged)).load(tmp_path)
    assert found.fingerprint() == collection_of(DOCUMENTS, QUERIES).fingerprint()
    assert not found.judged


def test_judgements_that_are_there_can_be_left_out(tmp_path: Path) -> None:
    found = Beir(path=str(beir(tmp_path / "judged")), qrels=None).load(tmp_path)
    assert not found.judged
    assert found.query_ids == list(QUERIES)
    kept = keeping.lines(Beir(path="judged", qrels=None, join_titles=False))
    assert kept == ["dataset=beir", "dataset.join_titles=false", "dataset.path=judged", "dataset.qrels=null"]


@pytest.mark.parametrize("keys", [{"split": "dev"}, {"qrels": "judged"}])
def test_who_names_a_split_or_a_folder_expects_judgements(
    unjudged: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    with pytest.raises(UserError, match=r"no .*\.tsv; write the judgements there, .* dataset.qrels=null"):
        Beir(path=str(unjudged), **keys).load(tmp_path)


def test_a_folder_of_qrels_without_a_split_is_refused(unjudged: Path, tmp_path: Path) -> None:
    (unjudged / "qrels").mkdir()
    with pytest.raises(UserError, match=r"no .*test\.tsv; .* dataset.qrels=null to run without"):
        Beir(path=str(unjudged)).load(tmp_path)


def as_jsonl(folder: Path) -> None:
    table(folder / "corpus.jsonl", *CORPUS_TABLE)
    table(folder / "queries.jsonl", *QUERIES_TABLE)


def as_parquet(folder: Path) -> None:
    table(folder / "corpus" / "corpus-00000-of-00001.parquet", *CORPUS_TABLE)
    table(folder / "queries" / "queries-00000-of-00001.parquet", *QUERIES_TABLE)


def as_card(folder: Path) -> None:
    """Read by `datasets`, as from the hub."""
    table(folder / "docs.parquet", *CORPUS_TABLE)
    table(folder / "asked.parquet", *QUERIES_TABLE)
    configs = [("corpus", "docs"), ("queries", "asked")]
    lines = [
        f"- config_name: {name}\n  data_files:\n  - split: {name}\n    path: {file}.parquet\n"
        for name, file in configs
    ]
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(lines)}---\n")


@pytest.mark.parametrize("write", [as_jsonl, as_parquet, as_card])
def test_so_is_a_hub_collection_of_a_corpus_and_queries(tmp_path: Path, write: object) -> None:
    write(tmp_path / "mine")  # type: ignore[operator]
    found = Hub(path=str(tmp_path / "mine")).load(tmp_path / "cache")
    assert found.fingerprint() == collection_of(DOCUMENTS, QUERIES).fingerprint()
    with pytest.raises(UserError):
        Hub(path=str(tmp_path / "mine"), split="dev").load(tmp_path / "cache")


def test_judgements_of_another_split_are_not_taken_for_none(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "mine")
    table(tmp_path / "mine" / "qrels" / "dev.jsonl", ("query-id", "corpus-id", "score"), GRADES)
    with pytest.raises(UserError):
        Hub(path=str(tmp_path / "mine")).load(tmp_path / "cache")


def test_a_run_over_such_a_folder_says_how_much_arms_differ(unjudged: Path, tmp_path: Path) -> None:
    words = [
        "dataset=beir", f"dataset.path={unjudged}", "first_stage=bm25", "reranker=none", "tracking=none",
        "device=cpu", f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'out'}",
    ]  # fmt: skip
    assert run(*words) == 0
    assert report.main([str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["verdict"]["sentence"] == "No judgements, and one arm: there is nothing to compare."


def test_a_notebook_says_how_much_arms_differ_and_what_judging_takes(tmp_path: Path) -> None:
    """Of two queries one keeps its order, so that its document is not among those that differ."""
    documents = pd.DataFrame({"id": ["a", "b", "c"], "text": ["cats hunt", "cats *sleep*", "dogs"]})
    collection = collection_of(documents, {"q": "cats", "same": "dogs"})
    candidates = retrieve(collection, "bm25", candidates=3, cache_dir=tmp_path)
    turned = np.where(candidates.rows >= 0, np.arange(3), np.nan).astype(np.float32)[:, :, None]
    found = differences(collection, candidates, {"turned": turned})
    assert found.arms == ("no reranking", "turned")
    assert 0 < found.overlaps[0].overlap.mean < 1
    assert [query.query_id for query in found.disagreements] == ["q"]
    assert found.left > 0
    assert found.left_queries == 1
    for words in ("judge about", "cats \\*sleep\\*", "| no reranking | turned |"):
        assert words in str(found)
    assert "Costs" not in str(found)
    with pytest.raises(UserError, match="the collection has no judgements"):
        compare(evaluate(collection, candidates), evaluate(collection, candidates, turned))
    with pytest.raises(ValueError, match="are not"):
        differences(collection, candidates, {"other": turned[:1]})
