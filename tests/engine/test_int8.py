"""int8 on CPUs: what becomes of numbers, against plain arithmetic; and that rows do not know each other."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from rerankbench.engine import hardware
from rerankbench.engine.operators import int8_attention, int8_rows, int8_tiles
from rerankbench.engine.operators.flat_encoder import flatten
from rerankbench.engine.operators.int8 import Head, Int8Linear, Rows, to_int8
from rerankbench.engine.operators.int8_encoder import Int8Encoder

pytestmark = pytest.mark.skipif(
    not hardware.cpu_multiplies_int8(), reason="needs a CPU with int8 instructions"
)

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> NDArray[np.float32]:
    """Rows of very different sizes, as hidden states are."""
    found = RANDOM.normal(size=shape) * np.exp(RANDOM.normal(size=(*shape[:-1], 1)) * 2)
    return found.astype(np.float32)


def read(values: Any, scales: Any) -> NDArray[np.float64]:
    """What bytes and scales stand for."""
    return np.asarray(scales, np.float64)[:, None] * (np.asarray(values, np.float64) - 128)


# --- rows ---


def test_a_row_is_within_half_a_step_of_its_bytes() -> None:
    rows = numbers(50, 37)
    found = Rows.of(torch.from_numpy(rows))
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(read(found.values, found.scales) - rows) <= step * 0.5001).all()
    assert np.abs(found.values.numpy().astype(int) - 128).max() == 127


def test_a_row_of_zeros_and_one_that_is_too_small_for_a_scale_are_zeros() -> None:
    rows = Rows.of(torch.tensor([[0.0, -0.0], [1e-38, -1e-42]]))
    assert read(rows.values, rows.scales).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_visible_in_its_row_alone(fault: float) -> None:
    rows = torch.from_numpy(numbers(3, 32))
    rows[1, 5] = fault
    found = Int8Linear(nn.Linear(32, 16))(rows)
    assert torch.isfinite(found).all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_broken_weight_stays_visible_in_its_column_alone(fault: float) -> None:
    linear = nn.Linear(32, 16)
    linear.weight.data[3, 7] = fault
    assert torch.isfinite(Int8Linear(linear)(torch.ones(2, 32))).all(dim=0).tolist() == [
        column != 3 for column in range(16)
    ]


# --- products ---


@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_rounded_weights_and_rounded_rows(bias: bool) -> None:
    torch.manual_seed(0)
    linear, inputs = nn.Linear(96, 48, bias=bias), numbers(70, 96)
    weight = linear.weight.detach().numpy().astype(np.float64)
    steps = np.abs(weight).max(axis=1, keepdims=True) / 127
    expected = rounded_rows(inputs) @ (np.round(weight / steps) * steps).T
    expected += linear.bias.detach().numpy() if bias else 0
    found = Int8Linear(linear)(torch.from_numpy(inputs)).numpy()
    # in float32, what lies a hair from halfway between two steps may be rounded to the other one
    one_step = np.abs(inputs).max() / 127 * np.abs(weight).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * one_step)
    close = np.abs(found - expected) <= 1e-5 * np.abs(inputs).max()
    assert close.mean() > 0.95


def rounded_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row in 127 steps up to its largest magnitude; halves go up."""
    steps = np.abs(rows.astype(np.float64)).max(axis=1, keepdims=True) / 127
    return np.asarray(np.floor(rows / steps + 0.5) * steps)


def test_a_column_of_zeros_is_its_bias() -> None:
    linear = nn.Linear(32, 16)
    linear.weight.data[2] = 0
    found = Int8Linear(linear)(torch.ones(4, 32))
    assert (found[:, 2] == linear.bias[2]).all()


def test_heads_are_exact_and_do_not_depend_on_the_rows_beside() -> None:
    linear, rows = nn.Linear(384, 3), torch.from_numpy(numbers(17, 384))
    head = Head(linear)
    torch.testing.assert_close(head(rows), linear(rows), rtol=1e-5, atol=1e-3)
    assert torch.equal(torch.cat([head(row[None]) for row in rows]), head(rows))


# --- what stands between products ---


def test_erf_and_powers_of_2() -> None:
    for value in (-9.0, -4.0, -2.5, -0.7, -1e-4, 0.0, 1e-20, 0.3, 1.1, 3.9, 4.1, 80.0):
        assert int8_rows.erf(np.float32(value)) == pytest.approx(math.erf(value), abs=4e-7)
    for value in (0.0, -1e-6, -0.4, -1.0, -20.3, -86.9):
        assert int8_attention.exp2(np.float32(value)) == pytest.approx(2 ** max(value, -32), rel=4e-6)


def multiplied(rows: int, columns: int) -> tuple[Any, Any, Any, torch.Tensor]:
    """Products, scales and bias, and the float64 numbers that they stand for."""
    products, scales = numbers(rows, columns), np.abs(numbers(rows, 1))[:, 0]
    bias = numbers(1, columns)[0]
    return products, scales, bias, torch.from_numpy(products.astype(np.float64) * scales[:, None] + bias)


