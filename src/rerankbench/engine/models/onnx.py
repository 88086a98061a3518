"""Read an int8 ONNX BERT without the onnx package, and turn it into a float32 Hugging Face folder.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). The weights
are what onnxruntime's `quantize_dynamic` leaves: `<name>_quantized`, `<name>_scale` and
`<name>_zero_point`, so that a weight is `(quantized - zero_point) * scale`. Biases and LayerNorms are
float32 in the graph and pass through unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.models.checkpoint import write_safetensors
from rerankbench.engine.models.protobuf import as_bytes, as_int, as_text, fields, packed_varints

Array = NDArray[Any]
Tensors = dict[str, Array]

# onnx.TensorProto.DataType
DTYPES: dict[int, str] = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}
MAX_DIMENSIONS = 8


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


def convert(model: bytes, folder: Path, attention_heads: int) -> None:
    """Write `config.json` and a float32 `model.safetensors` for the ONNX BERT in `model` into `folder`.

    The same input gives the same bytes on every machine: the tensors are sorted by name, the header is
    fixed, and each weight is one exact subtraction and one rounded multiplication. The number of attention
    heads is not readable from the weights' shapes and has to be given. Raises ValueError when the file is
    cut off, corrupt or not a quantized BERT.
    """
    weights = bert_weights(read_graph(model))
    config = bert_config(weights, attention_heads)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", weights)


def read_graph(model: bytes) -> Graph:
    """The graph of an ONNX file. Tensors are views of `model`, never larger than it.

    Raises ValueError when the bytes are cut off, corrupt, or use what is not read here (external data,
    other types).
    """
    graphs = [as_bytes(value) for number, value in fields(memoryview(model)) if number == 7]
    if len(graphs) != 1:
        raise ValueError(f"not an ONNX model: {len(graphs)} graphs")
    nodes: list[Node] = []
    tensors: Tensors = {}
    for number, value in fields(graphs[0]):
        if number == 1:
            nodes.append(read_node(as_bytes(value)))
        elif number == 5:
            name, array = read_tensor(as_bytes(value))
            if name in tensors:
                raise ValueError(f"corrupt ONNX: tensor {name!r} twice")
            tensors[name] = array
    return Graph(nodes, tensors)


def read_node(message: memoryview) -> Node:
    inputs, outputs, op = [], [], ""
    for number, value in fields(message):
        if number == 1:
            inputs.append(as_text(value))
        elif number == 2:
            outputs.append(as_text(value))
        elif number == 4:
            op = as_text(value)
    return Node(op, tuple(inputs), tuple(outputs))


def read_tensor(message: memoryview) -> tuple[str, Array]:
    """(name, array) of a TensorProto.

    Its fields: 1 dims, 2 data_type, 4 float_data, 5 int32_data, 7 int64_data, 8 name, 9 raw_data,
    14 data_location.
    """
    name, dtype, shape = "", np.dtype("<f4"), list[int]()
    data: memoryview | list[int] = memoryview(b"")
    for number, value in fields(message):
        if number == 1:
            shape += [value] if isinstance(value, int) else packed_varints(value)
        elif number == 2:
            dtype = dtype_of(as_int(value))
        elif number in (4, 9):
            data = as_bytes(value)
        elif number in (5, 7):
            data = packed_varints(as_bytes(value))
        elif number == 8:
            name = as_text(value)
        elif number == 14 and value != 0:
            raise ValueError("unsupported ONNX: a tensor kept in another file")
    return name, array_of(name, dtype, shape, data)


def dtype_of(code: int) -> np.dtype[Any]:
    if code not in DTYPES:
        raise ValueError(f"unsupported ONNX: tensor data type {code}")
    return np.dtype(DTYPES[code])


def array_of(name: str, dtype: np.dtype[Any], shape: list[int], data: memoryview | list[int]) -> Array:
    """The tensor's raw bytes or numbers, in its shape, which is believed only when they fill it exactly."""
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size < 2**31 for size in shape):
        raise ValueError(f"corrupt ONNX: tensor {name!r} has shape {shape[:MAX_DIMENSIONS]}")
    size = len(data) * (1 if isinstance(data, memoryview) else dtype.itemsize)
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"corrupt ONNX: tensor {name!r} of shape {shape} and type {dtype} has {size} bytes")
    if isinstance(data, memoryview):
        return np.frombuffer(data, dtype).reshape(shape)
    return np.array(data, np.int64).astype(dtype).reshape(shape)


def bert_weights(graph: Graph) -> Tensors:
    """The float32 weights of the BERT in `graph` by their Hugging Face names; linear weights are [out, in].

    Raises ValueError when a weight is missing, or is there and does not belong to a BERT.
    """
    weights = {name: array for name, array in graph.tensors.items() if passes_through(name, array)}
    users = users_by_value(graph.nodes)
    for quantized in (name for name in graph.tensors if name.endswith("_quantized")):
        name, weight = named_weight(graph, users, quantized.removesuffix("_quantized"))
        if name in weights:
            raise ValueError(f"not a quantized BERT: two weights for {name!r}")
        weights[name] = weight
    add_unused_pooler(weights)
    check_bert(weights)
    return {name: np.ascontiguousarray(array, dtype="<f4") for name, array in weights.items()}


