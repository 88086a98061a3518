"""The Python surface: what is exported, and that it computes what the command computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rerankbench
from collections_on_disk import beir
from commands import run, tiny
from flagembedding_oracle import oracle_scores
from rerankbench import UserError, compare, evaluate, load_collection, load_reranker, retrieve, score
from rerankbench.experiment.tracking.result import Result

PANDA = (
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear "
    "species endemic to China."
)
CPU = {"device": "cpu", "precision": "fp32"}
TEXTS = ["Berlin is the capital of Germany.", "Paris is the capital of France.", "水在一百摄氏度时沸腾。", ""]


def tiny_run() -> tuple[rerankbench.Collection, rerankbench.Candidates]:
    """Two documents, the second of which answers the one query; the first stands above it."""
    collection = rerankbench.collection_of({"a": "x", "b": "y"}, {"q": "z"}, {"q": {"b": 1}}, name="tiny")
    return collection, rerankbench.Candidates(np.array([[0, 1]]), np.array([[2, 1]], np.float32))


def rank_with(query: object, texts: object) -> None:
    """Mistakes are told before a model is needed."""
    rerankbench.Reranker.rank(None, query, texts)  # type: ignore[arg-type]


def test_exported_names_are_exactly_all() -> None:
    assert rerankbench.__all__ == sorted(rerankbench.__all__)
    names = {}
    exec("from rerankbench import *", names)
    assert set(names) - {"__builtins__"} == set(rerankbench.__all__)
    assert set(rerankbench.__all__) <= set(dir(rerankbench))
    assert all(getattr(rerankbench, name).__doc__ for name in rerankbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rerank'"):
        rerankbench.rerank  # noqa: B018


def test_the_surface_is_the_api_and_the_users_error() -> None:
    from rerankbench import api

    assert set(rerankbench.__all__) == {*api.__all__, "UserError", "differences"}


def test_importing_is_cheap() -> None:
    code = "import rerankbench, sys; print(sorted({'torch', 'hydra', 'numpy', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rerank_a_list_of_texts(models: Path, tmp_path: Path) -> None:
    reranker = load_reranker(models / "base", family="encoder", **CPU, cache_dir=tmp_path)
    scores = reranker.score("capital of France?", TEXTS)
    assert scores.shape == (4, 1)
    assert scores.dtype == np.float32
    expected = oracle_scores("encoder", models / "base", [("capital of France?", text) for text in TEXTS])
    np.testing.assert_allclose(scores[:, 0], np.ravel(expected), atol=1e-4)
    ranked = reranker.rank("capital of France?", TEXTS)
    assert [one.position for one in ranked] == np.argsort(-scores[:, 0]).tolist()
    assert [TEXTS[one.position] for one in ranked] == [one.text for one in ranked]
    assert [one.score for one in ranked] == sorted(scores[:, 0].tolist(), reverse=True)


def test_equal_scores_keep_the_order_given(models: Path, tmp_path: Path) -> None:
    reranker = load_reranker(models / "minilm", family="encoder", **CPU, cache_dir=tmp_path)
    assert [one.position for one in reranker.rank("q", ["same", "same", "same"])] == [0, 1, 2]
    assert reranker.rank("q", []) == []
    assert reranker.score("q", []).shape == (0, 1)


def test_every_layer_is_a_column(models: Path, tmp_path: Path) -> None:
    reranker = load_reranker(
        "minicpm-layerwise",
        model=models / "minicpm-layerwise",
        device="cpu",
        precision="fp32",
        cache_dir=tmp_path,
    )
    scores = reranker.score("capital of France?", TEXTS)
    assert reranker.layers == (2, 3, 4, 5, 6)
    assert scores.shape == (4, 5)
    assert reranker.rank("capital of France?", TEXTS)[0].score == scores[:, -1].max()


def test_the_same_figures_as_the_command(models: Path, tmp_path: Path) -> None:
    words = tiny(models, tmp_path)
    assert run("tracking=none", "reranker=base", f"reranker.model={models / 'base'}", *words) == 0
    expected = Result.read(tmp_path / "out").measures

    here = CPU | {"cache_dir": tmp_path / "other"}
    collection = load_collection(tmp_path / "data")
    found = retrieve(collection, "dense", candidates=4, embedder=models / "bge-small-en", **here)
    reranker = load_reranker("base", model=models / "base", **here)
    scores = score(collection, found, reranker, cache_dir=tmp_path / "other")
    assert scores.shape == (*found.rows.shape, 1)
    before = evaluate(collection, found, cutoffs=[1, 2])
    after = evaluate(collection, found, scores, cutoffs=[1, 2])
    assert {name: before.mean()[name] for name in expected["first_stage"]} == expected["first_stage"]
    assert {name: after.mean()[name] for name in expected["reranked"]} == expected["reranked"]
    none = evaluate(collection, found, scores, depth=0, cutoffs=[1, 2])
    assert none.mean() == before.mean()


def test_scores_are_stored_and_read(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = load_collection(beir(tmp_path / "data"))
    found = retrieve(collection, "bm25", candidates=3, language="none", cache_dir=tmp_path)
    reranker = load_reranker(models / "base", family="encoder", **CPU, cache_dir=tmp_path)
    first = score(collection, found, reranker, depth=1, cache_dir=tmp_path)
    assert first.shape[1] == min(1, found.rows.shape[1])
    again = load_reranker(models / "base", family="encoder", **CPU, cache_dir=tmp_path)
    monkeypatch.setattr(type(again.settings), "load", lambda *_: pytest.fail("loaded the model again"))
    np.testing.assert_array_equal(score(collection, found, again, depth=1, cache_dir=tmp_path), first)


def test_a_run_file_is_a_first_stage(tmp_path: Path) -> None:
    collection = load_collection("beir", path=beir(tmp_path / "data"))
    file = tmp_path / "run.trec"
    file.write_text("q1 Q0 7 1 2.0 x\nq1 Q0 007 2 1.0 x\nq2 Q0 c 1 1.0 x\n")
    found = retrieve(collection, file)
    assert collection.corpus.ids(found.rows[0]) == ["7", "007"]
    # q1: its one relevant document is at rank 2, graded 2: 2 / log2(3) over 2 / log2(2); q2 lacks "gone"
    expected = (1 / np.log2(3) + 1 / (1 + 1 / np.log2(3))) / 2
    assert evaluate(collection, found).mean()["ndcg_at_10"] == pytest.approx(expected, abs=1e-12)


def test_compare_two_arms() -> None:
    texts = {f"d{n}": f"text {n}" for n in range(4)}
    queries = {f"q{n}": f"query {n}" for n in range(6)}
    collection = rerankbench.collection_of(texts, queries, {query: {"d3": 1} for query in queries})
    rows = np.tile(np.arange(4), (6, 1))
    found = rerankbench.Candidates(rows, -rows.astype(np.float32))
    scores = np.zeros((6, 4, 1), np.float32)
    scores[:5, 3] = 1  # five queries get their document first, the sixth keeps it at rank 4
    before, after = evaluate(collection, found), evaluate(collection, found, scores)
    compared = compare(before, after, "mrr_at_10")
    assert (compared.first, compared.second) == pytest.approx((0.25, (5 + 0.25) / 6))
    assert compared.difference == pytest.approx(5 * 0.75 / 6)
    assert compared.p_value == pytest.approx(2 / 2**5)  # all or none of five signs flipped, of 32
    assert (compared.helped, compared.hurt, compared.unchanged) == (5, 0, 1)
    low, high = compared.interval
    assert 0 < low < compared.difference < high <= 0.75
    assert str(compared).startswith("MRR@10 0.2500 -> 0.8750: +0.6250 [")
    backwards = compare(after, before, "mrr_at_10")
    assert backwards.difference == -compared.difference
    with pytest.raises(UserError, match="measure ndcg_at_7: not computed"):
        compare(before, after, "ndcg_at_7")


def test_what_a_notebook_shows_is_short(tmp_path: Path) -> None:
    collection, found = tiny_run()
    assert repr(collection) == "<Collection tiny, split test: 2 documents, 1 judged queries, 1 judgements>"
    assert repr(found) == "<Candidates of 1 queries, at most 2 of each>"
    measured = evaluate(collection, found, np.array([[[1.0], [2.0]]], np.float32), cutoffs=[1])
    assert repr(measured).startswith("<Measured reranked to depth 2: ndcg_at_1 1.0000, recall_at_1 1.0000,")
    assert repr(evaluate(collection, found, cutoffs=[1])).startswith(
        "<Measured first_stage: ndcg_at_1 0.0000"
    )
    small = load_collection(beir(tmp_path / "data"), limit_queries=1)
    assert "split test (reduced: a quick look, not a result): 4 documents, 1 judged queries" in repr(small)


def test_candidates_of_another_collection_are_refused(tmp_path: Path) -> None:
    _, found = tiny_run()
    for other in (load_collection(), rerankbench.collection_of({"a": "x"}, {"q": "z"}, {"q": {"a": 1}})):
        with pytest.raises(ValueError, match="at most 2 of each> are not of <Collection"):
            evaluate(other, found)
        with pytest.raises(ValueError, match="are not of <Collection"):
            score(other, found, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: load_reranker("minilmm"), "reranker minilmm: no such option or folder; options: "),
        (lambda: load_reranker("none"), "there is nothing to load"),
        (
            lambda: load_reranker("BAAI/bge-reranker-base"),
            "give family= with a model; one of ",
        ),
        (
            lambda: load_reranker("some/model", family="bert"),
            "reranker bert: choose one of bi-encoder, causal",
        ),
        (lambda: load_reranker("minilm", max_length=3), "reranker.max_length=3: give at least 8 tokens"),
        (lambda: load_reranker("minilm", max_length=1000), "the model reads at most 512 tokens"),
        (lambda: load_reranker("minilm", max_len=3), "did you mean reranker.max_length"),
        (lambda: load_reranker("minilm", precision="fp8"), "precision=fp8: choose one of"),
        (lambda: load_collection("/nope"), "collection /nope: there is no such folder, nor a kind"),
        (lambda: load_collection("beir", path="/nope"), "dataset.path=/nope: there is no such folder"),
        (lambda: load_collection("sample", limit=1), "dataset.limit=1: there is no such key"),
        (lambda: retrieve(load_collection(), "nope.trec"), "first_stage nope.trec: there is no such file"),
        (lambda: retrieve(load_collection(), "bm25", language="klingon"), "first_stage.language=klingon"),
        (
            lambda: retrieve(load_collection(), "dense", embedder="minilmm"),
            "embedder minilmm: no such",
        ),
        (lambda: retrieve(load_collection(), "bm25", candidates=0), "candidates=0: give a whole number"),
        (lambda: evaluate(*tiny_run(), depth=-1), "depth=-1: give a whole number of at least 0"),
        (lambda: score(*tiny_run(), reranker=None, depth=2.5), "depth=2.5: give a whole number"),
        (lambda: rank_with("q", "one text"), "texts: one string; give a list of texts"),
        (lambda: rank_with("q", ["a", None]), "texts[1]: None is not a string"),
        (lambda: rank_with(7, ["a"]), "query: 7 is not a string"),
    ],
)
def test_mistakes_are_one_line(call: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        call()  # type: ignore[operator]
    assert line in caught.value.problems[0]
    assert len(caught.value.problems) == 1


@pytest.mark.network
def test_the_tutorials_example() -> None:
    """README's ten lines, on the packaged model."""
    reranker = load_reranker("minilm", device="cpu", precision="fp32")
    texts = ["hi", PANDA, "Pandas is a library for data analysis in Python."]
    first, *_ = reranker.rank("what is panda?", texts)
    assert first.text == PANDA
    assert reranker.name == "ms-marco-MiniLM-L-12-v2 (dequantized)"
