"""What only a CUDA device can show: its kernels give what the CPU gives, and its memory ends for real."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from commands import own_options, run, tiny
from numbered_sequences import Sequences, numbers
from rerankbench.engine import hardware
from rerankbench.engine.hardware import Hardware, Precision, has_cuda
from rerankbench.engine.loop import Budget, Loop
from rerankbench.engine.operators.fused import FusedNorm
from tiny_encoders import BUILDS, CLASSIFIERS, LENGTHS, build_model, inputs_of, logits
from tiny_models import ALL
from tiny_rerankers import EVERY_LAYER, LAYERED, PROMPTED, load, scores, settings

pytestmark = pytest.mark.skipif(not has_cuda(), reason="no CUDA device here")

DEVICE = "cuda:0"
GPU = Hardware(DEVICE, "fp32")
on_device = partial(scores, device=DEVICE)
LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
PAIRS = [
    (query, document)
    for query in ("What is the capital of France?", "法国的首都是哪里？", "Mars? " * 40, "")
    for document in (
        "Paris is the capital of France.",
        LONG * 3,
        LONG * 20,
        "北京是中国的首都。",
        "ŵ 🙂 ᚠ 龘",
        "",
    )
]


def loaded(name: str, models: Path, hashes: Path, precision: Precision = "fp32") -> Any:
    return load(settings(name, models, max_length=96), hashes, precision, DEVICE)


@pytest.fixture(scope="module")
def expected(models: Path, hashes: Path) -> dict[str, NDArray[np.float32]]:
    """Scores by the CPU in fp32, which are FlagEmbedding's."""
    return {name: scores(load(settings(name, models, max_length=96), hashes), PAIRS) for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_scores_are_those_of_the_cpu(name: str, models: Path, hashes: Path, expected: Any) -> None:
    found = on_device(loaded(name, models, hashes), PAIRS)
    assert expected[name].std() > 0.1
    np.testing.assert_allclose(found, expected[name], atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ALL)
def test_half_the_bits_keep_the_order(
    name: str, precision: Precision, models: Path, hashes: Path, expected: Any
) -> None:
    """Fused operators and ragged attention included, which fp32 does not use.

    The tiny models are harder to round than real ones: on CPUs, bf16 correlates with 0.978 at worst.
    """
    found = on_device(loaded(name, models, hashes, precision), PAIRS)
    for column in range(found.shape[1]):
        close = np.corrcoef(found[:, column], expected[name][:, column])[0, 1]
        assert close > (0.95 if precision == "bf16" else 0.999)


@pytest.mark.parametrize("name", PROMPTED)
def test_decoders_are_fused_where_the_extra_is(name: str, models: Path, hashes: Path) -> None:
    """Else the test above compares plain operators, after a warning that nobody reads."""
    pytest.importorskip("liger_kernel")
    half = loaded(name, models, hashes, "bf16").model.modules()
    whole = loaded(name, models, hashes).model.modules()
    assert any(isinstance(module, FusedNorm) for module in half)
    assert not any(isinstance(module, FusedNorm) for module in whole)


@pytest.mark.parametrize("name", ALL)
def test_batches_change_last_bits_alone(name: str, models: Path, hashes: Path) -> None:
    model = loaded(name, models, hashes)
    near = 5e-4 if name == "lightweight" else 1e-4  # on an H100 it came to 2.1e-4, the others below 1e-4
    one_by_one = on_device(model, PAIRS, sequences=1)
    np.testing.assert_allclose(on_device(model, PAIRS, tokens=100_000), one_by_one, atol=near)
    np.testing.assert_allclose(on_device(model, PAIRS[::-1], tokens=500)[::-1], one_by_one, atol=near)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_twice(name: str, precision: Precision, models: Path, hashes: Path) -> None:
    first, second = (on_device(loaded(name, models, hashes, precision), PAIRS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", LAYERED)
def test_every_layer_comes_from_one_pass(name: str, models: Path, hashes: Path, expected: Any) -> None:
    chosen = [EVERY_LAYER[0], EVERY_LAYER[-1]]
    model = load(settings(name, models, max_length=96, cutoff_layers=chosen), hashes, "fp32", DEVICE)
    np.testing.assert_allclose(on_device(model, PAIRS), expected[name][:, [0, -1]], atol=1e-4)


@BUILDS
@LENGTHS
def test_ragged_attention_is_attention(build: str, lengths: list[int]) -> None:
    """Heads of 16, which FlashAttention takes, in fp16 against transformers' own model in fp32."""
    from rerankbench.engine.operators.flat_encoder import flatten

    model = build_model(CLASSIFIERS, build, num_attention_heads=3).cuda()
    inputs = {name: value.cuda() for name, value in inputs_of(lengths, build).items()}
    expected = logits(model, inputs)
    found = logits(flatten(model.half(), first_only=True), inputs)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=2e-3)


def test_memory_that_really_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Batches ask the device for more than it has; no error of ours stands in for its own."""
    whole = torch.cuda.get_device_properties(0).total_memory

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        torch.empty(whole // 1000 * inputs["input_ids"].numel(), dtype=torch.uint8, device=DEVICE)
        return numbers(inputs)

    window, budget = Sequences(np.full(500, 10)), Budget(512, 100_000)
    found = np.zeros(500)
    for index, values in Loop(forward, GPU, budget).run(window):
        found[index] = values[:, 0]
    np.testing.assert_array_equal(found, np.arange(500))
    assert budget.tokens < 1000
    assert "out of memory: going on with batch_tokens=" in caplog.text


RERANKERS = ["base", "gemma", "minicpm-layerwise", "lightweight"]


@pytest.mark.parametrize("name", RERANKERS)
def test_a_whole_run(name: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = own_options(models, tmp_path)
    words = [*tiny(models, tmp_path), f"--config-dir={options}", f"reranker={name}", "tracking=none"]
    gpu = [word for word in words if not word.startswith(("device=", "precision="))]
    gpu += ["device=cuda", "latency=on", f"cache_dir={tmp_path / 'cache-gpu'}"]
    assert run(*words) == 0
    on_cpu = json.loads((tmp_path / "out" / "result.json").read_text())
    monkeypatch.setattr(hardware, "begun", 0)  # in a process that runs share, none says how much it needs
    assert run(*gpu) == 0
    on_gpu = json.loads((tmp_path / "out" / "result.json").read_text())
    assert on_gpu["environment"]["precision"] == "bf16"
    assert on_gpu["environment"]["device_name"] == torch.cuda.get_device_name()
    assert on_gpu["memory_mb"]["peak_cuda"] > 0
    assert on_gpu["pairs"]["scored"] == on_cpu["pairs"]["scored"] > 0
    assert on_gpu["latency_ms"]
    assert run(*gpu) == 0
    again = json.loads((tmp_path / "out" / "result.json").read_text())
    assert again["pairs"]["scored"] == 0
    assert again["measures"] == on_gpu["measures"]
