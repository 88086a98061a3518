"""Content-addressed rows on disk: what was computed once is never computed again, and never stale.

A `RowStore` maps 32-byte keys (hashes of texts) to rows of float32. It lives in a folder named after an
identity: the hash of everything that determines the numbers besides the texts. Rows arrive in shards,

    <folder>/<number>-<sha256 of the bytes>.shard

each written to a temporary name, synced and renamed, so a killed process leaves whole shards and at most
one `.tmp` file. A shard whose bytes do not hash to its name, or that is no file, is set aside as
`.damaged`. Shards are only ever added: any number of processes may write at the same time. Where two wrote
the same key the lower number wins, so what was once read stays what is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import re
import tokenize
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.regular_file import NotRegular, open_regular, read_regular
from rerankbench.engine.store import disk
from rerankbench.engine.store.aside import make_way, set_aside

log = logging.getLogger(__name__)

Keys = NDArray[np.bytes_]
KEY = np.dtype("S32")
NAME = re.compile(r"\d{8}-[0-9a-f]{64}\.shard")
ROOM = 10**6  # numbers that are freed when there are none left
LAST = 10**8  # number of a shard, for whose name eight digits are too few
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '([<|][a-zA-Z]\d{1,3})', 'fortran_order': False, "
    rb"'shape': (\(\d{1,15},(?: \d{1,15})?\)), \}\s*"
)
# What numpy says of a header that it cannot make sense of.
HEADER_FAULTS = (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError,
                 tokenize.TokenError)  # fmt: skip

# Part of every identity of computed numbers. Raised whenever a change of this program gives other numbers for
# the same inputs, be it in their last bits: what an older version stored is then left alone.
ARITHMETIC = 5
INT8 = 2  # the same of what precision=int8 alone does


def arithmetic(precision: str) -> dict[str, Any]:
    """The parts of an identity that say how its numbers are computed."""
    own = {"int8": INT8} if precision == "int8" else {}
    return {"arithmetic": ARITHMETIC, "precision": precision, **own}


def identity(parts: Mapping[str, Any]) -> str:
    """Hex sha256 of `parts` as canonical JSON: the name of everything that `parts` determines."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def text_digests(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """16-byte BLAKE2b digest of each text, as S16."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
    return np.array([hashlib.blake2b(text, digest_size=16).digest() for text in encoded], dtype="S16")


def text_keys(texts: Iterable[str]) -> Keys:
    """32-byte key of each single text (an embedding's key)."""
    digests = text_digests(texts)
    return pair_keys(digests, np.zeros_like(digests))


def pair_keys(first: NDArray[np.bytes_], second: NDArray[np.bytes_]) -> Keys:
    """Keys of pairs: the two S16 digests side by side. Vectorised: millions of pairs cost no hashing."""
    pairs = np.empty(len(first), dtype=[("first", "S16"), ("second", "S16")])
    pairs["first"], pairs["second"] = first, second
    return pairs.view(KEY)


class NotFinite(UserError, FloatingPointError):
    """A model that gives no numbers: its weights, or a precision that is too narrow for them."""


