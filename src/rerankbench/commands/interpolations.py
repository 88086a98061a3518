"""How large a config becomes when its references are followed: without following them.

`a: ${b}${b}` and `b: ${c}${c}` double a text with every line, and `a: ${a}` never ends. Here the size of each
value is added up once, with what it refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rerankbench.basics.complaints import shown

MOST = 1_000_000  # characters and values of one config, once resolved
REFERENCE = re.compile(r"\$\{([^$]*)")
# Resolvers whose arguments are keys; those of others are values.
OF_KEYS = ("oc.select", "oc.dict.keys", "oc.dict.values", "oc.deprecated")
WORD = re.compile(r"\.*[\w/@-]+(?:\.[\w/@-]+|\[[\w/@-]+\])*")

Path = tuple[str, ...]


class Circle(Exception):
    """A value that refers to itself."""


def problems(tree: dict[str, Any]) -> list[str]:
    """Why the values of a config cannot be resolved, one line; `tree` holds them as written."""
    try:
        total = Sizes(tree).of((), tree)
    except Circle as error:
        return [f"{error}: it refers to itself; write a value"]
    if total > MOST:
        return [f"the config becomes more than {MOST:,} characters once its ${{...}} are resolved; cut it"]
    return []


class Sizes:
    """Sizes of the values in one tree, each computed once."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = tree
        self.known: dict[Path, int | None] = {}  # None: being added up

    def of(self, path: Path, node: Any) -> int:
        if isinstance(node, dict):
            return 1 + sum(self.at((*path, str(key)), child) for key, child in node.items())
        if isinstance(node, list):
            return 1 + sum(self.at((*path, str(key)), child) for key, child in enumerate(node))
        if not isinstance(node, str) or "${" not in node:
            return 1 + len(str(node))
        return 1 + len(node) + sum(self.at(*target) for target in self.targets(path, node))

    def at(self, path: Path, node: Any) -> int:
        if path in self.known:
            size = self.known[path]
            if size is None:
                raise Circle(f"{'.'.join(path)}={shown(node)}")
            return size
        self.known[path] = None
        self.known[path] = size = min(self.of(path, node), 10 * MOST)
        return size

    def targets(self, path: Path, text: str) -> Iterator[tuple[Path, Any]]:
        """Everything in the tree that a text may refer to, relative to the value at `path`."""
        for reference in REFERENCE.findall(text):
            resolver, colon, _ = reference.partition(":")
            if colon and resolver.strip() not in OF_KEYS and "}" not in resolver:
                continue
            for word in WORD.findall(reference):
                dots = len(word) - len(word.lstrip("."))
                base = path[: len(path) - dots] if dots else ()
                names = tuple(part for part in re.split(r"[.\[\]]", word[dots:]) if part)
                for whole in {(*base, *names), names}:
                    found = self.find(whole)
                    if found is not None and whole != ():
                        yield whole, found

    def find(self, path: Path) -> Any:
        """The value at a path, or the reference on the way to it that stands for a whole group."""
        node: Any = self.tree
        for name in path:
            if isinstance(node, dict):
                node = next((child for key, child in node.items() if str(key) == name), None)
            elif isinstance(node, list):
                node = node[int(name)] if name.isdecimal() and int(name) < len(node) else None
            else:
                return None
        return node
