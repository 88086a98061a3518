"""LoRA adapters are merged into their base, and are part of what scores are stored under."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_causal import FP32, PAIRS, ready

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.references import resolve
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from tiny_prompted import qwen3_card, tiny_qwen3_reranker
from tiny_rerankers import scores

FEW = PAIRS[:10]


def adapter(base: Path, folder: Path, kind: str, task: str) -> tuple[Path, Path]:
    """A random adapter, and a folder of the model it is merged into by peft."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    model = getattr(transformers, kind).from_pretrained(base)
    names = ["q_proj", "up_proj"] if task == "CAUSAL_LM" else ["query", "dense"]
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

    (line,) = Encoder(str(lora)).problems()
    assert "give that one as reranker.model and this folder as reranker.adapter" in line
    config = json.loads((moved / "adapter_config.json").read_text()) | {"peft_type": "IA3"}
    (moved / "adapter_config.json").write_text(json.dumps(config))
    (line,) = Encoder(str(base), adapter=str(moved)).problems()
    assert "not LORA" in line
    (moved / "adapter_model.safetensors").rename(moved / "adapter_model.bin")
    (line,) = Encoder(str(base), adapter=str(moved)).problems()
    assert "no adapter_model.safetensors there" in line
