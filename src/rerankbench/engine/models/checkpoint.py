"""A model's folder in Hugging Face layout: what is in it, whether it is whole, and the hash of what it
computes.

Only headers and small JSON files are read here, never tensors, so all of it is cheap enough to run before
loading.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible
from rerankbench.engine.models import model_config
from rerankbench.engine.models.json_files import json_object, read_json
from rerankbench.engine.models.model_files import names_elsewhere, odd_files, place_of, relevant_files
from rerankbench.engine.store.file_hashes import FileHashes

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@dataclass(frozen=True)
class TensorEntry:
    """One tensor in a safetensors header; `dtype` as the format spells it, such as F32 or BF16."""

    dtype: str
    shape: tuple[int, ...]


def identity(folder: Path, hashes: FileHashes, code: bool = False) -> str:
    """The hash of the names and contents of the files that determine the scores: "sha256:<hex>".

    code: whether the folder's own Python files are among them, because they are run.
    """
    files = relevant_files(folder, code)
    return identity_of({place_of(file, folder): hashes.sha256(file) for file in files})


def identity_of(sha256_by_name: Mapping[str, str]) -> str:
    """The identity of a folder with these files: `sha256sum <files, sorted by name> | sha256sum`."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sha256_by_name.items()))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def files_identity(files: Sequence[Path]) -> str:
    """The hash of some files' contents, in order."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def describe(folder: Path) -> dict[str, Any]:
    """What config.json says about the model's shape; None for what it does not say. Raises UserError.

    Keys: architectures (list), model_type, num_hidden_layers, start_layer and layer_sep (of layerwise models:
    the first layer with a head, and how far apart they are), num_labels, hidden_size, positions (the most
    tokens that it can read; None where positions are computed and have no end, as in rotary embeddings).
    """
    config = read_json(folder / "config.json")
    keys = ("architectures", "model_type", "start_layer", "layer_sep", "num_labels", "hidden_size")
    description = {key: config.get(key) for key in keys}
    description["num_hidden_layers"] = model_config.layer_count(config)
    if config.get("id2label"):
        description["num_labels"] = len(config["id2label"])
    return description | {"positions": model_config.positions(config)}


def architecture(folder: Path) -> str:
    """The class that config.json names first, unknown where it names none. Raises UserError."""
    return (describe(folder)["architectures"] or ["unknown"])[0]


def tensors(folder: Path) -> dict[str, TensorEntry]:
    """The tensors of a model's weight files by name. Raises UserError when one is cut off."""
    files = weight_files(folder)
    return {name: entry for file in files for name, entry in safetensors_header(file).items()}


def parameter_count(folder: Path) -> int:
    """Number of parameters, from the headers of the weight files. Raises UserError when one is cut off.

    64-bit integers are not counted: they are position ids, which some old files carry.
    """
    return sum(math.prod(entry.shape) for entry in tensors(folder).values() if entry.dtype != "I64")


