"""All shapes that there are: those of the files beside this one, and nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from rerankbench.collections.sources import shapes
from rerankbench.collections.sources.shapes.shape import Item, RecordShape


@cache
def record_shapes() -> tuple[RecordShape, ...]:
    """The shapes of documents, by the names of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(shapes.__path__))
    modules = [importlib.import_module(f"{shapes.__name__}.{name}") for name in names]
    return tuple(shape for module in modules for shape in getattr(module, "SHAPES", ()))


def record_shape(items: Sequence[Item]) -> RecordShape | None:
    """The shape of a file whose first records are `items`; None where they are of none."""
    fitting = (shape for shape in record_shapes() if all(map(shape.fits, items)))
    return next(fitting, None) if items else None
