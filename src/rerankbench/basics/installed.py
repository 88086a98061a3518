"""Options of other installed packages: rerankers, collections and first stages, found by entry points.

A package offers a class under a name, which is an option of the group: `reranker=NAME`. Names are read off
what is installed; a package's code is imported when a command or a config asks for one of its names, never
because of any other. Nothing else can be asked for: a config names an installed option, not code.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from rerankbench.basics.complaints import shown
from rerankbench.basics.errors import UserError

ENTRY_POINTS = {
    "reranker": "rerankbench.rerankers",
    "dataset": "rerankbench.datasets",
    "first_stage": "rerankbench.first_stages",
}
NAME = re.compile(r"[\w.-]+")
LOADED: dict[tuple[str, str], type] = {}


def names(group: str) -> list[str]:
    """The options that installed packages offer for a group; imports none of them."""
    return sorted(offered(tuple(sys.path)).get(group, {}))


def package_of(group: str, name: str) -> str:
    """Which installed packages offer an option, as people know them."""
    found = offered(tuple(sys.path))[group][name]
    return ", ".join(sorted({point.dist.name if point.dist else point.value for point in found}))


@cache
def offered(path: tuple[str, ...]) -> dict[str, dict[str, list[EntryPoint]]]:
    """By group and name, what the packages on the path offer; of equal offers one."""
    found: dict[str, dict[str, list[EntryPoint]]] = {}
    for group, title in ENTRY_POINTS.items():
        for point in entry_points(group=title):
            same = found.setdefault(group, {}).setdefault(point.name, [])
            if point.value not in [other.value for other in same]:
                same.append(point)
    return found


def loaded(group: str) -> dict[str, type]:
    """The classes that have been asked for so far, by name."""
    return {name: cls for (of, name), cls in LOADED.items() if of == group}


def load(group: str, name: str, base: type, key: str) -> type:
    """The class behind an option, imported when it is asked for first; its `key` becomes the option's name.

    Raises UserError naming the package where it cannot be imported, or is no kind of `base`.
    """
    if (group, name) not in LOADED:
        LOADED[group, name] = imported(group, name, base, key)
    return LOADED[group, name]


def imported(group: str, name: str, base: type, key: str) -> type:
    points = offered(tuple(sys.path))[group][name]
    where = f"{group}={name}: offered by the installed package {package_of(group, name)}"
    if len(points) > 1:
        raise UserError(f"{where}, each its own; uninstall all but one")
    if not NAME.fullmatch(name):
        raise UserError(f"{where}; a name may hold letters, digits, dots, dashes and underscores only")
    try:
        cls: Any = points[0].load()
    except Exception as error:  # whatever foreign code may raise on import
        told = shown(" ".join(f"{type(error).__name__}: {error}".split()))
        raise UserError(f"{where}, which cannot be imported: {told}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{where}, but {points[0].value} is not a {base.__name__}; ask the package's authors")
    if not hasattr(cls, "__dataclass_fields__") or inspect.isabstract(cls):
        lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        what = f"lacks {lacking}" if lacking else "is not a dataclass"
        raise UserError(f"{where}, but {points[0].value} {what}; ask the package's authors")
    if (said := vars(cls).get(key, name)) != name:
        raise UserError(
            f"{where}, but its class says {key} = {said!r}; the entry point's name and its "
            f"{key} have to be the same"
        )
    setattr(cls, key, name)
    return cls


def mentioned(group: str, texts: Iterable[str]) -> list[str]:
    """The offered names that occur in some texts: what may be asked for."""
    said = {word for text in texts for word in NAME.findall(text)}
    return [name for name in names(group) if name in said]
