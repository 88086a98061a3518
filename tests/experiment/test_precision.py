"""What a run says it computed in is what it computed in, whatever the machine was set to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import run, tiny
from rerank_server import rerank_server
from rerankbench.experiment.tracking.precision import computed_in
from rerankbench.report.arms.runs import find
from rerankbench.report.costs.cost import machines
from rerankbench.report.findings import find_out
from rerankbench.report.made import facts
from rerankbench.report.settings import Report
from simulated_runs import noisy, write_run
from tiny_exports import exported

BF16 = {"device_name": "machine", "precision": "bf16"}
FIRST = noisy(0.5, 0.1, 40, 0)
DEPTHS = {10: FIRST + 0.1}


def said(models: Path, folder: Path, *words: str) -> dict[str, Any]:
    """The result.json of a run that was set to bf16."""
    usual = [word for word in tiny(models, folder) if not word.startswith("precision=")]
    assert run(*usual, "precision=bf16", "tracking=none", *words) == 0
    result: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text())
    assert result["environment"]["precision"] == "bf16"
    return result


def test_an_onnx_file_computes_in_its_own_precision(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(models / "minilm", tmp_path / "onnx")
    result = said(models, tmp_path, "first_stage=bm25", "reranker=onnx", f"reranker.model={folder}")
    assert result["model"]["precision"] == "of the file"
    assert result["params"]["precision"] == "of the file"
    assert "\nprecision  of the file on " in capsys.readouterr().out


def test_a_server_computes_elsewhere_and_only_the_embedding_here(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rerank_server() as server:
        words = ("reranker=tei", f"reranker.url={server.url}")
        result = said(models, tmp_path, "first_stage=bm25", *words)
        assert result["model"]["precision"] is None
        assert "precision" not in result["params"]
        assert "\nprecision  " not in capsys.readouterr().out
        assert said(models, tmp_path, *words)["params"]["precision"] == "bf16"
    assert "\nprecision  bf16 on " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("embedder", "model", "told"),
    [
        ("", {"precision": "bf16"}, "bf16"),
        ("e", {"precision": "bf16"}, "bf16"),
        ("e", {"precision": None}, "bf16"),
        ("", {"precision": None}, ""),
        ("e", {"precision": "of the file"}, "bf16 for embedding, of the file for reranking"),
        ("", {"parameters": 3}, "bf16"),  # a result of before the key
    ],
)
def test_both_stages_are_told(embedder: str, model: dict[str, Any], told: str) -> None:
    assert computed_in({"identity": {"embedder": embedder}, "model": model, "environment": BF16}) == told


def test_a_report_tells_the_same_and_compares_costs_of_one_machine(tmp_path: Path) -> None:
    """Runs set to other precisions ran on one machine all the same where none of them computed in it."""
    fp32 = BF16 | {"precision": "fp32"}
    for name, precision, environment in (("a", "bf16", BF16), ("b", "of the file", fp32), ("c", None, fp32)):
        model = {"parameters": 1, "precision": precision}
        write_run(tmp_path / name, name, FIRST, DEPTHS, model=model, environment=environment)
    runs = find([tmp_path])
    arms = find_out(runs, Report()).contest.arms
    assert dict(facts(runs, None))["Machine"] == "machine, bf16; machine, of the file; machine"
    assert machines(arms) == ["machine in bf16"]
    write_run(tmp_path / "d", "d", FIRST, DEPTHS, model={"precision": "fp32"}, environment=fp32)
    arms = find_out(find([tmp_path]), Report()).contest.arms
    assert machines(arms) == ["machine in bf16", "machine in fp32"]
