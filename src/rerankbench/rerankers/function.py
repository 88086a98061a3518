"""A function of the user's own: a query and its texts in, scores out."""

from __future__ import annotations

import importlib
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rerankbench.basics.arrays import Floats
from rerankbench.basics.complaints import shown
from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.reranker import Origin, Reranker
from rerankbench.rerankers.scorer import Scorer

Scoring = Callable[[str, Sequence[str]], Any]

PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Function(Reranker):
    """Calls `function(query, texts)`, which returns one number for each text, the higher the better.

    function: MODULE:NAME; a module is looked for in the current folder as well.
    name, version: what identifies it, told by whoever knows when it changes; only with both are scores kept.
    allow_code: import and call it, with all your rights; counts only on the command line.
    """

    function: str = "???"
    name: str | None = None
    version: str | None = None
    allow_code: bool = False

    family: ClassVar[str] = "function"

    def problems(self) -> list[str]:
        found = []
        if self.function != "???" and not PLACE.fullmatch(self.function):
            found.append(f"reranker.function={shown(self.function)}: give MODULE:NAME, such as mine:scores")
        if not self.allow_code:
            found.append(
                "reranker.allow_code=false: a function runs with all your rights; if you trust it, add "
                "reranker.allow_code=true"
            )
        for key in ("name", "version"):
            value = getattr(self, key)
            if value is not None and not (value.strip() and value.isprintable()):
                found.append(f"reranker.{key}={value!r}: give a plain text, or leave it out")
        return found

    @property
    def keeps(self) -> bool:
        return self.name is not None and self.version is not None

    @property
    def title(self) -> str | None:
        return self.name

    def settings(self) -> dict[str, Any]:
        """What its author says of it; where it lies changes no score."""
        return {"name": self.name, "version": self.version}

    def origin(self, cache_dir: Path) -> Origin:
        named = f"{self.name} {self.version}" if self.keeps else f"unnamed {uuid.uuid4()}"
        return Origin(named, self.name or self.function)

    def identity(self, origin: Origin, precision: str) -> dict[str, Any]:
        return super().identity(origin, "its own")

    def rehearse(self, origin: Origin, hardware: Hardware) -> None:
        self.found()

    def load(self, origin: Origin, hardware: Hardware) -> Scorer:
        return FunctionScorer(self.found(), origin.label)

    def found(self) -> Scoring:
        """The function itself. Raises UserError where there is none."""
        module, _, name = self.function.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            found: Any = reduce(getattr, name.split("."), importlib.import_module(module))
        except Exception as error:  # whatever the user's module may raise
            told = shown(" ".join(f"{type(error).__name__}: {error}".split()))
            raise UserError(f"reranker.function={self.function}: cannot be imported ({told})") from error
        if not callable(found):
            raise UserError(f"reranker.function={self.function}: is not a function")
        scoring: Scoring = found
        return scoring


@dataclass(frozen=True)
class Given(Function):
    """A function that was handed over in Python."""

    call: Scoring | None = None

    def found(self) -> Scoring:
        assert self.call is not None
        return self.call


class FunctionScorer(Scorer):
    """Calls the function once for each query of a batch."""

    batch = 256

    def __init__(self, call: Scoring, label: str) -> None:
        self.call, self.label = call, label

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> Floats:
        return np.array(list(self.scores(queries, documents)), np.float32)[:, None]

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Iterator[float]:
        for query, some in groupby(zip(queries, documents, strict=True), key=lambda pair: pair[0]):
            texts = [text for _, text in some]
            yield from numbers(self.call(query, texts), len(texts), self.label)


def numbers(answer: Any, count: int, label: str) -> list[float]:
    """What a function returned, as `count` numbers. Raises UserError where it is anything else."""
    try:
        found = np.asarray(answer if hasattr(answer, "__array__") else list(answer), np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{label}: returned {answer!r:.60}, not a number for each text ({error})") from error
    if found.shape != (count,):
        raise UserError(
            f"{label}: returned {list(found.shape)} numbers for {count} texts; one each, in order"
        )
    return [float(value) for value in found]
