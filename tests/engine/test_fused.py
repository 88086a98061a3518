"""Fused operators stand where plain ones stood, and get what those got; test_cuda.py runs real ones."""

from __future__ import annotations

import gc
import json
import logging
import sys
import types
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import computed_by
from rerankbench.engine.models.references import resolve
from rerankbench.engine.operators import fused, fusing
from rerankbench.engine.operators.fused import fuse
from rerankbench.rerankers.scoring.pair_scoring import parts_of
from tiny_rerankers import LAYERED, PROMPTED, load, scores, settings

PAIRS = [
    ("What is the capital of France?", "Paris."),
    ("法国的首都是哪里？", "Mars has two moons. " * 5),
    ("", ""),
]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each operator ran; plain arithmetic stands in for the kernels, which need a GPU."""
    count: Counter[str] = Counter()

    def normed(hidden: Tensor, weight: Tensor, eps: float, offset: float, casting: str) -> Tensor:
        count[f"norm {casting}"] += 1
        return torch.nn.functional.rms_norm(hidden, hidden.shape[-1:], offset + weight, eps)

    def gelu_gate(left: Tensor, right: Tensor) -> Tensor:
        count["gelu"] += 1
        return torch.nn.functional.gelu(left, approximate="tanh") * right

    def silu_gate(left: Tensor, right: Tensor) -> Tensor:
        count["silu"] += 1
        return left * torch.sigmoid(left) * right

    def rotated(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        count["rotation"] += 1
        assert cos.shape == sin.shape == (1, query.shape[2], query.shape[3])
        turn = torch.polar(torch.ones(()), torch.atan2(sin, cos))[:, None, :, : query.shape[3] // 2]
        return turned(query, turn), turned(key, turn)

    for operator in (normed, gelu_gate, silu_gate, rotated):
        monkeypatch.setattr(fused, operator.__name__, operator)
    monkeypatch.setattr(fused, "has_kernels", lambda: True)
    return count


def turned(rows: Tensor, turn: Tensor) -> Tensor:
    """Each first half and second half is a complex number, turned by the angle of its position."""
    first, second = rows.chunk(2, dim=-1)
    product = torch.complex(first, second) * turn
    return torch.cat([product.real, product.imag], dim=-1)


@pytest.mark.parametrize("name", PROMPTED)
def test_scores_stay_what_they_were(name: str, models: Path, hashes: Path, called: Counter[str]) -> None:
    model: Any = load(settings(name, models), hashes)
    expected = scores(model, PAIRS)
    assert not called
    fuse(model.model)
    called.clear()  # it has tried one
    np.testing.assert_allclose(scores(model, PAIRS), expected, atol=1e-4)
    layers = len(model.model.model.layers) * 2  # three pairs make two batches or fewer
    gate, norm = ("silu", "norm llama") if name == "minicpm-layerwise" else ("gelu", "norm gemma")
    assert set(called) == {gate, norm, "rotation"}
    assert called[gate] == called["rotation"] <= layers
    assert called[norm] >= 2 * called[gate]


@pytest.mark.parametrize("name", LAYERED)
def test_another_model_of_the_process_stays_as_it_is(
    name: str, models: Path, hashes: Path, called: Counter[str]
) -> None:
    ours: Any = load(settings(name, models), hashes)
    other = load(settings(name, models), hashes)
    expected = scores(other, PAIRS)
    fuse(ours.model)
    called.clear()
    np.testing.assert_array_equal(scores(other, PAIRS), expected)
    assert not called


def test_encoders_have_nothing_to_fuse(models: Path, hashes: Path, called: Counter[str], caplog: Any) -> None:
    model: Any = load(settings("base", models), hashes)
    before = [type(module) for module in model.model.modules()]
    fuse(model.model)
    assert [type(module) for module in model.model.modules()] == before


def test_without_the_extra_it_says_how_to_be_faster(
    models: Path, hashes: Path, called: Counter[str], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(fused, "has_kernels", lambda: False)
    model: Any = load(settings("gemma", models), hashes)
    with caplog.at_level(logging.INFO, "rerankbench.engine.operators.fused"):
        fuse(model.model)
    assert "pip install 'rerankbench[gpu]'" in caplog.text
    scores(model, PAIRS)
    assert not called


def test_where_no_kernel_can_be_compiled_it_says_what_to_do(
    models: Path, hashes: Path, called: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on without would store other scores under the identity of fused ones."""

    def no_compiler(*arguments: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    monkeypatch.setattr(fused, "normed", no_compiler)
    model: Any = load(settings("gemma", models), hashes)
    with pytest.raises(UserError, match=r"kernels do not run here .*Failed to find C compiler") as error:
        fuse(model.model)
    assert "pip uninstall liger-kernel" in error.value.problems[0]
    called.clear()  # it has tried some
    scores(model, PAIRS)
    assert not called


GPU = Hardware("cuda:0", "bf16")


@pytest.mark.parametrize("name", PROMPTED)
def test_fused_operators_are_part_of_a_scores_identity(
    name: str, models: Path, hashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker, installed = settings(name, models), {"version": "0.8.0"}
    weights = resolve(reranker.model, None, hashes)
    monkeypatch.setattr(computed_by, "has_kernels", lambda: "version" in installed)
    monkeypatch.setattr(computed_by, "version", lambda _: installed["version"])
    with_it = parts_of(reranker, weights, GPU)
    assert with_it["operators"] == "liger-kernel 0.8.0"
    assert "operators" not in parts_of(reranker, weights, Hardware("cuda:0", "fp32"))
    assert "operators" not in parts_of(reranker, weights, Hardware("cpu", "bf16"))
    installed["version"] = "0.8.1"
    assert parts_of(reranker, weights, GPU) == with_it | {"operators": "liger-kernel 0.8.1"}
    installed.clear()
    del with_it["operators"]
    assert parts_of(reranker, weights, GPU) == with_it == reranker.identity(weights, "bf16")


@pytest.mark.parametrize("name", PROMPTED)
def test_what_is_fused_is_what_the_identity_says(
    name: str, models: Path, hashes: Path, called: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of these kinds alone are fused, even where others borrow their classes."""
    reranker = settings(name, models)
    kind = json.loads((models / name / "config.json").read_text())["model_type"]
    model: Any = load(reranker, hashes)
    assert kind in fusing.FUSED
    model.model.config.model_type = "borrower"
    fuse(model.model)
    assert not any(isinstance(module, fused.FusedNorm) for module in model.model.modules())
    model.model.config.model_type = kind
    fuse(model.model)
    assert any(isinstance(module, fused.FusedNorm) for module in model.model.modules())


def test_an_activation_it_does_not_know_stays(models: Path, hashes: Path, called: Counter[str]) -> None:
    model: Any = load(settings("gemma", models), hashes)
    for layer in model.model.model.layers:
        getattr(layer.mlp, "block", layer.mlp).act_fn = torch.nn.GELU()  # not by tanh
    expected = scores(model, PAIRS)
    fuse(model.model)
    called.clear()
    np.testing.assert_allclose(scores(model, PAIRS), expected, atol=1e-4)
    assert called["gelu"] == 0 < called["norm gemma"]


def test_a_model_folders_own_layers_stay(models: Path, hashes: Path, called: Counter[str]) -> None:
    model: Any = load(settings("gemma", models), hashes)
    for layer in model.model.model.layers:
        layer.input_layernorm.__class__ = type(
            "GemmaRMSNorm", (type(layer.input_layernorm),), {"__module__": "transformers_modules.own"}
        )
    fuse(model.model)
    assert not any(isinstance(layer.input_layernorm, fused.FusedNorm) for layer in model.model.model.layers)


def test_a_fused_model_is_freed_when_it_is_dropped(models: Path, hashes: Path, called: Counter[str]) -> None:
    """Without waiting for the garbage collector: the next model of a sweep needs its memory."""
    model: Any = load(settings("gemma", models), hashes)
    fuse(model.model)
    scores(model, PAIRS)
    attention = weakref.ref(model.model.model.layers[0].self_attn)
    gc.collect()
    gc.disable()
    try:
        del model
        assert attention() is None
    finally:
        gc.enable()


def test_an_error_inside_leaves_nothing_switched_on(
    models: Path, hashes: Path, called: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no")

    ours: Any = load(settings("gemma", models), hashes)
    other = load(settings("gemma", models), hashes)
    fuse(ours.model)
    monkeypatch.setattr(fused, "rotated", broken)
    with pytest.raises(RuntimeError, match="no"):
        scores(ours, PAIRS)
    scores(other, PAIRS)


def test_batches_are_rotated_as_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liger's kernel is compiled for each number of rows; a plain one with its signature stands in here."""
    shapes = []

    def rope_forward(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
        shapes.append((tuple(query.shape), tuple(key.shape), tuple(cos.shape)))
        turn = torch.polar(torch.ones(()), torch.atan2(sin, cos))[:, None, :, : query.shape[3] // 2]
        return turned(query, turn), turned(key, turn), cos, sin

    module = types.ModuleType("liger_kernel.ops.rope")
    module.rope_forward = rope_forward  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "liger_kernel.ops.rope", module)
    from transformers.models.gemma2.modeling_gemma2 import apply_rotary_pos_emb

    query, key = torch.randn(3, 5, 4, 16).transpose(1, 2), torch.randn(3, 5, 2, 16).transpose(1, 2)
    angles = torch.randn(1, 5, 8).repeat(1, 1, 2)
    found = fused.rotated(query, key, angles.cos(), angles.sin())
    assert shapes == [((1, 4, 15, 16), (1, 2, 15, 16), (1, 15, 16))]
    for one, expected in zip(
        found, apply_rotary_pos_emb(query, key, angles.cos(), angles.sin()), strict=True
    ):
        torch.testing.assert_close(one, expected)
