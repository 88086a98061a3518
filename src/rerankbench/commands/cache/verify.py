"""Reading everything that carries a hash, and setting aside what does not match it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rerankbench.basics import typed_json
from rerankbench.basics.regular_file import NotRegular
from rerankbench.basics.typed_json import OBJECT
from rerankbench.commands.cache.entries import children, entries_of, files_below
from rerankbench.engine.models import wheels
from rerankbench.engine.store.aside import set_aside
from rerankbench.engine.store.file_hashes import sha256_of
from rerankbench.engine.store.rows import NAME, read_shard

_NAMED = re.compile(r".+-([0-9a-f]{64})\.(npy|shard)")


@dataclass
class Verification:
    """How many files and bytes were read, and which of them are damaged."""

    files: int = 0
    bytes: int = 0
    damaged: tuple[Path, ...] = ()


def verify(cache_dir: Path) -> Verification:
    """Hash every shard, array, corpus, wheel and packaged model; damaged ones are set aside."""
    found = Verification()
    for path, size, whole in checks(cache_dir):
        found.files, found.bytes = found.files + 1, found.bytes + size
        if not is_whole(path, whole):
            found.damaged += (path,)
    return found


def is_whole(path: Path, whole: Callable[[], bool]) -> bool:
    """Whether a file is whole; something else in a file's place is set aside, too."""
    try:
        return whole()
    except NotRegular as error:
        set_aside(path, ValueError(error.strerror))
        return False


def checks(cache_dir: Path) -> Iterator[tuple[Path, int, Callable[[], bool]]]:
    """Each file or folder with its size and a function that says whether it is whole."""
    for kind in ("vectors", "candidates", "scores"):
        for file in files_below(cache_dir / kind):
            if file.suffix == ".shard" and not NAME.fullmatch(file.name):
                yield file, size_of(file), partial(misnamed, file)
            elif match := _NAMED.fullmatch(file.name):
                yield file, size_of(file), partial(hashed_file, file, match[1])
    for file in [*children(cache_dir / "corpora"), *children(cache_dir / "indexes")]:
        if file.suffix in (".arrow", ".faiss"):
            yield file, size_of(file), partial(noted, file)
    pinned = {wheel.file_name: wheel for wheel in (model.wheel for model in wheels.MODELS.values())}
    for file in children(cache_dir / "wheels"):
        if file.name in pinned:
            yield file, size_of(file), partial(wheel_file, file, pinned[file.name].sha256)
    for entry in entries_of("models", cache_dir / "models"):
        yield entry.paths[0], entry.bytes, partial(packaged_model, entry.paths[0])


def size_of(file: Path) -> int:
    return file.lstat().st_size if file.exists() else 0


def hashed_file(file: Path, sha256: str) -> bool:
    """A shard or an array whose name ends in its hash."""
    if file.suffix == ".shard":
        return read_shard(file) is not None or not os.path.lexists(file.with_suffix(".damaged"))
    if matches(file, sha256):
        return True
    set_aside(file, ValueError("its bytes do not match the hash in its name"))
    return False


def misnamed(file: Path) -> bool:
    set_aside(file, ValueError("its name is not that of a shard"))
    return False


def matches(file: Path, sha256: object) -> bool:
    """Whether a file has these bytes, or was pruned meanwhile; what is no file has none."""
    try:
        return sha256_of(file) == sha256
    except FileNotFoundError:
        return True
    except NotRegular:
        return False


def noted(file: Path) -> bool:
    """A corpus or an index whose note vouches for its bytes; without a note it is never read."""
    sha256 = (typed_json.note(file.with_suffix(".json"), OBJECT) or {}).get("sha256")
    if sha256 is None or matches(file, sha256):
        return True
    set_aside(file, ValueError("its bytes do not match the hash in its note"))
    return False


def wheel_file(file: Path, sha256: str) -> bool:
    if matches(file, sha256):
        return True
    wheels.move_away(file, "not the pinned sha256")
    return False


def packaged_model(folder: Path) -> bool:
    """A folder that was made out of a wheel; the pinned hashes cover every file that decides a score."""
    model = next((m for name, m in wheels.MODELS.items() if folder.name == wheels.folder_name(name)), None)
    if model is None:
        return True
    if wrong := wheels.damage(folder, model, sha256_of):
        wheels.move_away(folder, wrong)
    return not wrong
