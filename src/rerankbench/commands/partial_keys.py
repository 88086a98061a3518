"""Keys that only some of a sweep's options have: `-m reranker=none,tei reranker.url=...`.

The jobs whose option has the key take it, the others run without it, and the command says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

Partial = Mapping[str, tuple[str, ...]]


def partial_keys(
    keys: Collection[str], swept: Mapping[str, Sequence[str]], has: Callable[[str, str, str], bool]
) -> dict[str, tuple[str, ...]]:
    """The keys that some swept options of their group have and others lack, each with those that lack it.

    swept: the options of each swept group. has(group, option, key): whether an option has a key. A key that
    no option has is not among them: it is a mistake.
    """
    found = {}
    for key in keys:
        group, _, name = key.partition(".")
        options = swept.get(group, ()) if name else ()
        top = ".".join(key.split(".")[:2])  # of a key within a key, reranker.body.truncate
        lacking = tuple(option for option in options if not has(group, option, top))
        if lacking and len(lacking) < len(options):
            found[key] = lacking
    return found


def lacked(partial: Partial, choices: Mapping[str, str]) -> frozenset[str]:
    """The keys that a job does without, given the option that it has of each group."""
    return frozenset(key for key, options in partial.items() if choices.get(key.partition(".")[0]) in options)


def lines(partial: Partial) -> Iterator[str]:
    """What is to be said of them, one line for all keys that the same options lack."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for key, options in partial.items():
        groups.setdefault((key.partition(".")[0], options), []).append(key)
    for (group, options), keys in groups.items():
        does = "does" if len(keys) == 1 else "do"
        runs = f"which run{'s'[: len(options) == 1]} without"
        yield f"{', '.join(keys)} {does} not apply to {group}={', '.join(options)}, {runs}"


def without(config: DictConfig, keys: Collection[str]) -> DictConfig:
    """A job's config without some keys; nothing of it is resolved."""
    plain = OmegaConf.to_container(config, resolve=False)
    for key in keys:
        parent, _, name = key.rpartition(".")
        node = plain
        for part in parent.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(name, None)
            prune(plain, parent)
    made = OmegaConf.create(plain)
    assert isinstance(made, DictConfig)
    return made


def prune(plain: object, path: str) -> None:
    """Remove a group of keys that has none any more, unless it is one of the root."""
    parent, _, name = path.rpartition(".")
    if not parent:
        return
    node = plain
    for part in parent.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and node.get(name) == {}:
        del node[name]
        prune(plain, parent)


def rewrite(config: DictConfig, file: Path) -> None:
    """Keep the config that a job really had, by which its models can be loaded again."""
    if file.is_file():
        OmegaConf.save(config, file)
