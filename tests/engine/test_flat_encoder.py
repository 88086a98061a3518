"""The encoder without padding gives what transformers' own gives, and what it leaves out is left out."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from rerankbench.engine.operators import layout, packing
from rerankbench.engine.operators.flat_encoder import FlatEncoder, flatten
from rerankbench.engine.operators.layout import layout_of
from tiny_encoders import BODIES, BUILDS, CLASSIFIERS, LENGTHS, build_model, inputs_of, logits


@BUILDS
@LENGTHS
def test_logits_are_those_of_transformers(build: str, lengths: list[int]) -> None:
    model, inputs = build_model(CLASSIFIERS, build), inputs_of(lengths, build)
    expected = logits(model, inputs)
    flat = flatten(model, first_only=True)
    assert isinstance(flat.base_model, FlatEncoder)
    torch.testing.assert_close(logits(flat, inputs), expected, rtol=0, atol=1e-6)


@BUILDS
@LENGTHS
@torch.inference_mode()
def test_hidden_states_of_every_real_token_are_those_of_transformers(build: str, lengths: list[int]) -> None:
    model, inputs = build_model(BODIES, build), inputs_of(lengths, build)
    expected = model(**inputs).last_hidden_state
    found = flatten(model, first_only=False)(**inputs).last_hidden_state
    assert found.shape == expected.shape
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@BUILDS
def test_inputs_make_a_difference(build: str) -> None:
    """Random weights tell sequences, their order and their token types apart, so the tests above can fail."""
    model = flatten(build_model(CLASSIFIERS, build), first_only=True)
    inputs = inputs_of([12, 12], build)
    whole = logits(model, inputs)
    assert abs(whole[0] - whole[1]) > 1e-3
    for name in set(inputs) - {"attention_mask"}:
        other = inputs | {name: inputs[name].flip(1)}
        assert (logits(model, other) - whole).abs().min() > 1e-4


@BUILDS
def test_products_see_real_tokens_alone_and_the_last_layer_one_of_each_sequence(build: str) -> None:
    model = flatten(build_model(CLASSIFIERS, build), first_only=True)
    seen: list[int] = []
    for module in model.base_model.modules():
        if isinstance(module, nn.Linear | packing.PackedLinear) and module.in_features == 96:
            module.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
            module.added_to = counting(module, seen)  # type: ignore[union-attr]
    logits(model, inputs_of([12, 7, 1], build))
    assert seen == [64, 64, 16]  # 20 tokens and 3 sequences, in multiples


def counting(module: Any, seen: list[int]) -> Any:
    """`added_to` of a packed layer, which hooks do not see, noting its rows."""
    original = getattr(module, "added_to", None)

    def added_to(residual: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        seen.append(len(inputs))
        return original(residual, inputs)  # type: ignore[misc]

    return added_to


def test_rows_are_widened_for_attention_alone() -> None:
    rows = layout_of(torch.tensor([[1] * 18, [1] * 3 + [0] * 15]))
    assert rows.mask.shape == (2, 32)
    assert rows.lengths.tolist() == [18, 3]
    assert rows.starts.tolist() == [0, 18]
    flat = torch.arange(21.0)[:, None]
    flat = torch.nn.functional.pad(flat, (0, 0, 0, 43))
    torch.testing.assert_close(rows.gather(rows.spread(flat))[:21], flat[:21])
    assert layout_of(torch.ones(2, 16)).bias is None


@BUILDS
def test_few_numbers_of_rows_are_ever_multiplied(build: str) -> None:
    """oneDNN compiles every number of rows anew, for 8 ms and 2 MB each."""
    model = flatten(build_model(CLASSIFIERS, build), first_only=True)
    seen: set[int] = set()
    for module in model.base_model.modules():
        if isinstance(module, nn.Linear | packing.PackedLinear):
            module.register_forward_hook(lambda _, inputs, __: seen.add(len(inputs[0])))
    for longest in range(1, 60):
        logits(model, inputs_of([longest, longest // 2 + 1], build))
    assert seen <= {16, 64, 128, 2}  # the pooler sees the sequences themselves


@pytest.mark.parametrize(
    "options",
    [{"attn_implementation": "eager"}, {"is_decoder": True}, {"chunk_size_feed_forward": 4}],
    ids=str,
)
def test_what_it_does_not_know_stays_as_it_is(options: dict[str, Any]) -> None:
    model = build_model(CLASSIFIERS, "bert", **options)
    body = model.bert
    assert flatten(model, first_only=True) is model
    assert model.bert is body


def test_layers_of_a_model_folders_own_code_stay_as_they_are() -> None:
    model = build_model(CLASSIFIERS, "bert")
    own = type("BertLayer", (type(model.bert.encoder.layer[0]),), {"__module__": "modeling_own"})
    model.bert.encoder.layer[0].__class__ = own
    assert not isinstance(flatten(model, first_only=True).bert, FlatEncoder)


@pytest.mark.skipif(not packing.packable(), reason="this CPU does not gain from packed layers")
@BUILDS
@torch.inference_mode()
def test_packed_layers_give_the_same_hidden_states(build: str) -> None:
    model, inputs = build_model(BODIES, build, attn_implementation="eager"), inputs_of([12, 7], build)
    expected = model(**inputs).last_hidden_state
    packing.pack(packed := copy.deepcopy(model))
    torch.testing.assert_close(packed(**inputs).last_hidden_state, expected, rtol=0, atol=1e-5)
    assert not any(type(m) is nn.Linear for layer in packed.encoder.layer for m in layer.modules())


@pytest.mark.skipif(not packing.packable(), reason="this CPU does not gain from packed layers")
def test_the_fused_gelu_is_the_exact_one() -> None:
    inputs = torch.linspace(-6, 6, 512).reshape(32, 16)
    linear = nn.Linear(16, 16)
    with torch.inference_mode():
        linear.weight.copy_(torch.eye(16))
        linear.bias.zero_()
        fused = packing.PackedLinear(linear, "gelu")(inputs)
    torch.testing.assert_close(fused, nn.functional.gelu(inputs), rtol=0, atol=1e-6)
    approximate = nn.functional.gelu(inputs, approximate="tanh")
    assert (fused - approximate).abs().max() > 1e-4


def by_sequence(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_ends: torch.Tensor,
    ends: torch.Tensor,
    queries: int,
    longest: int,
) -> torch.Tensor:
    """Attention over each sequence by itself; rows that belong to none are left as no number."""
    context = torch.full_like(query, torch.nan)
    for (start, end), (first, last) in zip(pairwise(query_ends), pairwise(ends), strict=True):
        assert end - start <= queries
        assert last - first <= longest
        weights = torch.einsum("qhd,khd->hqk", query[start:end], key[first:last]) * query.shape[2] ** -0.5
        context[start:end] = torch.einsum("hqk,khd->qhd", weights.softmax(dim=-1), value[first:last])
    return context.flatten(1)


@BUILDS
@LENGTHS
@pytest.mark.parametrize("first_only", [True, False])
def test_ragged_attention_sees_each_sequence(
    build: str, lengths: list[int], first_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on GPUs, whose kernel a plain one stands in for; test_cuda.py runs the real one."""
    monkeypatch.setattr(layout, "takes_ragged", lambda device, dtype: True)
    monkeypatch.setattr(layout, "ragged_attention", by_sequence)
    model, inputs = build_model(CLASSIFIERS, build, num_attention_heads=3), inputs_of(lengths, build)
    expected = logits(model, inputs)
    found = logits(flatten(model, first_only), inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@BUILDS
@torch.inference_mode()
def test_padding_is_finite_behind_ragged_attention(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean pooling multiplies it with 0."""
    monkeypatch.setattr(layout, "takes_ragged", lambda device, dtype: True)
    monkeypatch.setattr(layout, "ragged_attention", by_sequence)
    model = flatten(build_model(BODIES, build, num_attention_heads=3), first_only=False)
    assert model(**inputs_of([33, 12, 1], build)).last_hidden_state.isfinite().all()


def test_rows_without_padding_are_left_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "takes_ragged", lambda device, dtype: True)
    ragged = torch.tensor([[1] * 16, [1] * 3 + [0] * 13])
    assert isinstance(layout_of(ragged, head=64), layout.Ragged)
    assert isinstance(layout_of(torch.ones(2, 16), head=64), layout.Padded)
    for head in (0, 12, 264):  # FlashAttention takes multiples of 8 up to 256
        assert isinstance(layout_of(ragged, head=head), layout.Padded)
