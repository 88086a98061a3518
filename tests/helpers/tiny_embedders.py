"""Tiny random bge-m3 and ColBERT folders, as FlagEmbedding, Stanford's ColBERT and PyLate lay them out."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from tiny_models import tiny_bert_embedder, tiny_m3

DIMENSIONS = 24  # of ColBERT's token vectors


def _linear(inputs: int, outputs: int, bias: bool, seed: int) -> Any:
    import torch

    drawn = torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=drawn))
    return layer


def tiny_bge_m3(path: Path, half: bool = False) -> Path:
    """An XLM-R with bge-m3's two heads in files of their own; half: in fp16, as the published ones are."""
    import torch

    tiny_m3(path)
    for name, outputs in (("colbert_linear", 64), ("sparse_linear", 1)):
        layer = _linear(64, outputs, True, outputs)
        if outputs == 1:  # most tokens have a weight, which relu leaves as it is
            layer.bias.data += 4
        torch.save((layer.half() if half else layer).state_dict(), path / f"{name}.pt")
    return path


def tiny_stanford(path: Path, **metadata: Any) -> Path:
    """A BERT with `linear.weight` among its weights, and [unused0] and [unused1] in its vocabulary."""
    from safetensors.torch import load_file, save_file

    tiny_bert_embedder(path)
    with_markers(path, ["[unused0]", "[unused1]"])
    held = {f"bert.{name}": value for name, value in load_file(path / "model.safetensors").items()}
    held["linear.weight"] = _linear(64, DIMENSIONS, False, 1).weight.detach()
    save_file(held, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"architectures": ["HF_ColBERT"]}))
    said = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 32, "doc_maxlen": 60}
    said |= {"attend_to_mask_tokens": False, "mask_punctuation": True, **metadata}
    (path / "artifact.metadata").write_text(json.dumps(said))
    return path


def tiny_pylate(path: Path, **said: Any) -> Path:
    """A BERT and a Dense module, as PyLate saves them, with markers of its own."""
    from safetensors.torch import save_file

    tiny_bert_embedder(path)
    with_markers(path, ["[Q] ", "[D] "])
    dense = path / "1_Dense"
    dense.mkdir()
    kind = {"activation_function": "torch.nn.modules.linear.Identity", "bias": False}
    kind |= {"in_features": 64, "out_features": DIMENSIONS}
    (dense / "config.json").write_text(json.dumps(kind))
    save_file(
        {"linear.weight": _linear(64, DIMENSIONS, False, 2).weight.detach()}, dense / "model.safetensors"
    )
    modules = [
        ("0", "", "sentence_transformers.models.Transformer"),
        ("1", "1_Dense", "pylate.models.Dense.Dense"),
    ]
    listed = [{"idx": int(n), "name": n, "path": place, "type": kind} for n, place, kind in modules]
    (path / "modules.json").write_text(json.dumps(listed))
    (path / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 47, "do_lower_case": False})
    )
    general = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 24, "document_length": 48}
    general |= {"attend_to_expansion_tokens": False, "do_query_expansion": True}
    general |= {"skiplist_words": list(string.punctuation), "similarity_fn_name": "MaxSim"}
    general |= {"prompts": {"query": "", "document": ""}, "default_prompt_name": None}
    general |= {"model_type": "ColBERT", **said}
    (path / "config_sentence_transformers.json").write_text(json.dumps(general))
    return path


def with_markers(path: Path, markers: list[str]) -> None:
    """Add tokens to a folder's tokenizer, and rows for them to its model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
    before = len(tokenizer)
    tokenizer.add_tokens(markers)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        own = torch.Generator().manual_seed(7)
        rows = model.get_input_embeddings().weight
        rows[before:] = 0.2 * torch.randn(rows[before:].shape, generator=own)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