@dataclass(frozen=True)
class Shard:
    """One file of rows: `columns` [C] names the values' columns, `keys` [N], `values` float32 [N, C]."""

    columns: NDArray[np.int32]
    keys: Keys
    values: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        for array in (self.columns, self.keys, self.values):
            np.save(buffer, array, allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Shard:
        """The shard that `to_bytes` gave these bytes. Raises ValueError for any others."""
        columns, start = array_of(data, 0, np.dtype(np.int32), 1)
        keys, start = array_of(data, start, KEY, 1)
        values, _ = array_of(data, start, np.dtype(np.float32), 2)
        if values.shape != (len(keys), len(columns)):
            raise ValueError("its arrays do not belong together")
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        return cls(columns, keys, values)


def array_of(data: bytes, start: int, dtype: np.dtype[Any], dimensions: int) -> tuple[NDArray[Any], int]:
    """The array that numpy saved at a place in `data`, and where it ends.

    A header is a stranger's word: nothing is allocated that the bytes do not hold, and nothing evaluated.
    Raises ValueError for anything but a whole array of this type.
    """
    size = int.from_bytes(data[start + 8 : start + 10], "little")
    header = HEADER.fullmatch(data[start + 10 : start + 10 + size])
    if data[start : start + 8] != MAGIC or not header or header[1].decode() != dtype.str:
        raise ValueError("its arrays do not belong together")
    shape = tuple(int(number) for number in re.findall(rb"\d+", header[2]))
    first, count = start + 10 + size, math.prod(shape)
    if len(shape) != dimensions or first + count * dtype.itemsize > len(data):
        raise ValueError("its arrays do not belong together")
    array = np.frombuffer(data, dtype, count, first).reshape(shape)
    return array, first + count * dtype.itemsize


class RowStore:
    """Rows of float32 under text keys, in `folder`; `parts` is written beside them for people to read."""

    def __init__(self, folder: Path, parts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.parts = parts

    def lookup(self, keys: Keys, columns: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values [N, C] of the asked columns and which keys were found with every one of them [N]."""
        values = np.full((len(keys), len(columns)), np.nan, np.float32)
        missing = np.ones(values.shape, bool)
        order = np.argsort(keys, kind="stable")
        for shard in self._shards():
            self._take(shard, keys, order, columns, values, missing)
        return values, missing.sum(axis=1) == 0

    def describe(self) -> None:
        """Write identity.json, for people; what is there stays."""
        if self.folder.is_symlink():  # it would lead out of the store
            make_way(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        description = self.folder / "identity.json"
        if not description.exists():
            write_atomic(description, json.dumps(self.parts, indent=2, ensure_ascii=False).encode())

    @staticmethod
    def _take(
        shard: Shard,
        keys: Keys,
        order: NDArray[np.int64],
        columns: Sequence[int],
        values: NDArray[np.float32],
        missing: NDArray[np.bool_],
    ) -> None:
        """Fill what is still missing from one shard (earlier shards have precedence)."""
        places = {int(column): place for place, column in enumerate(shard.columns)}
        shared = [(target, places[column]) for target, column in enumerate(columns) if column in places]
        if not shared or not len(shard.keys):
            return
        by_key = np.argsort(shard.keys, kind="stable")
        ranked = shard.keys[by_key]
        position = np.minimum(np.searchsorted(ranked, keys[order]), len(ranked) - 1)
        hit = ranked[position] == keys[order]
        rows, sources = order[hit], by_key[position[hit]]
        for target, source in shared:
            fresh = missing[rows, target]
            values[rows[fresh], target] = shard.values[sources[fresh], source]
            missing[rows[fresh], target] = False

    def append(self, keys: Keys, values: NDArray[np.float32], columns: Sequence[int]) -> None:
        """Write one shard durably: when this returns, the rows survive a kill and a power cut."""
        if not np.isfinite(values).all():
            what = "the model's values are not finite (NaN or infinite), so none of them is kept"
            raise NotFinite(f"{what}; try precision=fp32, or another copy of the model")
        shard = Shard(np.asarray(columns, np.int32), keys, np.ascontiguousarray(values, np.float32))
        data = shard.to_bytes()
        self.describe()
        with append_lock(self.folder):  # two writers with one number would have no precedence
            write_atomic(self.folder / f"{self._next():08d}-{hashlib.sha256(data).hexdigest()}.shard", data)

    def _next(self) -> int:
        """The number after all others; shards whose numbers leave no room for more are set aside."""
        names = shard_names(self.folder)
        if names and int(names[-1][:8]) + 1 == LAST:
            for name in [name for name in names if int(name[:8]) >= LAST - ROOM]:
                set_aside(self.folder / name, ValueError("its number leaves no room for others"))
                names.remove(name)
        return 1 + max((int(name[:8]) for name in names), default=0)

    def _shards(self) -> Iterable[Shard]:
        """All shards in order; then those that a compaction put in place of ones that were just listed."""
        seen: set[str] = set()
        while names := [name for name in shard_names(self.folder) if name not in seen]:
            seen.update(names)
            for name in names:
                if shard := read_shard(self.folder / name):
                    yield shard


def shard_names(folder: Path) -> list[str]:
    """The names of the shards in a folder, in order of precedence; what else is called so is set aside."""
    try:
        found = [] if folder.is_symlink() else os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = [name for name in found if name.endswith(".shard") and not name.startswith(".")]
    for name in names:
        if not NAME.fullmatch(name):
            set_aside(folder / name, ValueError("its name is not that of a shard"))
    return sorted(name for name in names if NAME.fullmatch(name))


def append_lock(folder: Path) -> FileLock:
    """The lock of those who add shards to a folder."""
    make_way(folder / "append.lock")
    return FileLock(folder / "append.lock")


def read_shard(path: Path) -> Shard | None:
    """A whole shard, or None after setting a damaged one aside."""
    try:
        data = read_regular(path)
        if hashlib.sha256(data).hexdigest() != path.stem.split("-")[-1]:
            raise ValueError("its bytes do not match the hash in its name")
        return Shard.from_bytes(data)
    except FileNotFoundError:  # pruned by another process since it was listed
        return None
    except NotRegular as error:
        set_aside(path, ValueError(error.strerror))
    except ValueError as error:
        set_aside(path, error)
    return None


def write_array(folder: Path, name: str, array: NDArray[Any]) -> Path:
    """Write an array as `<name>-<sha256>.npy`, in place of others; the hash covers the file's bytes.

    `name` has no characters that mean something in a file pattern.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    data = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()}.npy"
    write_atomic(path, data)
    for other in set(folder.glob(f"{name}-*.npy")) - {path}:  # those who mapped it keep what they mapped
        make_way(other)
        other.unlink(missing_ok=True)
    return path


def read_array(folder: Path, name: str) -> NDArray[Any] | None:
    """The memory-mapped array that `write_array` wrote, or None; a damaged one is set aside."""
    for path in sorted(folder.glob(f"{name}-*.npy")):
        try:
            with open_regular(path) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.stem.split("-")[-1]:
                    raise ValueError("its bytes do not match the hash in its name")
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:  # replaced or pruned by another process since it was listed
            continue
        except NotRegular as error:
            set_aside(path, ValueError(error.strerror))
        except HEADER_FAULTS as error:
            set_aside(path, error)
    return None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that any reader at any moment, even after a crash, sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        make_way(path)
        os.replace(temporary, path)
    except OSError as error:
        raise disk.named(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
