"""LoRA adapters are merged into their base, and are part of what scores are stored under."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ready_models import FP32, PAIRS, ready
from rerankbench.basics.errors import UserError
from rerankbench.engine.models.references import resolve
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from tiny_prompted import qwen3_card, tiny_qwen3_reranker
from tiny_rerankers import scores
from tiny_rerankers import settings as tiny_settings

FEW = PAIRS[:10]


def adapter(base: Path, folder: Path, kind: str, task: str) -> tuple[Path, Path]:
    """A random adapter, and a folder of the model it is merged into by peft."""
    import transformers

    model = getattr(transformers, kind).from_pretrained(base)
    names = ["q_proj", "up_proj"] if task == "CAUSAL_LM" else ["query", "dense"]
    return adapted_by(model, base, folder, task, names)


def adapted_by(model: Any, base: Path, folder: Path, task: str, names: list[str]) -> tuple[Path, Path]:
    """A random adapter to a loaded model, as FlagEmbedding's trainer leaves one, and a merged folder."""
    import torch
    from peft import LoraConfig, get_peft_model

    generator = torch.Generator().manual_seed(0)
    adapted: Any = get_peft_model(model, LoraConfig(task_type=task, r=4, target_modules=names))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    adapted.save_pretrained(folder)
    whole = shutil.copytree(base, folder.with_name(f"{folder.name}-merged"))
    adapted.merge_and_unload().save_pretrained(whole)
    return folder, whole


def test_a_causal_model_with_its_adapter_is_the_merged_one(tmp_path: Path, hashes: Path) -> None:
    base = tiny_qwen3_reranker(tmp_path / "base")
    lora, whole = adapter(base, tmp_path / "lora", "AutoModelForCausalLM", "CAUSAL_LM")
    found = scores(ready(Causal(str(base), adapter=str(lora)), hashes), FEW)[:, 0]
    np.testing.assert_allclose(found, qwen3_card(whole, FEW), atol=1e-4)
    assert np.abs(found - qwen3_card(base, FEW)).max() > 0.1


def test_a_cross_encoder_with_its_adapter_is_the_merged_one(
    tmp_path: Path, hashes: Path, models: Path
) -> None:
    base = models / "minilm"
    lora, whole = adapter(base, tmp_path / "lora", "AutoModelForSequenceClassification", "SEQ_CLS")
    found = scores(ready(Encoder(str(base), adapter=str(lora)), hashes), FEW)
    np.testing.assert_allclose(found, scores(ready(Encoder(str(whole)), hashes), FEW), atol=1e-4)
    assert np.abs(found - scores(ready(Encoder(str(base)), hashes), FEW)).max() > 0.1

    weights = resolve(str(base), None, hashes)
    plain, adapted = (Encoder(str(base), adapter=one).identity(weights, "fp32") for one in (None, str(lora)))
    moved = shutil.copytree(lora, tmp_path / "moved")
    assert Encoder(str(base), adapter=str(moved)).identity(weights, "fp32") == adapted != plain
    content = bytearray((moved / "adapter_model.safetensors").read_bytes())
    content[-1] ^= 1
    (moved / "adapter_model.safetensors").write_bytes(content)
    assert Encoder(str(base), adapter=str(moved)).identity(weights, "fp32") != adapted

    other = ready(Encoder(str(models / "base"), adapter=None), hashes).settings
    with pytest.raises(UserError, match="does not fit the model"):
        Encoder(other.model, adapter=str(lora)).load(resolve(other.model, None, hashes), FP32)

    config = json.loads((moved / "adapter_config.json").read_text()) | {"peft_type": "IA3"}
    (moved / "adapter_config.json").write_text(json.dumps(config))
    (line,) = Encoder(str(base), adapter=str(moved)).problems()
    assert "not LORA" in line
    (moved / "adapter_model.safetensors").rename(moved / "adapter_model.bin")
    (line,) = Encoder(str(base), adapter=str(moved)).problems()
    assert "no adapter_model.safetensors there" in line


