"""The config groups that an experiment is made of, and the kinds that each has."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import rerankbench.collections.sources
import rerankbench.engine.executors
import rerankbench.first_stages
import rerankbench.rerankers
from rerankbench.collections.sources.source import Source
from rerankbench.engine.executors import Executor
from rerankbench.first_stages.embedding import Embedder
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.index import Index
from rerankbench.rerankers.reranker import Reranker


@dataclass(frozen=True)
class Group:
    """A config group: its base class, the key that tells options apart (None: one class), their package."""

    base: type
    key: str | None = None
    package: ModuleType | None = None

    @property
    def kinds(self) -> dict[str, type]:
        """The settings class of each kind, found by looking into the package and nowhere else."""
        return kinds(self)


GROUPS = {
    "dataset": Group(Source, "kind", rerankbench.collections.sources),
    "embedder": Group(Embedder),
    "index": Group(Index),
    "first_stage": Group(FirstStage, "kind", rerankbench.first_stages),
    "reranker": Group(Reranker, "family", rerankbench.rerankers),
    "executor": Group(Executor, "kind", rerankbench.engine.executors),
}


@cache
def kinds(group: Group) -> dict[str, type]:
    if group.key is None:
        return {"": group.base}
    home = group.package.__name__ if group.package else group.base.__module__
    for module in pkgutil.iter_modules(group.package.__path__) if group.package else ():
        importlib.import_module(f"{home}.{module.name}")
    classes = (cls for cls in descendants(group.base) if f"{cls.__module__}.".startswith(f"{home}."))
    return {getattr(cls, group.key): cls for cls in classes if group.key in vars(cls)}


def descendants(base: type) -> list[type]:
    below: dict[type, None] = {}
    children: list[type] = base.__subclasses__()
    for child in children:
        below |= dict.fromkeys([child, *descendants(child)])
    return list(below)
