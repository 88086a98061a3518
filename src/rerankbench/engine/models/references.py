"""Model references: a local folder, a model packaged in a wheel, or a model of the Hugging Face hub."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.engine.models import hub, wheels
from rerankbench.engine.models.checkpoint import describe, folder_problems, identity, parameter_count
from rerankbench.engine.models.model_files import has_code
from rerankbench.engine.store.file_hashes import FileHashes

WHEEL_PREFIX = "wheel:"
EMPTY = "model is empty; give a folder, a hub id such as BAAI/bge-reranker-base, or wheel:<name>"
LONGEST = 1_000_000  # tokens, more than any model reads


@dataclass(frozen=True)
class Weights:
    """A model that is ready to load.

    `folder` is a local Hugging Face folder; `identity` names its content ("sha256:<hex>" over the files that
    can change what it computes, or "hub:<id>@<commit>"), whatever its path; `label` is what people should
    see.
    """

    folder: Path
    identity: str
    label: str

    @property
    def parameters(self) -> int:
        """How many there are, counted in the headers of the files. Raises UserError when one is cut off."""
        return parameter_count(self.folder)


def resolve(model: str, revision: str | None, cache_dir: Path, code: bool = False) -> Weights:
    """The weights that `model` refers to, fetched if need be.

    `model` is a local folder, `wheel:<name>` or a hub id; only a hub id has a `revision`, which is ignored
    for the others so that a config's model can be replaced alone. The sha256 of a large local folder's
    files are remembered in `<cache_dir>/models/hashes.json` and computed again when a file's size, times or
    inode change. code: whether the model's own Python files are run, which makes another model of it.

    Raises UserError when the model is not there, is not whole, or cannot be fetched.
    """
    if problems := reference_problems(model, revision, code):
        raise UserError(problems)
    cache_dir = Path(os.path.abspath(os.path.expanduser(cache_dir)))
    hashes = FileHashes(cache_dir / "models" / "hashes.json")
    if model.startswith(WHEEL_PREFIX):
        name = model.removeprefix(WHEEL_PREFIX)
        packaged = wheels.MODELS[name]
        return Weights(wheels.folder_of(name, cache_dir, hashes), packaged.identity, packaged.label)
    if is_local(model):
        folder = local_folder(model)
        runs = code and has_code(folder)
        return Weights(folder, identity(folder, hashes, runs), folder_label(folder))
    folder, commit = hub.snapshot(model, revision, hub.safetensors(code))
    own = " with its code" if code and has_code(folder) else ""
    return Weights(folder, f"hub:{model}@{commit}{own}", model)


def reference_problems(model: str, revision: str | None, code: bool = False) -> list[str]:
    """What is wrong with a reference, one line each; cheap, and asks no one on the network."""
    if not model.strip():
        return [EMPTY]
    if model.startswith(WHEEL_PREFIX):
        return wheel_problems(model.removeprefix(WHEEL_PREFIX))
    if is_local(model):
        return [f"model {problem}" for problem in folder_problems(local_folder(model), code)]
    return hub.reference_problems(model, revision)


def wheel_problems(name: str, as_onnx: bool = False) -> list[str]:
    """Whether there is such a packaged model; as_onnx: in the form of an ONNX file, or else of weights."""
    known_names = [known for known, model in wheels.MODELS.items() if model.as_onnx == as_onnx]
    if name in known_names:
        return []
    if name in wheels.MODELS:
        cure = "choose a reranker of family encoder" if as_onnx else "choose reranker=minilm-onnx"
        return [f"model wheel:{name}: is {'no' if as_onnx else 'an'} ONNX model; {cure} with it"]
    near = difflib.get_close_matches(name, known_names, n=1, cutoff=0.5)
    hint = f"did you mean wheel:{near[0]}?" if near else "give one of these"
    known = ", ".join(f"wheel:{known}" for known in known_names)
    return [f"model wheel:{name}: no such packaged model; {hint} (there are {known})"]


def positions(model: str) -> int | None:
    """The most tokens that a model can read, as far as that is known before it is fetched."""
    if model.startswith(WHEEL_PREFIX):
        return wheels.MODELS[model.removeprefix(WHEEL_PREFIX)].positions
    return describe(local_folder(model))["positions"] if is_local(model) else None


def length_problems(settings: Mapping[str, int | None], most: int | None) -> list[str]:
    """Which numbers of tokens, by their config keys, are more than a model can read; `most` None: unknown."""
    most = LONGEST if most is None else most
    over = {key: asked for key, asked in settings.items() if asked is not None and asked > most}
    return [
        f"{key}={asked}: the model reads at most {most:,} tokens; give no more" for key, asked in over.items()
    ]


def is_local(model: str) -> bool:
    """Paths by their look (/, ./, ../, ~), and whatever exists here as a file or folder."""
    looks_local = model in (".", "..") or model.startswith(("/", "./", "../", "~")) or os.path.isabs(model)
    return looks_local or os.path.exists(model)


def local_folder(model: str) -> Path:
    """The absolute path, links kept: a link's name says more to people than what it points to."""
    return Path(os.path.abspath(os.path.expanduser(model)))


def folder_label(folder: Path) -> str:
    """The folder's name; for models--org--name/snapshots/<commit> in the hub's cache, the hub id."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return folder.name
