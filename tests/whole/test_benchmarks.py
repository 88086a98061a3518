"""The scripts under experiments/ run, and compare what they say they compare; rates are not looked at."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from string import ascii_lowercase
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from collections_on_disk import beir
from flagembedding_oracle import quiet
from rerankbench.engine.store.rows import RowStore, text_keys, write_array
from tiny_exports import exported, quantized

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("benchmarks", "executors"):
        monkeypatch.syspath_prepend(EXPERIMENTS / folder)


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_scoring_compares_all_ways_on_the_same_pairs(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "--pairs",
        "24",
        "--rounds",
        "2",
        "--model",
        str(models / "minilm"),
        "--cache-dir",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["scoring.py", *asked])
    with quiet():
        import_module("scoring").main()
    report = last_line(capsys)
    rates = report["pairs_per_second"]
    assert set(rates) >= {"tutorial", "one_call", "cross_encoder", "fp32", "auto"}
    assert report["pairs"] == 24
    for mine, ratios in report["ratios"].items():
        for peer, ratio in ratios.items():
            assert ratio == pytest.approx(rates[mine] / rates[peer])
    assert 0 <= report["padding_share_fp32"] < 0.2
    assert 0 < report["matrix_share_fp32"] < 1


def test_all_of_scorings_contestants_give_the_same_scores(models: Path, tmp_path: Path) -> None:
    from rerankbench.engine.hardware import Hardware
    from rerankbench.engine.models.references import resolve

    scoring = import_module("scoring")
    collection, candidates = scoring.collection_of(None, None, tmp_path)
    pairs = scoring.pairs_of(collection, candidates, 12)
    weights = resolve(str(models / "minilm"), None, tmp_path)
    with quiet():
        scores = {
            one.name: one.score(pairs) for one in scoring.contestants(weights, Hardware("cpu", "fp32"), None)
        }
    for name, values in scores.items():
        expected = scores["one_call"]
        if name == "cross_encoder":  # which applies the sigmoid where there is one label
            expected = 1 / (1 + np.exp(-expected))
        close = 0.1 if name == "int8" else 1e-5
        np.testing.assert_allclose(values, expected, atol=close, err_msg=name)


def test_onnx_files_are_compared_alone_and_in_batches(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = exported(models / "minilm", tmp_path / "tiny")
    quantized(plain / "model.onnx", small := plain / "int8.onnx")
    asked = ["--pairs", "12", "--rounds", "1", "--cache-dir", str(tmp_path), "--model", str(small)]
    monkeypatch.setattr(sys, "argv", ["onnx_files.py", *asked, "--torch-model", str(models / "minilm")])
    import_module("onnx_files").main()
    report = last_line(capsys)
    assert set(report["pairs_per_second"]) >= {"ours", "onnxruntime_1", "onnxruntime_32", "torch_fp32"}
    assert report["largest_difference"]["onnxruntime_1"] < 1e-6
    assert report["largest_difference"]["onnxruntime_32"] > 1e-3


def test_padding_is_counted_in_the_batches_of_runs(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["padding.py", "--cache-dir", str(tmp_path), "--model", str(models / "minilm")]
    )
    padding = import_module("padding")
    padding.main()
    report = last_line(capsys)
    assert 0 <= report["padding"]["cpu"]["tokens"] <= report["padding"]["cuda"]["tokens"] < 1
    lengths = np.array([10, 10, 5, 5])
    assert padding.shares(lengths, 20) == {"tokens": 0.0, "attention": 0.0}
    assert padding.shares(lengths, 40) == {"tokens": 0.25, "attention": 0.375}


def test_embedding_compares_on_the_same_texts(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embedding = import_module("embedding")
    tiny = replace(embedding.SETTINGS, model=str(models / "bge-small-en"))
    monkeypatch.setattr(embedding, "SETTINGS", tiny)
    monkeypatch.setattr(sys, "argv", ["embedding.py", "--texts", "20", "--cache-dir", str(tmp_path)])
    with quiet():
        embedding.main()
    report = last_line(capsys)
    assert report["largest_difference_fp32"] < 1e-5
    assert report["smallest_cosine_auto"] > 0.99
    assert set(report["ratios"]) == {"fp32", "auto"}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """In place of `processes.once`: the same commands, one second for the first, two for the next."""
    processes, seconds = import_module("processes"), count(1)

    def once(command: Sequence[str], place: Path, **_: str) -> Any:
        module = command[2] if command[2].endswith(".report") else f"{command[2]}.__main__"
        with monkeypatch.context() as there:
            there.chdir(place)
            there.setattr(sys, "argv", list(command[2:]))
            assert not import_module(module).main()
        return processes.Cost(wall=next(seconds), cpu=0.5, memory=10**6)

    return once


def test_whole_evaluations_do_the_same_work(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    documents = [(f"d{i}", "", f"planet {letter} has {i} moons") for i, letter in enumerate(ascii_lowercase)]
    queries = [(f"q{i}", "", f"which planet has {i} moons") for i in range(5)]
    grades = [(f"q{i}", f"d{(5 * i + j) % 26}", j) for i in range(5) for j in range(4)]
    collection = beir(tmp_path / "collection", documents, queries, grades)
    end_to_end = import_module("end_to_end")
    monkeypatch.setattr(end_to_end, "once", in_this_process)
    monkeypatch.setattr(end_to_end.tempfile, "TemporaryDirectory", lambda: nullcontext(tmp_path))
    asked = ["--collection", str(collection), "--queries", "4", "--depth", "12", "--precision", "fp32"]
    asked += ["--embedder", str(models / "bge-small-en"), "--reranker", str(models / "minilm")]
    monkeypatch.setattr(sys, "argv", ["end_to_end.py", *asked, "--cache-dir", str(tmp_path)])
    with quiet():
        end_to_end.main()
    report = last_line(capsys)
    ours, theirs = report["found"]["ours"], report["found"]["flagembedding"]
    for stage in ("first_stage", "reranked"):
        values = [found[state][stage] for found in (ours, theirs) for state in ("cold", "warm")]
        assert values == pytest.approx([ours["cold"][stage]] * 4, abs=1e-5)
    assert 0 < ours["cold"]["first_stage"] != ours["cold"]["reranked"] > 0
    assert report["ratios"] == {"flagembedding": {"cold": 2 / 1, "warm": pytest.approx(4 / 3)}}
    assert (report["documents"], report["queries"], list(report["left_out"])) == (26, 4, ["mteb"])
    warm = json.loads((tmp_path / "ours-0" / "out" / "result.json").read_text())
    assert warm["pairs"] == {"total": 48, "scored": 0, "reused": 48}


def test_start_up_is_of_a_report_over_every_reranker_and_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: Callable[..., Any]
) -> None:
    startup = import_module("startup")
    monkeypatch.setattr(startup, "once", in_this_process)
    for name, value in {"RERANKERS": 2, "DEPTHS": 3, "QUERIES": 40}.items():
        monkeypatch.setattr(startup, name, value)
    assert startup.measured("report", tmp_path, 1) == {"seconds": 1, "cpu_seconds": 0.5, "peak_mb": 1}
    arms = json.loads((tmp_path / "simulated" / "report.json").read_text())["arms"]
    assert len([arm for arm in arms if arm["kind"] == "plain"]) == 2 * 3 + 1


SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16, "start_layer": 2,
    "vocab_size": 20_007,
}  # fmt: skip


def shrunk(build: Any) -> Any:
    """The architecture of `build`, with few and small layers."""

    def smaller() -> Any:
        architecture, config = build()
        for name in SMALL.keys() & vars(config).keys():
            setattr(config, name, SMALL[name])
        if "layer_types" in vars(config) and config.layer_types:
            config.layer_types = config.layer_types[: config.num_hidden_layers]
        return architecture, config

    return smaller


@pytest.fixture
def architectures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = import_module("architectures")
    for name, (wrapper, settings, build) in module.ARCHITECTURES.items():
        monkeypatch.setitem(module.ARCHITECTURES, name, (wrapper, settings, shrunk(build)))
    module.write_tokenizer(module.FOLDER)
    return module


@pytest.mark.parametrize("name", ["base", "v2-m3", "gemma", "minicpm-layerwise", "lightweight"])
def test_both_loops_score_each_architecture_alike(architectures: ModuleType, name: str) -> None:
    asked = Namespace(pairs=6, per_query=3, rounds=1, device="cpu", layers=None, depths=[2])
    row = architectures.compare(name, "fp32", asked, None)
    assert row["largest_difference"] < 1e-4
    assert row["score_spread"] > 1e-4
    assert row["ratio"] > 0


def test_layers_counts_the_same_questions_both_ways(
    architectures: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = import_module("layers")
    monkeypatch.setattr(layers, "small_minicpm", architectures.ARCHITECTURES["minicpm-layerwise"][2])
    monkeypatch.setattr(layers, "LAYERS", (2, 3, 4))
    monkeypatch.setattr(layers, "DEPTHS", (2, 3))
    layers.main()
    report = last_line(capsys)
    assert report["ratio"] == pytest.approx(report["six_runs_seconds"] / report["one_pass_seconds"])


def test_identical_finds_one_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identical = import_module("identical")
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    other = values.copy()
    other[2, 1] = np.nextafter(other[2, 1], np.float32(9))
    keys = text_keys(["a", "b", "c", "d"])
    for cache, stored in (("first", values), ("same", values), ("other", other)):
        write_array(tmp_path / cache / "vectors" / "model", "texts", stored)
        RowStore(tmp_path / cache / "scores" / "model", {}).append(keys, stored, [1, 2, 3])
    first, same, changed, nothing = (str(tmp_path / name) for name in ("first", "same", "other", "nothing"))
    assert identical.main(first, same) == 0
    assert identical.main(first, changed) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["scores model: 4 compared, 1 differ", "vectors model: 4 compared, 1 differ"]
    assert identical.main(first, nothing) == 1
