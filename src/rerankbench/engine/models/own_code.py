"""A model folder's own Python files, where the user allows them to run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerankbench.engine.models.model_files import CODE, has_code, place_of


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
