"""Encoders of random weights, rows of random tokens for them, and what they give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers import XLMRobertaForSequenceClassification as XLMRoberta

SIZES = {"vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 96, "num_labels": 1}
CLASSIFIERS = {"bert": BertForSequenceClassification, "xlm-roberta": XLMRoberta}
BODIES = {"bert": BertModel, "xlm-roberta": XLMRobertaModel}
BUILDS = pytest.mark.parametrize("build", CLASSIFIERS)
LENGTHS = pytest.mark.parametrize(
    "lengths", [[12, 7, 1], [16, 16], [1], [33, 32, 31, 16], [20] * 5], ids=lambda lengths: str(lengths)
)


def build_model(classes: dict[str, Any], build: str, **options: Any) -> Any:
    torch.manual_seed(0)
    if build == "bert":
        return classes[build](BertConfig(**SIZES | options)).eval()
    return classes[build](XLMRobertaConfig(**SIZES | options, pad_token_id=1)).eval()


def inputs_of(lengths: list[int], build: str) -> dict[str, torch.Tensor]:
    """Rows of random tokens, right-padded; RoBERTa's padding token stands among the real ones, too."""
    ids = torch.randint(2, 99, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids[:, 3::5] = 1
    ids = ids * mask + (1 - mask)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if build == "bert":
        inputs["token_type_ids"] = (torch.arange(max(lengths)) > 4).long().expand_as(ids) * mask
    return inputs


@torch.inference_mode()
def logits(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**inputs).logits[:, 0]
