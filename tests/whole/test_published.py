"""Published figures on real collections, where RERANKBENCH_CHECK_DATA names the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankbench import evaluate, load_collection, load_reranker, retrieve, score

DATA = os.environ.get("RERANKBENCH_CHECK_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="RERANKBENCH_CHECK_DATA is not set")


def test_bm25_on_scifact(tmp_path: Path) -> None:
    """Anserini's BM25 with title and text has 0.6789 (BEIR's leaderboard: 0.679); bm25s 0.677."""
    collection = load_collection(f"{DATA}/scifact")
    means = evaluate(collection, retrieve(collection, "bm25", cache_dir=tmp_path, device="cpu")).mean()
    assert means["ndcg_at_10"] == pytest.approx(0.677, abs=0.005)
    assert means["recall_at_100"] > 0.9


def test_anserinis_run_on_dl19() -> None:
    """TREC Deep Learning 2019, passages: Anserini's BM25 has nDCG@10 0.5058, MRR@10 at relevance 2 0.7024."""
    collection = load_collection(f"{DATA}/dl19")
    run = f"{DATA}/dl19/runs/bm25.trec"
    means = evaluate(collection, retrieve(collection, run)).mean()
    assert means["ndcg_at_10"] == pytest.approx(0.5058, abs=5e-5)
    assert means["recall_at_100"] == pytest.approx(0.4531, abs=5e-5)
    strict = load_collection(f"{DATA}/dl19", relevance_threshold=2)
    means = evaluate(strict, retrieve(strict, run)).mean()
    assert means["recall_at_100"] == pytest.approx(0.4911, abs=1e-4)
    assert means["mrr_at_10"] == pytest.approx(0.7024, abs=5e-5)


def test_bm25_in_chinese(tmp_path: Path) -> None:
    """Pairs of characters answer nearly every XQuAD question's paragraph among 240."""
    collection = load_collection(f"{DATA}/xquad-zh")
    means = evaluate(collection, retrieve(collection, "bm25", cache_dir=tmp_path, device="cpu")).mean()
    assert means["mrr_at_10"] > 0.9


@pytest.mark.slow
def test_the_packaged_int8_model_on_dl19(tmp_path: Path) -> None:
    """onnxruntime's int8, each pair alone; the same weights in fp32 have 0.7216."""
    collection = load_collection(f"{DATA}/dl19")
    candidates = retrieve(collection, f"{DATA}/dl19/runs/bm25.trec")
    scores = score(
        collection, candidates, load_reranker("minilm-onnx", cache_dir=tmp_path), cache_dir=tmp_path
    )
    assert evaluate(collection, candidates, scores).mean()["ndcg_at_10"] == pytest.approx(0.7226, abs=0.002)
