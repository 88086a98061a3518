"""What an ONNX file says of its model: what goes in and comes out, its operators, how many parameters it has.

Read off the protobuf without the onnx package and without the weights' values, which stay on the disk. Field
numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.protobuf import Value, as_bytes, as_int, as_text, fields, packed_varints

FLOATS = (1, 10, 11, 16)  # TensorProto.DataType: float, float16, double, bfloat16
BYTES = (2, 3)  # uint8, int8
# Operators that choose the scale of activations while they run, from all the values in a batch
# (https://github.com/microsoft/onnxruntime/issues/10111).
DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


@dataclass(frozen=True)
class OnnxGraph:
    """`inputs` and `outputs` are names, `operators` the kinds that occur, `parts` files beside it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: frozenset[str]
    parameters: int
    parts: tuple[str, ...]

    @property
    def scales_by_batch(self) -> bool:
        """Whether a row's result depends on the rows beside it: activations are quantized as it runs."""
        return any(name in self.operators for name in DYNAMIC)


def read_graph(file: Path) -> OnnxGraph:
    """Raises UserError where the file cannot be read, is cut off, or is no ONNX model."""
    if not file.is_file():
        told = "not a file" if file.exists() else "not there, or a link to nothing"
        raise UserError(f"{file}: {told}; fetch the model again")
    if not file.stat().st_size:
        raise UserError(f"{file}: an empty file; fetch the model again")
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); fetch the model again") from None
    with stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if mapped[:8] == b"version ":
            raise UserError(f"{file}: a git-lfs pointer instead of the model (git lfs pull brings it)")
        whole = memoryview(mapped)
        try:
            return graph_of(whole)
        except ValueError as error:
            told = str(error)  # its traceback holds views, and a file in use cannot be closed
        finally:
            whole.release()
    raise UserError(f"{file}: not a whole ONNX model ({told}); fetch the model again")


def graph_of(model: memoryview) -> OnnxGraph:
    graphs, operators = [], set()
    for number, value in fields(model):
        if number == 7:
            graphs.append(as_bytes(value))
        elif number == 25:  # a function of its own, whose nodes are field 7
            operators |= set(operators_of(as_bytes(value), 7))
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs")
    operators |= set(operators_of(graphs[0], 1))
    parameters, held, parts = tensors_of(graphs[0])
    inputs = tuple(name for name in names_of(graphs[0], 11) if name not in held)
    return OnnxGraph(inputs, tuple(names_of(graphs[0], 12)), frozenset(operators), parameters, parts)


def operators_of(graph: memoryview, nodes: int, depth: int = 0) -> Iterator[str]:
    """Kinds of operators, those in the branches of others among them; `nodes` is their field's number."""
    for number, node in fields(graph):
        if number != nodes or depth > 20:
            continue
        for part, value in fields(as_bytes(node)):
            if part == 4:
                yield as_text(value)
            elif part == 5:  # an attribute, whose field 6 is a graph
                inner = (as_bytes(found) for field, found in fields(as_bytes(value)) if field == 6)
                for branch in inner:
                    yield from operators_of(branch, 1, depth + 1)


def names_of(graph: memoryview, field: int) -> Iterator[str]:
    """Names of the graph's inputs (field 11) or outputs (12)."""
    for number, value in fields(graph):
        if number == field:
            yield from (as_text(name) for part, name in fields(as_bytes(value)) if part == 1)


def tensors_of(graph: memoryview) -> tuple[int, set[str], tuple[str, ...]]:
    """(numbers in weights, names of tensors, names of files) of the graph's constant tensors."""
    count, names, parts = 0, set(), set()
    for number, tensor in fields(graph):
        if number != 5:
            continue
        shape: list[int] = []
        kind = 0
        for part, value in fields(as_bytes(tensor)):
            if part == 1:
                shape += sizes_of(value)
            elif part == 2:
                kind = as_int(value)
            elif part == 8:
                names.add(as_text(value))
            elif part == 13:
                parts |= set(location(as_bytes(value)))
        # scales and zero points, with one dimension at most, are no parameters of their own
        weights = kind in FLOATS or (kind in BYTES and len(shape) > 1)
        count += math.prod(shape) if weights and shape else 0
    return count, names, tuple(sorted(parts))


def sizes_of(value: Value) -> list[int]:
    return [value] if isinstance(value, int) else packed_varints(value)


def location(entry: memoryview) -> Iterator[str]:
    """The file that an entry of a tensor's external data names, if it is that entry."""
    pair = {number: as_text(value) for number, value in fields(entry)}
    if pair.get(1) == "location":
        yield pair.get(2, "")
