"""result.json: the keys that others rely on, and the same as scalars and curves."""

from __future__ import annotations

import json
from pathlib import Path

import warm
from commands import run, tiny
from rerankbench.basics.errors import UserError
from rerankbench.experiment.tracking import outputs
from rerankbench.experiment.tracking.result import Result

KEYS = (
    "schema status dataset identity pairs measures by_depth by_layer throughput latency_ms memory_mb model "
    "environment mlflow_run_id"
)


def test_the_keys_of_a_layerwise_run(models: Path, tmp_path: Path) -> None:
    reranker = ["reranker=lightweight", f"reranker.model={models / 'lightweight'}"]
    assert run(*reranker, "latency=true", "tracking=none", *tiny(models, tmp_path)) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert set(KEYS.split()) <= set(result)
    assert result["schema"] == 1
    assert result["status"] == "ok"
    assert {"name", "docs", "queries", "judgements", "fingerprint"} <= set(result["dataset"])
    assert set(result["identity"]) == {"embedder", "candidates", "reranker"}
    assert result["pairs"] == {"total": 8, "scored": 8, "reused": 0}
    assert set(result["measures"]) == {"first_stage", "reranked", "oracle"}
    names = {f"{kind}_at_{k}" for kind in ("ndcg", "recall", "mrr", "success", "judged") for k in (1, 2)}
    assert set(result["measures"]["reranked"]) == names
    assert set(result["by_layer"]) == {"2", "3", "4", "5", "6"}
    assert result["by_depth"]["4"] == result["by_layer"]["6"] == result["measures"]["reranked"]
    assert result["throughput"] is None  # eight pairs say nothing of the ninth thousand
    assert {"p50", "p95"} <= set(result["latency_ms"]["4"])
    assert set(result["memory_mb"]) == {"peak_rss", "peak_cuda"}
    assert result["model"]["parameters"] > 0
    assert result["model"]["load_seconds"] > 0
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"result.json", "per_query.parquet", "candidates.trec", "reranked.trec", ".hydra"} <= files


def test_what_a_result_lacks_is_left_out_of_its_file() -> None:
    written = json.loads(Result("none").to_json())
    assert not {"by_layer", "latency_ms", "error"} & set(written)
    assert written["mlflow_run_id"] is None


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    result = Result("a", params={"x": 1}, by_layer={"2": {"ndcg_at_1": 0.5}}, memory_mb={"peak_cuda": None})
    result.write(tmp_path / "run")
    assert Result.read(tmp_path / "run") == result


def test_only_finite_numbers_become_scalars() -> None:
    result = Result(
        "a", throughput={"x": float("nan"), "y": 2.0}, memory_mb={"peak_rss": 5, "peak_cuda": None}
    )
    assert {"throughput/y": 2.0, "memory/peak_rss_mb": 5.0}.items() <= result.scalars().items()
    assert not {"throughput/x", "memory/peak_cuda_mb"} & set(result.scalars())


def test_memory_of_a_shared_process_is_no_figure(models: Path, tmp_path: Path) -> None:
    """Of two jobs in one process the second would be told what both left there."""
    rest = ["first_stage=bm25", "reranker=none", "tracking=none", *tiny(models, tmp_path)]
    done = warm.typed("-m", "depth=1,2", *rest, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / "sweep" / n / "result.json").read_text()) for n in "01")
    assert first["memory_mb"]["peak_rss"] > 50
    assert "memory_note" not in first
    assert second["memory_mb"] == {"peak_rss": None, "peak_cuda": None}
    assert "an earlier run shared this process" in second["memory_note"]


def test_a_run_whose_config_could_not_be_read_is_named_by_what_varies() -> None:
    """Two models of a sweep that are not there are two arms, not `base` twice."""
    labels, fault = {"reranker": "base", "first_stage": "bm25"}, UserError("no such folder")
    told = (["reranker=base", f"reranker.model={name}", "depth=5"] for name in ("a", "b"))
    failed = [outputs.failure(None, labels, fault, "sweep", lines) for lines in told]
    assert [result.arm for result in failed] == ["bm25 + base model=a depth=5", "bm25 + base model=b depth=5"]
    assert {result.status for result in failed} == {"failed"}
    assert outputs.failure(None, {}, fault, "").arm == "experiment"