def within_a_step(found: Rows, expected: torch.Tensor) -> None:
    """Half a step for rounding, and what float32 adds."""
    difference = np.abs(read(found.values, found.scales) - expected.numpy())
    assert (difference <= expected.abs().amax(dim=1, keepdim=True).numpy() / 127 * 0.502).all()


def test_gelu_is_the_exact_one() -> None:
    products, scales, bias, meant = multiplied(40, 51)
    found = Rows.empty(40, 51)
    int8_rows.gelu_quantize(products, scales, bias, *found.arrays)
    within_a_step(found, nn.functional.gelu(meant))


def test_residuals_are_added_before_the_norm() -> None:
    products, scales, bias, meant = multiplied(40, 48)
    norm, hidden = nn.LayerNorm(48, eps=1e-7).double(), numbers(40, 48)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    with torch.inference_mode():
        expected = norm(meant + hidden)
        weight, shift = norm.weight.float().numpy(), norm.bias.float().numpy()
    found = Rows.empty(40, 48)
    int8_rows.add_norm_quantize(products, scales, bias, hidden, weight, shift, norm.eps, *found.arrays)
    np.testing.assert_allclose(hidden, expected.numpy(), atol=1e-4)
    within_a_step(found, expected)


@numba.njit  # type: ignore[untyped-decorator]
def tile(left: Any, row: int, right: Any, block: int, pairs: int, start: Any, out: Any) -> None:
    """Compiled code alone can call it."""
    int8_tiles.multiply(left, row, right, block, pairs, start, out)


@pytest.mark.parametrize("pairs", [0, 1, 16])
def test_a_tile_is_the_exact_sum_of_its_products(pairs: int) -> None:
    """Of more rows, pairs and blocks than are asked for."""
    columns, rows = int8_tiles.COLUMNS, int8_tiles.ROWS
    left = RANDOM.integers(-8000, 8000, (rows + 5, 2 * pairs + 6)).astype(np.int16)
    right = RANDOM.integers(-8000, 8000, (2 * columns, 2 * pairs + 2)).astype(np.int16)
    laid = np.ascontiguousarray(right.view(np.int32).reshape(2, columns, pairs + 1).swapaxes(1, 2))
    start = RANDOM.integers(-9, 9, 2 * columns).astype(np.int32)
    out = np.full((rows, 2 * columns), 7, np.int32)
    tile(left, 3, laid, 1, pairs, start, out)
    expected = left[3 : 3 + rows, : 2 * pairs].astype(np.int64) @ right[columns:, : 2 * pairs].T.astype(
        np.int64
    )
    np.testing.assert_array_equal(out[:, columns:], start[columns:] + expected)
    assert (out[:, :columns] == 7).all()


def joint_of(tokens: int, hidden: int) -> tuple[Any, Any, Any, torch.Tensor]:
    """As `multiplied`, of numbers that softmax does not take to extremes: trained models have such."""
    products, scales = RANDOM.normal(size=(tokens, hidden)), RANDOM.uniform(0.5, 1, tokens).astype(np.float32)
    products, bias = products.astype(np.float32), RANDOM.normal(size=hidden).astype(np.float32)
    return products, scales, bias, torch.from_numpy(products.astype(np.float64) * scales[:, None] + bias)


def close_to_attention(found: Rows, expected: torch.Tensor, meant: torch.Tensor) -> None:
    """Half a step of the row, and what queries, keys, weights and values lose as int16."""
    difference = np.abs(read(found.values, found.scales) - expected.numpy())
    step = expected.abs().amax(dim=1, keepdim=True).numpy() / 127
    assert (difference <= step * 0.502 + 1e-3 * meant.abs().max().item()).all()


LENGTHS = ([1], [16, 15, 17], [127, 128, 129], [300, 2, 64])
HEADS = ((48, 4), (64, 2), (128, 1))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(("hidden", "heads"), HEADS)
def test_attention_is_softmax_of_scaled_products(lengths: list[int], hidden: int, heads: int) -> None:
    tokens = sum(lengths)
    products, scales, bias, meant = joint_of(tokens + 5, 3 * hidden)
    starts = np.cumsum(lengths) - lengths
    found = Rows.empty(tokens + 5, hidden)
    joint = products, scales, bias
    int8_attention.attend(joint, joint, False, starts, np.array(lengths), heads, *found.arrays)
    expected = torch.cat([seen(one, heads) for one in meant[:tokens].split(lengths)])
    close_to_attention(Rows(found.values[:tokens], found.scales[:tokens]), expected, meant)
    assert not read(found.values, found.scales)[tokens:].any()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(("hidden", "heads"), HEADS)
def test_attention_of_first_tokens_is_that_of_all_tokens(lengths: list[int], hidden: int, heads: int) -> None:
    products, scales, bias, meant = joint_of(sum(lengths), 3 * hidden)
    starts = np.cumsum(lengths) - lengths
    found = Rows.empty(len(lengths) + 2, hidden)
    asked = products[starts, :hidden].copy(), scales[starts], bias[:hidden]
    joint = products[:, hidden:].copy(), scales, bias[hidden:]
    int8_attention.attend(asked, joint, True, starts, np.array(lengths), heads, *found.arrays)
    expected = torch.stack([seen(one, heads)[0] for one in meant.split(lengths)])
    close_to_attention(Rows(found.values[: len(lengths)], found.scales[: len(lengths)]), expected, meant)


