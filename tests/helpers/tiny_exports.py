"""Tiny models as ONNX files, exported as optimum does, and what onnxruntime itself makes of pairs."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[str, str]
NOT_COPIED = shutil.ignore_patterns("*.safetensors")


def exported(source: Path, folder: Path, name: str = "model.onnx") -> Path:
    """A folder's classifier as fp32 ONNX beside a copy of its tokenizer and configs."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    shutil.copytree(source, folder, ignore=NOT_COPIED, dirs_exist_ok=True)
    model = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()
    made = AutoTokenizer.from_pretrained(source)("a b", "c d", return_tensors="pt")
    order = ("input_ids", "attention_mask", "token_type_ids")  # as forward takes them: names go by it
    inputs = {name: made[name] for name in order if name in made}
    model.config.return_dict = False
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    axes = {key: {0: "batch", 1: "length"} for key in inputs} | {"logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (inputs,),
            str(file),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    return folder


def quantized(file: Path, target: Path) -> Path:
    """The same with int8 weights, and activations that are quantized while it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target.parent.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(file, target, weight_type=QuantType.QInt8)
    return target


def by_onnxruntime(
    file: Path, pairs: Sequence[Pair], max_length: int = 512, batch: int = 1
) -> NDArray[np.float32]:
    """Logits [pairs, labels], `batch` pairs in a run, padded to the longest of them."""
    import onnxruntime
    from transformers import AutoTokenizer

    folder = file.parent if file.parent.name != "onnx" else file.parent.parent
    tokenizer, session = AutoTokenizer.from_pretrained(folder), onnxruntime.InferenceSession(file)
    wanted = [one.name for one in session.get_inputs()]
    found = []
    for start in range(0, len(pairs), batch):
        queries, documents = map(list, zip(*pairs[start : start + batch], strict=True))
        cut = {"truncation": "only_second", "max_length": max_length, "padding": True}
        inputs: Any = tokenizer(queries, documents, return_tensors="np", **cut)
        found.append(session.run(["logits"], {name: inputs[name] for name in wanted})[0])
    return np.concatenate(found)
