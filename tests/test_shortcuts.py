"""Shortcuts (packed layers, fused activations, the last layer's first token) change no score."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, XLMRobertaConfig
from transformers import XLMRobertaForSequenceClassification as XLMRoberta

from rerankbench import packing
from rerankbench.first_token import FirstTokenLayer, keep_first_token

SIZES = {"vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 96, "num_labels": 1}
IDS = torch.arange(5, 41).reshape(3, 12)
MASK = torch.tensor([[1] * 12, [1] * 7 + [0] * 5, [1] * 4 + [0] * 8])

MODELS = pytest.mark.parametrize("attention", ["sdpa", "eager"])
BUILDS = pytest.mark.parametrize("build", ["bert", "xlm-roberta"])


def model_of(build: str, attention: str = "sdpa") -> nn.Module:
    torch.manual_seed(0)
    if build == "bert":
        return BertForSequenceClassification(BertConfig(**SIZES, attn_implementation=attention)).eval()
    return XLMRoberta(XLMRobertaConfig(**SIZES, pad_token_id=1, attn_implementation=attention)).eval()


@torch.inference_mode()
def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=MASK).logits[:, 0]


@MODELS
@BUILDS
def test_the_last_layer_for_the_first_token_alone_gives_the_same_logits(build: str, attention: str) -> None:
    model = model_of(build, attention)
    whole = logits(model)
    keep_first_token(model)
    torch.testing.assert_close(logits(model), whole, rtol=0, atol=1e-6)
    assert whole.std() > 1e-3  # random weights tell the three apart


@BUILDS
def test_the_last_feed_forward_sees_one_token_a_sequence(build: str) -> None:
    model = model_of(build)
    keep_first_token(model)
    seen: list[tuple[int, ...]] = []
    for layer in model.base_model.encoder.layer:
        block = layer.layer.intermediate if isinstance(layer, FirstTokenLayer) else layer.intermediate
        block.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    logits(model)
    assert seen == [(3, 12, 48), (3, 12, 48), (3, 1, 48)]


def test_a_model_of_another_build_stays_as_it_is() -> None:
    model = nn.Module()
    model.base_model = nn.Linear(2, 2)
    keep_first_token(model)
    assert isinstance(model.base_model, nn.Linear)


@pytest.mark.skipif(not packing.packable(), reason="this CPU does not gain from packed layers")
@BUILDS
def test_packed_layers_with_their_activation_give_the_same_logits(build: str) -> None:
    model = model_of(build)
    whole = logits(model)
    packed = copy.deepcopy(model)
    packing.pack(packed)
    torch.testing.assert_close(logits(packed), whole, rtol=0, atol=1e-6)
    blocks = [layer.intermediate for layer in packed.base_model.encoder.layer]
    assert all(isinstance(block.intermediate_act_fn, nn.Identity) for block in blocks)
    assert not any(type(m) is nn.Linear for layer in packed.base_model.encoder.layer for m in layer.modules())


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
