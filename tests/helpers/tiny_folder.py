"""A model folder small enough to write by hand: two tensors, a config and a vocabulary."""

from __future__ import annotations

import json
import struct
from pathlib import Path

WEIGHTS = {"embedding.weight": [3, 2], "classifier.bias": [1]}
PARAMETERS = 3 * 2 + 1


def safetensors_bytes(shapes: dict[str, list[int]], dtype: str = "F32", width: int = 4) -> bytes:
    """A safetensors file by its definition: length of the header, the header, then the numbers."""
    header, stop = {}, 0
    for name, shape in shapes.items():
        start = stop
        size = width
        for length in shape:
            size *= length
        stop += size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(stop % 256)) + bytes(stop - stop % 256)


def write_tiny_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\nbread\n")
    return folder


def shard(folder: Path) -> None:
    """The same weights in two files and an index."""
    names = {}
    for number, (name, shape) in enumerate(WEIGHTS.items(), start=1):
        names[name] = f"model-{number:05}-of-00002.safetensors"
        (folder / names[name]).write_bytes(safetensors_bytes({name: shape}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").unlink()
