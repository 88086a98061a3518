"""Which files of a model's folder can change what it computes, and names in them that lead elsewhere.

Everything counts that is not known to be irrelevant: tokenizers alone open files under a dozen names.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.model_config import CHECKED

# Never opened, or opened without any effect on scores and vectors. Patterns of whole names, in lower case.
IRRELEVANT = (
    ".*",  # .git, .gitattributes, .cache, ...
    "*.md",
    "license*",
    "notice*",
    "generation_config.json",
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.gguf"),
    *("*.tflite", "*.mlmodel", "*.npz", "*.pkl", "*.pickle"),  # other forms of the weights; none is read
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.pdf", "*.csv", "*.log"),
    *("trainer_state.json", "*_results.json", "events.out.tfevents.*", "training_args.*"),
    "manifest.json",  # where a packaged model comes from, for people
    "modules.json",  # what embedders and rerankers take from these is in their settings, or refused
    "sentence_*_config.json",
    "config_sentence_transformers.json",
)
CODE = "*.py"
# Folders that hold the same model in other forms, or what came of training it.
OTHER_FORMS = (
    "onnx",
    "openvino",
    "coreml",
    "flax_model",
    "runs",
    "eval",
    "checkpoint-*",
    "*_pooling",
    "__pycache__",
)
TEMPLATES = "additional_chat_templates"
# Names in tokenizer_config.json that are written, and never followed.
UNFOLLOWED = (
    "special_tokens_map_file",
    "added_tokens_file",
    "name_or_path",
    "_name_or_path",
    "chat_template",
)


def relevant_files(folder: Path, code: bool = False) -> list[Path]:
    """The files that determine the scores, sorted by their place in the folder; links are followed.

    code: whether the folder's own Python files are run, which may read whatever else lies there.
    """
    return sorted(file for file in walk(folder, code) if is_relevant(file.name, code) and file.is_file())


def walk(folder: Path, deep: bool) -> Iterator[Path]:
    """What lies in a folder and, if `deep`, below it, but for other forms of the model and hidden folders."""
    for place, folders, files in os.walk(folder):
        kept = [name for name in folders if not matches(name, (*OTHER_FORMS, ".*"))]
        folders[:] = kept if deep else [name for name in kept if name == TEMPLATES]
        yield from (Path(place, name) for name in files)


def is_relevant(name: str, code: bool) -> bool:
    return (code or not matches(name, (CODE,))) and not matches(name, IRRELEVANT)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in patterns)


def place_of(file: Path, folder: Path) -> str:
    """A file's name in the folder's identity: its path in it, with slashes on every system."""
    return file.relative_to(folder).as_posix()


def odd_files(folder: Path) -> list[str]:
    """Entries that would be read but are no files: links to nothing, pipes, devices, linked folders."""
    found = []
    for file in sorted(walk(folder, deep=False)):
        if not is_relevant(file.name, code=True):
            continue
        if not file.exists():
            found.append(f"{file}: a link to a file that is not there; fetch the model again")
        elif not file.is_file():
            found.append(f"{file}: neither a file nor a folder; remove it")
    return found


def names_elsewhere(folder: Path, code: bool) -> list[str]:
    """Files outside the folder that the folder's files name, so that the model is more than its folder."""
    found = []
    settings = json_object(folder / "tokenizer_config.json")
    for key, name in named_files(settings):
        found.append(
            f"{folder / 'tokenizer_config.json'}: {key} names {name!r}, which is read from elsewhere than "
            f"the model's folder; take {key.partition('.')[0]} out, the folder's own files are found without"
        )
    for name in texts(settings.get("fast_tokenizer_files")):
        if name != os.path.basename(name):
            found.append(
                f"{folder / 'tokenizer_config.json'}: fast_tokenizer_files names {name!r}, which is outside "
                "the folder; copy it there and give its name alone"
            )
    config = json_object(folder / "config.json")
    weights = config.get("transformers_weights")
    if weights is not None and weights != "model.safetensors":
        found.append(f"{folder / 'config.json'}: transformers_weights is {weights!r}; take it out")
    return found + (foreign_code(folder, (config, settings)) if code else [])


def named_files(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, name) of every file that tokenizer_config.json makes a tokenizer open by a path of its own."""
    for key, value in flattened(settings):
        leaf = key.rpartition(".")[2]
        if not isinstance(value, str) or key in UNFOLLOWED:
            continue
        if leaf.endswith("_file") or key.startswith("init_inputs") or is_file(value):
            yield key, value


def flattened(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The leaves of nested JSON by their place."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    if not isinstance(value, (dict, list)) or depth > 50:
        yield path, value
    for key, inner in entries if depth <= 50 else ():
        yield from flattened(inner, f"{path}.{key}" if path else str(key), depth + 1)


def is_file(name: str) -> bool:
    """Whether a text is the path of a file, from here."""
    try:
        return 0 < len(name) < 1000 and ("/" in name or os.sep in name) and os.path.isfile(name)
    except ValueError:  # a null character
        return False


def texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [str(one) for one in values]


def foreign_code(folder: Path, configs: tuple[Mapping[str, Any], ...]) -> list[str]:
    """Python of another repository, or files that are not there, that a folder wants to be run."""
    found = []
    for name in sorted({name for config in configs for name in code_names(config)}):
        if "--" in name:
            found.append(
                f"{folder}: its code is in another repository, {name}; copy the files of it into the folder "
                "and name them in auto_map without what stands before --"
            )
        elif not (folder / f"{name.rpartition('.')[0]}.py").is_file():
            found.append(
                f"{folder}: its code {name.rpartition('.')[0]}.py is missing; fetch the model again with it"
            )
    return found


def code_names(config: Mapping[str, Any]) -> list[str]:
    """The classes that auto_map names: module.Class, with repository-- before it where it is of another."""
    return [name for _, name in flattened(config.get("auto_map")) if isinstance(name, str)]


def has_code(folder: Path) -> bool:
    """Whether a folder has classes of its own, which run where its code is trusted."""
    names = ("config.json", "tokenizer_config.json")
    return any(code_names(json_object(folder / name)) for name in names)


def own_code_problems(place: str, config: Mapping[str, Any], trusted: bool) -> list[str]:
    """Whether a model that only its own Python files know is asked for without them.

    place: the setting that names it, with its value, such as reranker.model=folder.
    """
    if trusted or config.get("model_type") in CHECKED or not code_names(config):
        return []
    key = f"{place.partition('.')[0]}.trust_remote_code=true"
    return [f"{place}: needs the Python files that come with it; read them, then allow them with {key}"]


@contextmanager
def under_its_hash(folder: Path, code: bool) -> Iterator[Path]:
    """A path to `folder` to load it from, whose name tells its Python files apart from all others.

    transformers keeps modules by the folder's name and compares their files by size and time alone, so that
    code which was changed, or that of another folder of this name, would run instead.
    """
    if not (code and has_code(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rerankbench-") as place:
        link = Path(place, f"own_{hash_of(folder)[:32]}")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def hash_of(folder: Path) -> str:
    """The sha256 of the names and contents of a folder's Python files."""
    files = sorted(file for file in folder.rglob(CODE) if file.is_file())
    parts = (f"{place_of(file, folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    return hashlib.sha256("".join(parts).encode()).hexdigest()
