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
    except RecursionError:
        return ["the config's ${...} lead from value to value further than anybody follows; write values"]
    if total > MOST:
        return [f"the config becomes more than {MOST:,} characters once its ${{...}} are resolved; cut it"]
    return []


class Sizes:
    """Sizes of the values in one tree, each computed once."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = tree
        self.known: dict[Path, int | None] = {}  # None: being added up

    def of(self, path: Path, node: Any) -> int:
        if isinstance(node, dict | list):
            children = node.items() if isinstance(node, dict) else enumerate(node)
            return 1 + sum(self.at((*path, str(key)), child) for key, child in children)
        return 1 + len(str(node)) + sum(self.at(*target) for target in self.targets(path, str(node)))

    def at(self, path: Path, node: Any) -> int:
        if path not in self.known:
            self.known[path] = None
            self.known[path] = min(self.of(path, node), 10 * MOST)
        if (size := self.known[path]) is None:
            raise Circle(f"{'.'.join(path)}={shown(node)}")
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
        """The value at a path; None where there is none."""
        node: Any = self.tree
        for name in path:
            index = int(name) if name.isdecimal() and len(name) < 7 else -1
            if isinstance(node, dict):
                node = node.get(name, node.get(index))
            else:
                node = node[index] if isinstance(node, list) and -1 < index < len(node) else None
        return node
