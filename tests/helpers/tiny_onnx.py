"""A tiny int8 ONNX BERT written byte by byte, the way the exporter and onnxruntime leave a real one."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

HIDDEN, INNER, VOCABULARY, POSITIONS = 4, 6, 11, 8


def varint(number: int) -> bytes:
    number %= 2**64  # negative numbers are two's complement
    digits = []
    while number > 127:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def number_field(number: int, value: int) -> bytes:
    return varint(number * 8) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(value)) + value


def tensor(name: str, data_type: int, dims: list[int], data: bytes) -> bytes:
    """A TensorProto; `data` is its data field, already encoded."""
    shape = b"".join(number_field(1, size) for size in dims)
    return shape + number_field(2, data_type) + data + bytes_field(8, name.encode())


def float_tensor(name: str, values: np.ndarray) -> bytes:
    return tensor(name, 1, list(values.shape), bytes_field(9, values.astype("<f4").tobytes()))


def int8_tensor(name: str, values: np.ndarray) -> bytes:
    return tensor(name, 3, list(values.shape), bytes_field(9, values.astype("i1").tobytes()))


def node(op: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = b"".join(bytes_field(1, name.encode()) for name in inputs)
    names += b"".join(bytes_field(2, name.encode()) for name in outputs)
    return names + bytes_field(3, b"/some/name") + bytes_field(4, op.encode())


@dataclass
class TinyBert:
    """Collects the graph and, next to it, the weights that must come out."""

    seed: int = 0
    nodes: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    expected: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def plain(self, name: str, size: int) -> None:
        values = self.random.normal(size=size).astype(np.float32)
        self.tensors.append(float_tensor(name, values))
        self.expected[name] = values

    def quantized(self, base: str, rows: int, columns: int) -> np.ndarray:
        """One scale for all, as in dynamic quantization; the zero point is negative and in int32_data."""
        values = self.random.integers(-128, 128, size=(rows, columns))
        scale, zero = np.float32(0.25 + 0.125 * len(self.tensors)), -3
        self.tensors += [
            int8_tensor(f"{base}_quantized", values),
            tensor(f"{base}_scale", 1, [], bytes_field(4, struct.pack("<f", scale))),
            tensor(f"{base}_zero_point", 3, [], bytes_field(5, varint(zero))),
        ]
        return np.array([[(q - zero) * scale for q in row] for row in values], np.float32)

    def table(self, name: str, rows: int) -> None:
        self.expected[name] = self.quantized(name, rows, HIDDEN)
        names = [f"{name}_quantized", f"{name}_scale", f"{name}_zero_point"]
        self.nodes.append(node("DequantizeLinear", names, [f"{name}_dequantized"]))

    def linear(self, module: str, inner: int, outer: int) -> None:
        """A linear layer without a name of its own; the graph has it as [in, out], torch wants [out, in]."""
        base = f"onnx::MatMul_{1000 + len(self.tensors)}"
        self.expected[f"{module}.weight"] = self.quantized(base, inner, outer).T
        self.plain(f"{module}.bias", outer)
        self.nodes += [
            node(
                "MatMulInteger", ["x", f"{base}_quantized", "xz", f"{base}_zero_point"], [f"{base}_product"]
            ),
            node("Cast", [f"{base}_product"], [f"{base}_cast"]),
            node("Mul", ["xs", f"{base}_scale"], [f"{base}_scales"]),
            node("Mul", [f"{base}_cast", f"{base}_scales"], [f"{base}_scaled"]),
            node("Add", [f"{module}.bias", f"{base}_scaled"], [f"{base}_out"]),
        ]

    def norm(self, module: str) -> None:
        self.plain(f"{module}.weight", HIDDEN)
        self.plain(f"{module}.bias", HIDDEN)

    def encoder(self, prefix: str, layers: int) -> None:
        self.table(f"{prefix}embeddings.word_embeddings.weight", VOCABULARY)
        self.table(f"{prefix}embeddings.position_embeddings.weight", POSITIONS)
        self.table(f"{prefix}embeddings.token_type_embeddings.weight", 2)
        self.norm(f"{prefix}embeddings.LayerNorm")
        for layer in range(layers):
            at = f"{prefix}encoder.layer.{layer}"
            for part in ("query", "key", "value"):
                self.linear(f"{at}.attention.self.{part}", HIDDEN, HIDDEN)
            self.linear(f"{at}.attention.output.dense", HIDDEN, HIDDEN)
            self.norm(f"{at}.attention.output.LayerNorm")
            self.linear(f"{at}.intermediate.dense", HIDDEN, INNER)
            self.linear(f"{at}.output.dense", INNER, HIDDEN)
            self.norm(f"{at}.output.LayerNorm")

    def model(self) -> bytes:
        graph = b"".join(bytes_field(1, one) for one in self.nodes)
        graph += bytes_field(2, b"torch_jit")
        graph += b"".join(bytes_field(5, one) for one in self.tensors)
        opset = bytes_field(8, number_field(2, 14))
        return number_field(1, 7) + bytes_field(2, b"pytorch") + opset + bytes_field(7, graph)


def cross_encoder(layers: int = 2) -> TinyBert:
    """BertForSequenceClassification with one label."""
    bert = TinyBert()
    bert.encoder("bert.", layers)
    bert.linear("bert.pooler.dense", HIDDEN, HIDDEN)
    bert.linear("classifier", HIDDEN, 1)
    return bert


def embedder(layers: int = 1) -> TinyBert:
    """BertModel whose unused pooler the export dropped."""
    bert = TinyBert()
    bert.encoder("", layers)
    return bert