@pytest.mark.parametrize("fault", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("column", [3, 50, 100])  # of a query, a key, a value
def test_what_is_not_finite_stays_visible_in_its_sequence_alone(fault: float, column: int) -> None:
    """Nor what makes infinite products of queries and keys; values may be large."""
    products, scales, bias, _ = joint_of(60, 144)
    products[25, column] = fault
    if fault == 1e30 and column < 96:
        products[25, column ^ 48] = fault
    starts, lengths = np.array([0, 20, 40]), np.array([20, 20, 20])
    found = Rows.empty(60, 48)
    joint = products, scales, bias
    int8_attention.attend(joint, joint, False, starts, lengths, 4, *found.arrays)
    bad = ~torch.isfinite(found.scales).numpy()
    assert not bad[:20].any()
    assert not bad[40:].any()
    assert bad[20:40].all() == (column < 96 or fault != 1e30)


def test_attention_to_one_token_is_its_value_however_small() -> None:
    products, scales, bias, meant = joint_of(3, 96)
    products, bias, meant = products * np.float32(1e-20), bias * np.float32(1e-20), meant * 1e-20
    found, joint = Rows.empty(3, 32), (products, scales, bias)
    int8_attention.attend(joint, joint, False, np.arange(3), np.ones(3, np.int64), 2, *found.arrays)
    close_to_attention(found, meant[:, 64:], meant)


def seen(joint: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention by its definition: [tokens, 3 * hidden] to [tokens, hidden]."""
    query, key, value = joint.view(len(joint), 3, heads, -1).permute(1, 2, 0, 3)
    weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1)
    return (weights @ value).transpose(0, 1).flatten(1)


# --- whole models ---


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    model = BertForSequenceClassification(BertConfig(vocab_size=99, num_labels=1, **sizes | options)).eval()
    for parameter in model.parameters():  # transformers' own are so small that nothing makes a difference
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.15)
    return model


def in_int8(model: Any, first_only: bool = True) -> Any:
    model = flatten(model, first_only, Int8Encoder)
    to_int8(model)
    return model


def inputs_of(lengths: list[int]) -> dict[str, torch.Tensor]:
    ids = torch.randint(2, 99, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@torch.inference_mode()
def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    found: torch.Tensor = model(**inputs).logits[:, 0]
    return found


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_scores_are_close_to_those_of_float32(activation: str) -> None:
    inputs = inputs_of([int(length) for length in RANDOM.integers(1, 40, 60)])
    model = build(hidden_act=activation)
    expected = logits(model, inputs)
    found = logits(in_int8(model), inputs)
    assert expected.std() > 0.1
    assert 0 < (found - expected).abs().max() < 0.15 * expected.std()
    assert np.corrcoef(found, expected)[0, 1] > 0.998


def test_every_token_is_close_to_float32_where_all_are_read() -> None:
    inputs, model = inputs_of([20, 3, 11]), build().bert
    with torch.inference_mode():
        expected = model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
        found = in_int8(model, first_only=False)(**inputs).last_hidden_state
    assert np.corrcoef(found[inputs["attention_mask"].bool()].flatten(), expected.flatten())[0, 1] > 0.998


@pytest.mark.parametrize("threads", [1, 2])
def test_a_score_is_the_same_to_the_last_bit_in_every_batch_and_on_any_threads(threads: int) -> None:
    lengths = [40, 33, 32, 17, 16, 9, 2, 1]
    inputs, model, before = inputs_of(lengths), in_int8(build()), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = logits(model, inputs)
        for row, length in enumerate(lengths):
            alone = {name: value[row : row + 1, :length] for name, value in inputs.items()}
            beside = {name: torch.cat([value, value[row : row + 1]]) for name, value in inputs.items()}
            assert logits(model, alone)[0] == logits(model, beside)[-1] == together[row]
    finally:
        torch.set_num_threads(before)


# --- where it is refused ---


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [({"avx512_vnni"}, True), ({"avx_vnni"}, True), ({"amx_int8"}, True), ({"avx512f", "avx2"}, False)],
    ids=["avx512", "avx", "amx", "none"],
)
def test_a_cpu_without_int8_instructions_is_refused(
    flags: set[str], allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: flags)
    found = hardware.problems("cpu", "int8")
    assert (found == []) == allowed
    assert allowed or "this CPU has no int8 instructions" in found[0]


def test_a_gpu_is_refused_and_the_cure_is_device_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_cuda", lambda: True)
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 1)
    for device in ("auto", "cuda", "cuda:0"):
        (line,) = hardware.problems(device, "int8")
        assert line.startswith("precision=int8: models are computed in int8 on CPUs only")
    assert hardware.problems("cpu", "int8") == []


def test_without_numba_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "find_spec", lambda name: None)
    (line,) = hardware.problems("cpu", "int8")
    assert line.endswith("pip install 'rerankbench[int8]'")
