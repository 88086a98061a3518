"""Reading int8 ONNX files, on tiny ones written byte by byte (tiny_onnx.py)."""

from __future__ import annotations

import contextlib
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_onnx
from rerankbench.engine.models import onnx, protobuf
from rerankbench.engine.models.onnx_graph import graph_of
from tiny_onnx import bytes_field, number_field, tensor, varint

MODEL = tiny_onnx.cross_encoder(layers=1).model()


def model_of(*tensors: bytes) -> bytes:
    return bytes_field(7, b"".join(bytes_field(5, one) for one in tensors))


@pytest.mark.parametrize("bert", [tiny_onnx.cross_encoder(), tiny_onnx.embedder()])
def test_every_weight_is_quantized_minus_zero_point_times_scale(
    bert: tiny_onnx.TinyBert, tmp_path: Path
) -> None:
    onnx.convert(bert.model(), tmp_path, attention_heads=2)
    weights = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    unused = {} if "classifier.weight" in bert.expected else {"pooler.dense.weight", "pooler.dense.bias"}
    assert weights.keys() == bert.expected.keys() | set(unused)
    for name, expected in bert.expected.items():
        np.testing.assert_array_equal(weights[name], expected, err_msg=name)
        assert weights[name].dtype == np.float32
    assert all(not weights[name].any() for name in unused)


def test_one_scale_per_column() -> None:
    tensors = {
        "w_quantized": np.array([[1, 2], [3, 4]], np.int8),
        "w_zero_point": np.array([0, 1], np.int8),
        "w_scale": np.array([0.5, 2.0], np.float32),
    }
    expected = [[(1 - 0) * 0.5, (2 - 1) * 2.0], [(3 - 0) * 0.5, (4 - 1) * 2.0]]
    assert onnx.dequantized(tensors, "w").tolist() == expected


def test_the_file_does_not_depend_on_the_order_in_the_graph(tmp_path: Path) -> None:
    bert = tiny_onnx.cross_encoder()
    folders = [tmp_path / "there", tmp_path / "back"]
    for folder in folders:
        folder.mkdir()
        onnx.convert(bert.model(), folder, attention_heads=2)
        bert.tensors.reverse()
    for name in ("config.json", "model.safetensors"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_file_is_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    bert = tiny_onnx.cross_encoder()
    onnx.convert(bert.model(), tmp_path, attention_heads=2)
    expected = {name: np.ascontiguousarray(array) for name, array in bert.expected.items()}
    written = (tmp_path / "model.safetensors").read_bytes()
    assert written == safetensors.numpy.save(expected, metadata={"format": "pt"})


def test_config_follows_from_the_shapes(tmp_path: Path) -> None:
    onnx.convert(tiny_onnx.cross_encoder(layers=2).model(), tmp_path, attention_heads=2)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert (config["num_hidden_layers"], config["num_attention_heads"]) == (2, 2)
    assert (config["hidden_size"], config["intermediate_size"]) == (4, 6)
    assert (config["vocab_size"], config["max_position_embeddings"], config["type_vocab_size"]) == (11, 8, 2)
    assert config["id2label"] == {"0": "LABEL_0"}


@pytest.mark.parametrize("bert", [tiny_onnx.cross_encoder(), tiny_onnx.embedder()])
def test_transformers_finds_every_weight(bert: tiny_onnx.TinyBert, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    onnx.convert(bert.model(), tmp_path, attention_heads=2)
    ranks = "classifier.weight" in bert.expected
    kind = AutoModelForSequenceClassification if ranks else AutoModel
    model, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        output = model(input_ids=torch.tensor([[1, 2, 3]]))
    assert output[0].shape == ((1, 1) if ranks else (1, 3, 4))


@given(st.integers(0, len(MODEL) - 1))
def test_a_cut_off_file_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"protobuf|graphs"):
        graph_of(memoryview(MODEL[:length]))


@given(st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_corrupt_file_gives_a_graph_or_a_value_error(changes: list[tuple[int, int]]) -> None:
    corrupt = bytearray(MODEL)
    for position, byte in changes:
        corrupt[position] = byte
    with contextlib.suppress(ValueError):
        graph_of(memoryview(bytes(corrupt)))


@given(st.binary(max_size=300))
def test_random_bytes_give_a_graph_or_a_value_error(noise: bytes) -> None:
    for model in (noise, bytes_field(7, noise), model_of(noise)):
        with contextlib.suppress(ValueError):
            graph_of(memoryview(model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", "0 graphs"),
        (bytes_field(7, b"") * 2, "2 graphs"),
        (number_field(7, 1), "a number where bytes belong"),
        (varint(7 * 8 + 2) + varint(2**60) + b"x", "1152921504606846976 bytes has only 1"),
        (b"\xff" * 50, "without an end"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "field number 0"),
        (model_of(bytes_field(8, b"\xff")), "not UTF-8"),
    ],
)
def test_what_is_wrong_is_said(model: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph_of(memoryview(model))


def test_lying_sizes_do_not_take_memory() -> None:
    lies = varint(7 * 8 + 2) + varint(2**40) + b"1234", bytes_field(7, varint(2**40) * 9)
    tracemalloc.start()
    for lie in lies:
        with pytest.raises(ValueError, match="protobuf"):
            graph_of(memoryview(lie))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_packed_numbers_come_back(numbers: list[int]) -> None:
    packed = b"".join(varint(number) for number in numbers)
    assert protobuf.packed_varints(memoryview(packed)) == numbers


def test_packed_and_single_dims_and_data_are_the_same() -> None:
    floats = bytes_field(4, struct.pack("<6f", *range(6)))
    single = tensor("t", 1, [2, 3], floats)
    packed = bytes_field(1, varint(2) + varint(3)) + number_field(2, 1) + floats + bytes_field(8, b"t")
    for message in (single, packed):
        array = onnx.read_graph(model_of(message)).tensors["t"]
        assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
