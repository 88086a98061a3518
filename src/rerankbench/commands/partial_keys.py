"""Keys that only some of a sweep's options have: `-m reranker=none,tei reranker.url=...`.

The jobs whose option has the key take it, the others run without it, and the command says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from omegaconf import DictConfig

Partial = Mapping[str, tuple[str, ...]]


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


def take_away(config: DictConfig, keys: Collection[str]) -> None:
    """Take keys out of a job's config. An option that lacks `body` has nothing else below `body` either."""
    for group, name in {tuple(key.split(".")[:2]) for key in keys}:
        if config[group]._get_node(name) is not None:
            del config[group][name]