def passes_through(name: str, array: Array) -> bool:
    return array.dtype == np.float32 and name.endswith((".bias", "LayerNorm.weight"))


def users_by_value(nodes: list[Node]) -> dict[str, list[Node]]:
    """For each value's name, the nodes that take it as an input."""
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return users


def named_weight(graph: Graph, users: dict[str, list[Node]], base: str) -> tuple[str, Array]:
    """(Hugging Face name, weight): embedding tables keep their name, linear weights lost it in the export.

    The exporter calls a linear weight "onnx::MatMul_1662" and stores it [in, out]. Its name comes from the
    bias that the graph adds to its product.
    """
    weight = dequantized(graph.tensors, base)
    readers = users.get(base + "_quantized", [])
    if not readers:
        raise ValueError(f"not a quantized BERT: nothing uses {base!r}")
    if readers[0].op != "MatMulInteger":
        return base, weight
    return bias_after(graph, users, readers[0]).removesuffix("bias") + "weight", weight.T


def dequantized(tensors: Tensors, base: str) -> NDArray[np.float32]:
    """(quantized - zero_point) * scale, one scale for all or one per column."""
    try:
        quantized, zero, scale = (tensors[base + end] for end in ("_quantized", "_zero_point", "_scale"))
    except KeyError as missing:
        raise ValueError(f"not a quantized BERT: {missing} is missing") from None
    per_column = quantized.shape[-1:]
    if not {zero.shape, scale.shape} <= {(), (1,), per_column}:
        raise ValueError(f"not a quantized BERT: {base!r} has a scale of shape {scale.shape}")
    centred = quantized.astype(np.float32) - zero.astype(np.float32)
    return np.asarray(centred * scale.astype(np.float32), np.float32)


def bias_after(graph: Graph, users: dict[str, list[Node]], product: Node) -> str:
    """The bias in MatMulInteger -> Cast -> Mul(scales) -> Add(bias)."""
    node = product
    for op in ("Cast", "Mul", "Add"):
        following = [user for output in node.outputs for user in users.get(output, []) if user.op == op]
        if not following:
            raise ValueError(f"not a quantized BERT: no {op} after {node.op}")
        node = following[0]
    for name in node.inputs:
        if name in graph.tensors and name.endswith(".bias"):
            return name
    raise ValueError("not a quantized BERT: a product without a bias")


def prefix_of(weights: Tensors) -> str:
    """ "bert." where a head sits on top of the encoder, as Hugging Face names it, else nothing."""
    return "bert." if "classifier.weight" in weights else ""


def add_unused_pooler(weights: Tensors) -> None:
    """Give a headless encoder a pooler of zeros when the export dropped it because nothing uses it.

    Without it transformers would draw a random one and warn about it on every load.
    """
    inner = weights.get("encoder.layer.0.attention.output.dense.weight")
    if inner is not None and inner.ndim == 2 and "pooler.dense.weight" not in weights:
        weights["pooler.dense.weight"] = np.zeros((len(inner), len(inner)), np.float32)
        weights["pooler.dense.bias"] = np.zeros(len(inner), np.float32)


def layer_count(weights: Tensors) -> int:
    """Number of transformer layers, at least 1."""
    found = (re.search(r"encoder\.layer\.(\d{1,3})\.", name) for name in weights)
    return max(1, len({int(match[1]) for match in found if match}))


def check_bert(weights: Tensors) -> None:
    """Refuse anything but exactly a BERT: what is missing, transformers would fill with random numbers."""
    expected = set(bert_names(prefix_of(weights), layer_count(weights)))
    if missing := sorted(expected - weights.keys()):
        raise ValueError(f"not a quantized BERT: {missing[0]!r} and {len(missing) - 1} others are missing")
    if unknown := sorted(weights.keys() - expected):
        raise ValueError(f"not a quantized BERT: {unknown[0]!r} and {len(unknown) - 1} others do not belong")
    for name, array in weights.items():
        if array.ndim != (1 if name.endswith((".bias", "LayerNorm.weight")) else 2):
            raise ValueError(f"not a quantized BERT: {name!r} has shape {array.shape}")


def bert_names(prefix: str, layers: int) -> Iterator[str]:
    """Names of all weights of BertForSequenceClassification (prefix "bert.") or BertModel (no prefix)."""
    yield from (f"{prefix}embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type"))
    modules = [f"{prefix}embeddings.LayerNorm", f"{prefix}pooler.dense", *(["classifier"] if prefix else [])]
    for layer in range(layers):
        inside = [f"attention.self.{part}" for part in ("query", "key", "value")]
        inside += ["attention.output.dense", "attention.output.LayerNorm"]
        inside += ["intermediate.dense", "output.dense", "output.LayerNorm"]
        modules += [f"{prefix}encoder.layer.{layer}.{module}" for module in inside]
    yield from (f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))


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