def test_tensors_that_peft_would_leave_out_are_an_error(tmp_path: Path, hashes: Path, models: Path) -> None:
    from safetensors.numpy import load_file, save_file

    base = models / "minilm"
    lora, _ = adapter(base, tmp_path / "lora", "AutoModelForSequenceClassification", "SEQ_CLS")
    file = lora / "adapter_model.safetensors"
    held = load_file(file)
    strange = {name.replace(".bert.", ".roberta."): value for name, value in held.items()}
    few = {name: value for name, value in held.items() if "layer.1." not in name}
    for tensors, words in ((strange, "the model has no place for it"), (few, "the adapter lacks it")):
        save_file(tensors, file)
        with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(UserError, match=words):
            ready(Encoder(str(base), adapter=str(lora)), hashes)


def test_an_adapters_folder_as_the_model_brings_its_base(tmp_path: Path, hashes: Path, models: Path) -> None:
    base = models / "minilm"
    lora, whole = adapter(base, tmp_path / "lora", "AutoModelForSequenceClassification", "SEQ_CLS")
    alone, both = Encoder(str(lora)), Encoder(str(base), adapter=str(lora))
    np.testing.assert_allclose(
        scores(ready(alone, hashes), FEW), scores(ready(Encoder(str(whole)), hashes), FEW), atol=1e-4
    )
    names = [of.identity(weights, "fp32") for of, weights in (one.resolved(hashes) for one in (alone, both))]
    assert names[0] == names[1]
    assert alone.origin(hashes) == both.origin(hashes) == alone.resolved(hashes)[1]
    assert both.origin(hashes).label == "minilm + lora"

    (line,) = Encoder(str(lora), adapter=str(lora)).problems()
    assert "is an adapter, and so is reranker.adapter; give the base model" in line
    (line,) = Causal(str(lora)).problems()  # the base is of another family
    assert "choose reranker=base" in line
    config = json.loads((lora / "adapter_config.json").read_text())
    for named, words in (("/gone/folder", "of '/gone/folder', which is not here"), (None, "names no base")):
        (lora / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": named}))
        (line,) = Encoder(str(lora)).problems()
        assert words in line
        assert f"reranker.adapter={lora}" in line
    hub = config | {"base_model_name_or_path": "BAAI/one", "revision": "main"}
    (lora / "adapter_config.json").write_text(json.dumps(hub))
    told = Encoder(str(lora)).told_apart()
    assert (told.model, told.revision, told.adapter) == ("BAAI/one", "main", str(lora))


@pytest.mark.parametrize("name", ["gemma", "minicpm-layerwise", "lightweight"])
def test_flagembeddings_decoders_take_adapters(name: str, tmp_path: Path, hashes: Path, models: Path) -> None:
    from FlagEmbedding.inference.reranker.decoder_only.models.gemma_model import CostWiseGemmaForCausalLM
    from FlagEmbedding.inference.reranker.decoder_only.models.modeling_minicpm_reranker import (
        LayerWiseMiniCPMForCausalLM,
    )
    from transformers import GemmaForCausalLM

    kinds = {"minicpm-layerwise": LayerWiseMiniCPMForCausalLM, "lightweight": CostWiseGemmaForCausalLM}
    model = kinds.get(name, GemmaForCausalLM).from_pretrained(models / name)
    names = ["q_proj", "down_proj", *(["linear_head"] if name in kinds else [])]
    lora, whole = adapted_by(model, models / name, tmp_path / "lora", "CAUSAL_LM", names)
    kind = type(tiny_settings(name, models))
    plain, adapted, merged = (
        scores(ready(one, hashes), FEW[:6])
        for one in (
            kind(str(models / name), max_length=64),
            kind(str(models / name), max_length=64, adapter=str(lora)),
            kind(str(whole), max_length=64),
        )
    )
    np.testing.assert_allclose(adapted, merged, atol=1e-4)
    assert np.abs(adapted - plain).max() > 0.1