def folder_problems(folder: Path, code: bool = False) -> list[str]:
    """Why the folder cannot be loaded as a model, one line each; empty when it can. Reads no tensors.

    code: whether its own Python files are run.
    """
    if not folder.is_dir():
        return [f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; give a model's folder"]
    if not folder.name.isprintable():  # it is part of the arm's name, which is shown everywhere
        return [f"{str(folder)!r}: the folder's name holds control characters; rename it"]
    if (folder / "adapter_config.json").exists():
        return [adapter_problem(folder)]
    found = [
        *odd_files(folder),
        *config_problems(folder),
        *weights_problems(folder),
        *tokenizer_problems(folder),
    ]
    return found or misfits(folder) + names_elsewhere(folder, code)


def misfits(folder: Path) -> list[str]:
    """What config.json says that the weights contradict, or that no model is."""
    config, file = read_json(folder / "config.json"), folder / "config.json"
    return [f"{file}: {line}" for line in model_config.problems(config, tensors(folder))]


def config_problems(folder: Path) -> list[str]:
    if not (folder / "config.json").is_file():
        return [f"{folder}: no config.json, so this is not a model folder; give the one that has it"]
    try:
        config = read_json(folder / "config.json")
    except UserError as error:
        return error.problems
    return [f"{folder / 'config.json'}: {line}" for line in model_config.odd_values(config)]


def adapter_problem(folder: Path) -> str:
    """What to say of a folder that peft wrote: which model it adapts, and how to get one folder of both."""
    base = json_object(folder / "adapter_config.json").get("base_model_name_or_path")
    into = f"its base model {base}" if isinstance(base, str) and base.isprintable() else "its base model"
    return (
        f"{folder}: a LoRA adapter; merge it into {into} first (peft: merge_and_unload), or give "
        "that one as reranker.model and this folder as reranker.adapter"
    )


def weights_problems(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file() or (folder / WEIGHTS_INDEX).is_file():
        return safetensors_problems(folder)
    pickles = sorted(
        file.name for file in folder.iterdir() if any(file.match(end) for end in PICKLED_WEIGHTS)
    )
    if not pickles and (exports := [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]):
        return [
            f"{folder}: no weights but {exports[0].name}; choose reranker=onnx with this reranker.model, or "
            f"give a folder with {WEIGHTS}"
        ]
    if not pickles:
        return [f"{folder}: no weights; {WEIGHTS}, or {WEIGHTS_INDEX} with its files, must be there"]
    cure = (
        "convert them to safetensors (transformers: model.save_pretrained(folder, safe_serialization=True))"
    )
    return [f"{folder}: only pickle weights ({', '.join(pickles)}), which can run code when loaded; {cure}"]


def tokenizer_problems(folder: Path) -> list[str]:
    problems = []
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / name).is_file():
            try:
                read_json(folder / name)
            except UserError as error:
                problems += error.problems
    if any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        return problems
    return [f"{folder}: no tokenizer; copy its files there (at least one of {', '.join(TOKENIZER_FILES)})"]


def safetensors_problems(folder: Path) -> list[str]:
    """Weight files that are missing, cut off or no safetensors at all, one line each; reads headers only."""
    try:
        files = weight_files(folder)
    except UserError as error:
        return error.problems
    problems = []
    for file in files:
        try:
            safetensors_header(file)
        except UserError as error:
            problems += error.problems
    return problems


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model: one, or those its index names. Raises UserError."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / WEIGHTS_INDEX
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index}: no weight_map in it; fetch the model again")
    names = sorted({str(name) for name in shards.values()})
    if outside := [name for name in names if name != os.path.basename(name)]:
        raise UserError(f"{index}: names {outside[0]!r}, which is outside the folder; fetch the model again")
    return [folder / name for name in names]


def safetensors_header(file: Path) -> dict[str, TensorEntry]:
    """Tensors by name. Raises UserError naming the file when it is missing, cut off or not safetensors."""
    try:
        with file.open("rb") as stream:
            if stream.read(8) == b"version ":
                cure = "git lfs pull brings them"
                raise UserError(f"{file}: a git-lfs pointer instead of the weights ({cure})")
        with safe_open(file, framework="numpy") as weights:
            parts = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118 (no dict)
            return {name: TensorEntry(part.get_dtype(), (*part.get_shape(),)) for name, part in parts.items()}
    except FileNotFoundError:
        raise UserError(f"{file}: this weight file is missing; fetch the model again") from None
    except SafetensorError as error:
        reason = visible(str(error).removeprefix("Error while deserializing header: "))
        told = f"cut off or not safetensors ({file.stat().st_size} bytes): {reason}"
        raise UserError(f"{file}: {told}; fetch the model again") from None


def write_safetensors(file: Path, tensors: Mapping[str, Floats]) -> None:
    """Write float32 tensors, sorted by name, with a header that depends on nothing but them.

    The safetensors library writes the same bytes today; a model that is pinned by its sha256 cannot depend
    on it.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    stop = 0
    for name, array in sorted(tensors.items()):
        start, stop = stop, stop + array.size * 4
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, array in sorted(tensors.items()):
            stream.write(np.ascontiguousarray(array, "<f4").data)
