"""A folder with an ONNX model: which of its files is meant, whether it is whole, and what it is.

Layouts are those of `optimum-cli export onnx` (model.onnx, model_quantized.onnx beside the tokenizer) and of
the hub, where exports lie in onnx/.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.engine.models import hub, references, wheels
from rerankbench.engine.models.checkpoint import TOKENIZER_FILES, identity_of, tokenizer_problems
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.model_config import positions
from rerankbench.engine.models.model_files import odd_files, place_of, relevant_files
from rerankbench.engine.models.onnx_graph import OnnxGraph, read_graph
from rerankbench.engine.models.references import WHEEL_PREFIX, Weights, folder_label, local_folder
from rerankbench.engine.store.file_hashes import FileHashes

SUFFIX = ".onnx"
CONFIGS = ("*.json", "*.txt", "*.model", "vocab.*")
USUAL = ("model.onnx", "onnx/model.onnx")


@dataclass(frozen=True)
class OnnxWeights(Weights):
    """`file` is the model; the tokenizer is beside it or in `folder`."""

    file: Path

    @cached_property
    def graph(self) -> OnnxGraph:
        return read_graph(self.file)

    @property
    def parameters(self) -> int:
        """As the graph's constant tensors hold; a quantized number counts as one."""
        return self.graph.parameters

    @property
    def positions(self) -> int | None:
        """The most tokens that the model reads, where a config.json beside it says so."""
        return positions(json_object(self.folder / "config.json"))


def resolve(model: str, revision: str | None, file: str | None, cache_dir: Path) -> OnnxWeights:
    """The ONNX model that `model` refers to, fetched if need be: a folder, a file, a hub id or wheel:NAME.

    file: which one in the folder; None: the usual one. Raises UserError where it cannot be had.
    """
    cache_dir = Path(os.path.abspath(os.path.expanduser(cache_dir)))
    hashes = FileHashes(cache_dir / "models" / "hashes.json")
    if model.startswith(WHEEL_PREFIX):
        name = model.removeprefix(WHEEL_PREFIX)
        packaged, folder = wheels.MODELS[name], wheels.folder_of(name, cache_dir, hashes)
        return OnnxWeights(folder, packaged.identity, packaged.label, folder / USUAL[0])
    if not is_local(model):
        folder, commit = hub.snapshot(model, revision, form_of(file))
        found = chosen(folder, file)
        label = f"{model} ({place_of(found, folder)})"
        return OnnxWeights(folder, f"hub:{model}@{commit} {place_of(found, folder)}", label, found)
    folder, found = place(model, file)
    label = folder_label(folder) if found == folder / USUAL[0] else f"{folder.name}/{place_of(found, folder)}"
    return OnnxWeights(folder, identity(folder, found, hashes), label, found)


def form_of(file: str | None) -> hub.Form:
    """What is fetched of a model on the hub: one ONNX file with its weights, the tokenizer, the configs."""

    def wanted(names: Sequence[str]) -> list[str]:
        small = [name for name in names if "/" not in name and any(fnmatch(name, one) for one in CONFIGS)]
        found = [name for name in names if name == file or (file is None and name in USUAL)]
        return small + found + [name for name in names if name.startswith(tuple(f"{one}_" for one in found))]

    def problems_there(folder: Path) -> list[str]:
        try:
            return problems(folder, chosen(folder, file))
        except UserError as error:
            return error.problems

    return hub.Form(wanted, problems_there)


def is_local(model: str) -> bool:
    return model.endswith(SUFFIX) or references.is_local(model)


def place(model: str, file: str | None) -> tuple[Path, Path]:
    """(folder with the tokenizer, ONNX file) of a local reference. Raises UserError."""
    path = local_folder(model)
    if path.suffix != SUFFIX or path.is_dir():
        found = chosen(path, file)
        beside = has_tokenizer(found.parent) and not has_tokenizer(path)
        return (found.parent if beside else path), found
    if file is not None:
        raise UserError(f"{path}: is the file itself; leave reranker.file out")
    if not path.is_file():
        raise UserError(f"{path}: no such file; give an ONNX file or its folder")
    inside = path.parent.name == "onnx" and not has_tokenizer(path.parent)
    return (path.parent.parent if inside else path.parent), path


def has_tokenizer(folder: Path) -> bool:
    return any(file.is_file() for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def files_of(folder: Path) -> list[str]:
    """The ONNX files of a folder by their place in it."""
    return sorted(place_of(one, folder) for one in [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])


def chosen(folder: Path, file: str | None) -> Path:
    """The ONNX file of a folder. Raises UserError where there is none, or no telling which is meant."""
    if not folder.is_dir():
        told = "not a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {told}; give an ONNX file or its folder")
    there = files_of(folder)
    if file is not None:
        found = folder / file
        if ".." in Path(file).parts or Path(file).is_absolute() or not found.is_file():
            named = f"there are {', '.join(there)}" if there else "there is no ONNX file"
            raise UserError(f"reranker.file={file}: not in {folder}; {named}")
        return found
    usual = [name for name in USUAL if name in there] or (there if len(there) == 1 else [])
    if usual:
        return folder / usual[0]
    if there:
        raise UserError(f"{folder}: holds {', '.join(there)}; choose one, such as reranker.file={there[0]}")
    raise UserError(f"{folder}: no ONNX file, such as {' or '.join(USUAL)}; give the folder that has it")


def problems(folder: Path, file: Path) -> list[str]:
    """Why a folder's ONNX model cannot be loaded, one line each; reads no weights."""
    if not folder.name.isprintable():
        return [f"{str(folder)!r}: the folder's name holds control characters; rename it"]
    found = odd_files(folder) or tokenizer_problems(folder)
    try:
        graph = read_graph(file)
    except UserError as error:
        return error.problems + found
    for part in graph.parts:
        if part != os.path.basename(part):
            found.append(f"{file}: names {part!r} for its weights, outside its folder; fetch the model again")
        elif not (file.parent / part).is_file():
            found.append(f"{file.parent / part}: missing, and {file.name} needs it; fetch the model again")
    return found


def identity(folder: Path, file: Path, hashes: FileHashes) -> str:
    """The hash of the files that determine the scores: the model's, the tokenizer's and the configs."""
    counted = {one.name: one for one in relevant_files(folder) if one.suffix != ".safetensors"}
    counted |= {part: file.parent / part for part in read_graph(file).parts} | {USUAL[0]: file}
    return identity_of({name: hashes.sha256(one) for name, one in counted.items()})
