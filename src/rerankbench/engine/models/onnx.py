"""Turn an int8 ONNX BERT into a float32 Hugging Face folder, without the onnx package.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). The weights
are what onnxruntime's `quantize_dynamic` leaves: `<name>_quantized`, `<name>_scale` and
`<name>_zero_point`, so that a weight is `(quantized - zero_point) * scale`. Biases and LayerNorms are
float32 in the graph and pass through unchanged.

Files are those of packaged models, which are pinned by their hashes, as is what comes of them: nothing here
doubts them. What people bring themselves is read by `onnx_graph`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Floats
from rerankbench.engine.models.checkpoint import write_safetensors
from rerankbench.engine.models.protobuf import as_bytes, as_int, as_text, fields, packed_varints

Array = NDArray[Any]
Tensors = dict[str, Array]

# onnx.TensorProto.DataType
DTYPES: dict[int, str] = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}


@dataclass(frozen=True)
class Node:
    """One operation of the graph: its kind and the names of the values that go in and come out."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """The operations in file order, and the constant tensors ("initializers") by name."""

    nodes: list[Node]
    tensors: Tensors

    def following(self, node: Node, op: str) -> Node:
        """The first operation of a kind that takes what a node gives."""
        return next(
            one for one in self.nodes if one.op == op and not set(one.inputs).isdisjoint(node.outputs)
        )


def convert(model: bytes, folder: Path, attention_heads: int) -> None:
    """Write `config.json` and a float32 `model.safetensors` for the ONNX BERT in `model` into `folder`.

    The same input gives the same bytes on every machine: the tensors are sorted by name, the header is
    fixed, and each weight is one exact subtraction and one rounded multiplication. The number of attention
    heads is not readable from the weights' shapes and has to be given.
    """
    weights = bert_weights(read_graph(model))
    config = bert_config(weights, attention_heads)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", weights)


def read_graph(model: bytes) -> Graph:
    """The graph of an ONNX file. Tensors are views of `model`."""
    (graph,) = (as_bytes(value) for number, value in fields(memoryview(model)) if number == 7)
    parts = [(number, as_bytes(value)) for number, value in fields(graph) if number in (1, 5)]
    return Graph(
        [read_node(part) for number, part in parts if number == 1],
        dict(read_tensor(part) for number, part in parts if number == 5),
    )


def read_node(message: memoryview) -> Node:
    names: dict[int, list[str]] = {1: [], 2: [], 4: []}  # inputs, outputs, the kind
    for number, value in fields(message):
        if number in names:
            names[number].append(as_text(value))
    return Node("".join(names[4]), tuple(names[1]), tuple(names[2]))


def read_tensor(message: memoryview) -> tuple[str, Array]:
    """(name, array) of a TensorProto.

    Its fields: 1 dims, 2 data_type, 4 float_data, 5 int32_data, 7 int64_data, 8 name, 9 raw_data.
    """
    name, dtype, shape = "", "<f4", list[int]()
    data: Array | memoryview = memoryview(b"")
    for number, value in fields(message):
        if number == 1:
            shape += [value] if isinstance(value, int) else packed_varints(value)
        elif number == 2:
            dtype = DTYPES[as_int(value)]
        elif number in (4, 9):
            data = as_bytes(value)
        elif number in (5, 7):
            data = np.array(packed_varints(as_bytes(value)), np.int64)
        elif number == 8:
            name = as_text(value)
    array = np.frombuffer(data, dtype) if isinstance(data, memoryview) else data.astype(dtype)
    return name, array.reshape(shape)


def bert_weights(graph: Graph) -> Tensors:
    """The float32 weights of a BERT by their Hugging Face names; linear weights are [out, in]."""
    weights = {name: array for name, array in graph.tensors.items() if passes_through(name, array)}
    for quantized in (name for name in graph.tensors if name.endswith("_quantized")):
        name, weight = named_weight(graph, quantized.removesuffix("_quantized"))
        weights[name] = weight
    add_unused_pooler(weights)
    return {name: np.ascontiguousarray(array, dtype="<f4") for name, array in weights.items()}


def passes_through(name: str, array: Array) -> bool:
    return array.dtype == np.float32 and name.endswith((".bias", "LayerNorm.weight"))


def named_weight(graph: Graph, base: str) -> tuple[str, Array]:
    """(Hugging Face name, weight): embedding tables keep their name, linear weights lost it in the export.

    The exporter calls a linear weight "onnx::MatMul_1662" and stores it [in, out]. Its name comes from the
    bias in MatMulInteger -> Cast -> Mul(scales) -> Add(bias).
    """
    weight = dequantized(graph.tensors, base)
    node = next(one for one in graph.nodes if f"{base}_quantized" in one.inputs)
    if node.op != "MatMulInteger":
        return base, weight
    for op in ("Cast", "Mul", "Add"):
        node = graph.following(node, op)
    bias = next(name for name in node.inputs if name in graph.tensors and name.endswith(".bias"))
    return bias.removesuffix("bias") + "weight", weight.T


def dequantized(tensors: Tensors, base: str) -> Floats:
    """(quantized - zero_point) * scale, one scale for all or one per column."""
    quantized, zero, scale = (tensors[base + end] for end in ("_quantized", "_zero_point", "_scale"))
    centred = quantized.astype(np.float32) - zero.astype(np.float32)
    return np.asarray(centred * scale.astype(np.float32), np.float32)


def prefix_of(weights: Tensors) -> str:
    """ "bert." where a head sits on top of the encoder, as Hugging Face names it, else nothing."""
    return "bert." if "classifier.weight" in weights else ""


def add_unused_pooler(weights: Tensors) -> None:
    """Give a headless encoder a pooler of zeros when the export dropped it because nothing uses it.

    Without it transformers would draw a random one and warn about it on every load.
    """
    inner = weights.get("encoder.layer.0.attention.output.dense.weight")
    if inner is not None and "pooler.dense.weight" not in weights:
        weights["pooler.dense.weight"] = np.zeros((len(inner), len(inner)), np.float32)
        weights["pooler.dense.bias"] = np.zeros(len(inner), np.float32)


def layer_count(weights: Tensors) -> int:
    """Number of transformer layers."""
    return len({match[1] for name in weights if (match := re.search(r"encoder\.layer\.(\d+)\.", name))})


def bert_config(weights: Tensors, attention_heads: int) -> dict[str, Any]:
    """config.json of the BERT with these weights; what shapes do not tell is BERT's own default."""
    prefix = prefix_of(weights)
    vocabulary, hidden = weights[f"{prefix}embeddings.word_embeddings.weight"].shape
    config: dict[str, Any] = {
        "architectures": ["BertForSequenceClassification" if prefix else "BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layer_count(weights),
        "num_attention_heads": attention_heads,
        "intermediate_size": len(weights[f"{prefix}encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(weights[f"{prefix}embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(weights[f"{prefix}embeddings.token_type_embeddings.weight"]),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }
    if prefix:
        labels = [f"LABEL_{label}" for label in range(len(weights["classifier.weight"]))]
        config["id2label"] = {str(number): label for number, label in enumerate(labels)}
        config["label2id"] = {label: number for number, label in enumerate(labels)}
    return config
