"""Tensors out of a file of `torch.save`, for parts of models that come in no other form, and no unpickling.

Such a file is a zip archive: a pickle that describes a dictionary of tensors, and the bytes of each. The
pickle is read as data, instruction by instruction. Only the few instructions that describe tensors are
known, and what the pickle names is compared with names, never imported or called.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError

LARGEST = 1_000_000_000  # bytes; a projection has millions
TYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2"}
MARK = object()


def torch_tensors(file: Path) -> dict[str, Floats]:
    """The tensors of a state dictionary by name, as float32. Raises UserError for anything else."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ValueError(f"more than {LARGEST:,} bytes")
            (described,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = described.removesuffix("data.pkl")
            found = Description(archive, folder).read(archive.read(described))
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file}: not readable as a file of tensors ({type(error).__name__}: {error}); fetch it again"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise UserError(f"{file}: holds other things than tensors; fetch it again")
    return {str(name): value for name, value in found.items()}


class Description:
    """Follows what describes the tensors; `archive` holds their bytes in `folder`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self.archive, self.folder = archive, folder
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """What the description describes. Raises ValueError for an instruction that no tensor needs."""
        for instruction, argument, _ in pickletools.genops(io.BytesIO(data)):
            name = instruction.name
            if name == "STOP":
                return self.stack.pop()
            if name in CONSTANTS:
                self.stack.append(CONSTANTS[name]())
            elif name in LITERALS:
                self.stack.append(argument)
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                size = int(name[-1])
                self.stack[-size:] = [tuple(self.stack[-size:])]
            elif name in ("PROTO", "FRAME"):
                continue
            elif hasattr(self, f"on_{name.lower()}"):
                getattr(self, f"on_{name.lower()}")(argument)
            else:
                raise ValueError(f"it has the instruction {name}")
        raise ValueError("it has no end")

    def above_mark(self) -> list[Any]:
        """Take all off the stack down to the last mark."""
        place = max(number for number, item in enumerate(self.stack) if item is MARK)
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def on_mark(self, _: Any) -> None:
        self.stack.append(MARK)

    def on_global(self, named: str) -> None:
        self.stack.append(("name", named.rpartition(" ")[2]))

    def on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.above_mark()))

    def on_binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    on_long_binput = on_binput

    def on_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    on_long_binget = on_binget

    def on_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def on_setitems(self, _: Any) -> None:
        items = self.above_mark()
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def on_build(self, _: Any) -> None:
        """What a state dictionary notes besides its tensors, the version of each module."""
        self.stack.pop()

    def on_binpersid(self, _: Any) -> None:
        """(storage, type, key, device, numbers): the file that holds the bytes."""
        kind, (_, stored_as), key, _, count = self.stack.pop()
        if kind != "storage":
            raise ValueError(f"it refers to a {kind!r}")
        self.stack.append(self.storage(TYPES[stored_as], str(key), int(count)))

    def on_reduce(self, _: Any) -> None:
        arguments, (_, called) = self.stack.pop(), self.stack.pop()
        if called == "OrderedDict":
            self.stack.append({})
        elif called == "_rebuild_tensor_v2":
            self.stack.append(tensor(*arguments[:4]))
        else:
            raise ValueError(f"it wants {called} to be called")

    def storage(self, dtype: str, key: str, count: int) -> Floats:
        """Numbers of one file of the archive, as float32."""
        values = np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), dtype, count)
        if dtype != "<u2":
            return values.astype(np.float32)
        return (values.astype(np.uint32) << 16).view(np.float32)  # bf16 is the upper half of float32


CONSTANTS: dict[str, Any] = {
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "NONE": lambda: None,
}
LITERALS = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1")


def tensor(storage: Floats, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Floats:
    """A tensor that lies in its storage row by row, as those of a linear layer do."""
    size = math.prod(shape)
    usual = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    if strides != usual or offset < 0 or offset + size > len(storage):
        raise ValueError("a tensor does not lie in its storage row by row")
    return storage[offset : offset + size].reshape(shape)
