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
from rerankbench.basics import installed
from rerankbench.collections.sources.source import Source
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.executors.executor import Executor
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.index import Index
from rerankbench.rerankers.reranker import Reranker


@dataclass(frozen=True)
class Group:
    """A config group: its base class, the key that tells options apart (None: one class), their package."""

    name: str
    base: type
    key: str | None = None
    package: ModuleType | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds that there are, those of other installed packages among them; imports none of these."""
        return sorted({*own_kinds(self), *installed.names(self.name)})

    @property
    def classes(self) -> dict[str, type]:
        """The settings class of each kind, of installed packages' those that were asked for."""
        return installed.loaded(self.name) | own_kinds(self)

    def has(self, kind: str) -> bool:
        """Whether there is such a kind; an installed one is imported now.

        Raises UserError where that one cannot be imported.
        """
        if kind not in own_kinds(self) and kind in installed.names(self.name):
            installed.load(self.name, kind, self.base, str(self.key))
        return kind in self.classes


GROUPS = {
    group.name: group
    for group in (
        Group("dataset", Source, "kind", rerankbench.collections.sources),
        Group("embedder", Embedder),
        Group("index", Index),
        Group("first_stage", FirstStage, "kind", rerankbench.first_stages),
        Group("reranker", Reranker, "family", rerankbench.rerankers),
        Group("executor", Executor, "kind", rerankbench.engine.executors),
    )
}


@cache
def own_kinds(group: Group) -> dict[str, type]:
    """The settings class of each kind that is found in the group's package, and nowhere else."""
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
