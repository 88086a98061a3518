"""What the store holds: one entry for each thing that has an identity.

Only names that rerankbench itself gives are recognised, so that a `cache_dir` which also holds other
people's files is safe to prune; links are neither followed nor counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rerankbench.basics import typed_json
from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_json import OBJECT, shown
from rerankbench.engine.models import wheels
from rerankbench.engine.store import lock

LOCKS = (lock.SUFFIX, ".lock")  # ours, and the system's
KINDS = ("models", "wheels", "corpora", "datasets", "vectors", "candidates", "scores", "indexes")

_SHA256 = "[0-9a-f]{64}"
_NAMES = {  # the names of entries, the identity in brackets
    "models": re.compile(r"(.+-[0-9a-f]{12})"),
    "wheels": re.compile(r"(.+\.whl)"),
    "corpora": re.compile(rf"({_SHA256})\.(?:arrow|json)"),
    "vectors": re.compile(rf"({_SHA256})"),
    "candidates": re.compile(rf"({_SHA256})(?:-{_SHA256}\.npy|\.json)"),
    "scores": re.compile(rf"({_SHA256})"),
    "indexes": re.compile(rf"({_SHA256})\.(?:faiss|json)"),
}


@dataclass(frozen=True)
class Entry:
    """One thing in the store. `paths` are its files or folders, `modified` seconds since 1970."""

    kind: str
    identity: str
    label: str
    paths: tuple[Path, ...]
    files: int
    bytes: int
    modified: float

    def in_use(self) -> bool:
        """Whether a process holds one of its locks now."""
        beside = [path.with_name(path.name + suffix) for path in self.paths for suffix in LOCKS]
        inside = [file for path in self.paths for file in files_below(path) if file.suffix in LOCKS]
        return any(held(file) for file in [*beside, *inside])


def entries(cache_dir: Path) -> list[Entry]:
    """Everything recognised in `cache_dir`, by kind and identity. Raises UserError if it is no folder."""
    if not cache_dir.is_dir():
        what = "is a file" if cache_dir.exists() else "there is no such folder"
        raise UserError(f"cache_dir={cache_dir}: {what}; nothing has been stored there yet")
    return [entry for kind in KINDS for entry in entries_of(kind, cache_dir / kind)]


def entries_of(kind: str, folder: Path) -> Iterator[Entry]:
    """The entries of one kind; files that share an identity are one."""
    grouped: dict[str, list[Path]] = {}
    for path in children(folder):
        if name := identity_of(kind, path):
            grouped.setdefault(name, []).append(path)
    for name, paths in grouped.items():
        yield entry_of(kind, name, label(kind, name, paths), paths)


def entry_of(kind: str, name: str, label: str, paths: list[Path]) -> Entry:
    """The entry of some files and folders, whose sizes and ages are those of all files in them."""
    stats = [file.lstat() for path in paths for file in files_below(path) if file.exists()]
    newest = max((stat.st_mtime for stat in stats), default=0.0)
    return Entry(kind, name, label, tuple(paths), len(stats), sum(s.st_size for s in stats), newest)


def identity_of(kind: str, path: Path) -> str | None:
    """The identity in a name that rerankbench gave; None for anything else."""
    if kind == "datasets":  # `datasets` names its own folders
        known = path.is_dir() and any(file.name == "dataset_info.json" for file in files_below(path))
        return path.name if known else None
    match = _NAMES[kind].fullmatch(path.name)
    folder = kind in ("models", "vectors", "scores")
    return match[1] if match and path.is_dir() == folder else None


def children(folder: Path) -> list[Path]:
    """What lies in a folder, links left out; nothing if the folder is itself a link or is not there."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if not path.is_symlink())
    except OSError:  # its name is too long, or it is not ours to read
        return []


def files_below(path: Path) -> list[Path]:
    """All files at or below a path, links neither followed nor listed."""
    found, waiting = [], [path]
    while waiting:  # no recursion: folders may be nested deeper than Python's own stack
        here = waiting.pop()
        if here.is_symlink():
            continue
        if here.is_dir():
            waiting += reversed(children(here))
        else:
            found.append(here)
    return found


def label(kind: str, name: str, paths: list[Path]) -> str:
    """What people should see."""
    described = [path / "identity.json" if path.is_dir() else path.with_suffix(".json") for path in paths]
    parts = next((found for path in described if (found := typed_json.note(path, OBJECT))), {})
    if kind == "models":
        return shown((typed_json.note(paths[0] / "manifest.json", OBJECT) or {}).get("model", name))
    if kind in ("wheels", "datasets"):
        return name
    if kind == "corpora":
        return "a large corpus, as Arrow"
    title = shown(parts.get("label") or packaged_name(parts) or parts.get("family") or "not described")
    told = ("precision", "max_length", "long_documents", "pooling")
    return " ".join(
        [title, *(f"{key}={shown(parts[key])}" for key in told if key in parts and parts[key] != "truncate")]
    )


def packaged_name(parts: dict[str, object]) -> str:
    """The label of a packaged model whose weights an identity names."""
    labels = {model.identity: model.label for model in wheels.MODELS.values()}
    return labels.get(str(parts.get("weights")), "")


def held(file: Path) -> bool:
    """Whether some process holds this lock file now."""
    if file.suffix == lock.SUFFIX:
        return lock.held(file)
    if file.is_symlink() or not file.is_file():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except (Timeout, OSError):
        return True
