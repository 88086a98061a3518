"""All shapes that there are: those of the files beside this one, and nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from types import ModuleType

from rerankbench.collections.reading import shapes
from rerankbench.collections.reading.shapes.shape import CollectionShape, Item, RecordShape


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(shapes.__path__))
    return tuple(importlib.import_module(f"{shapes.__name__}.{name}") for name in names)


@cache
def record_shapes() -> tuple[RecordShape, ...]:
    """The shapes of documents, by the names of their files."""
    return tuple(shape for module in _modules() for shape in getattr(module, "SHAPES", ()))


@cache
def collection_shapes() -> tuple[CollectionShape, ...]:
    """The shapes of whole collections, by the names of their files."""
    return tuple(shape for module in _modules() for shape in getattr(module, "COLLECTIONS", ()))


@cache
def list_columns() -> frozenset[str]:
    """The columns of whole collections that hold lists or objects."""
    return frozenset(column for shape in collection_shapes() for column in shape.lists)


def record_shape(items: Sequence[Item]) -> RecordShape | None:
    """The shape of a file whose first records are `items`; None where they are of none."""
    fitting = (shape for shape in record_shapes() if all(map(shape.fits, items)))
    return next(fitting, None) if items else None


def collection_shapes_of(items: Sequence[Item]) -> list[CollectionShape]:
    """The shapes that a collection of these first records may have."""
    return [shape for shape in collection_shapes() if items and all(map(shape.fits, items))]
