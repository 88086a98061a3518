"""sha256 of files, remembered so that a large model is not read again on every run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from rerankbench.basics import typed_json
from rerankbench.basics.regular_file import open_regular
from rerankbench.engine.store.aside import make_way

# Some file systems keep times to two seconds: a younger file could still change without its time changing.
SETTLED_NS = 2_000_000_000


class Entry(TypedDict):
    """What is remembered of a file."""

    stamp: Annotated[list[int], Field(min_length=4, max_length=4)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


MEMO = TypeAdapter(dict[str, Entry])


class FileHashes:
    """sha256 of files, remembered in one small JSON file by (path, size, mtime, ctime, inode).

    A file is read again when any of these differ. ctime is among them because a copying tool can set back
    mtime but not ctime. A memo that is missing, broken or cannot be written only costs time. Hashing 18 GB
    takes 10 to 40 seconds, looking it up takes none.
    """

    def __init__(self, memo: Path) -> None:
        self.memo = memo
        self.known = read_memo(memo)

    def sha256(self, file: Path) -> str:
        """The file's sha256 in hexadecimal; links are followed. Raises OSError when it cannot be read."""
        path = os.path.realpath(file)
        stamp = stamp_of(path)
        entry = self.known.get(path)
        if entry and entry["stamp"] == stamp:
            return entry["sha256"]
        digest = sha256_of(Path(path))
        if stamp == stamp_of(path) and settled(stamp):
            self.remember(path, {"stamp": stamp, "sha256": digest})
        return digest

    def remember(self, path: str, entry: Entry) -> None:
        """Add one entry to what other processes may have written meanwhile; losing a race costs a rehash."""
        self.known = {name: old for name, old in read_memo(self.memo).items() if os.path.exists(name)}
        self.known[path] = entry
        partial = self.memo.with_name(f"{self.memo.name}.{uuid.uuid4().hex}.partial")
        try:
            self.memo.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            make_way(self.memo)
            os.replace(partial, self.memo)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()


def sha256_of(file: Path) -> str:
    """The file's sha256 in hexadecimal, always read from the disk."""
    with open_regular(Path(os.path.realpath(file))) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp_of(path: str) -> list[int]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def settled(stamp: list[int]) -> bool:
    return time.time_ns() - max(stamp[1], stamp[2]) > SETTLED_NS


def read_memo(memo: Path) -> dict[str, Entry]:
    return typed_json.note(memo, MEMO) or {}
