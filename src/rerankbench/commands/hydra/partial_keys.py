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
    """What is to be said of them."""
    for key, options in partial.items():
        group, run = key.partition(".")[0], "runs" if len(options) == 1 else "run"
        yield f"{key} does not apply to {group}={', '.join(options)}, which {run} without it"


def take_away(config: DictConfig, keys: Collection[str]) -> None:
    """Take keys out of a job's config. An option that lacks `body` has nothing else below `body` either."""
    for group, name in {tuple(key.split(".")[:2]) for key in keys}:
        if config[group]._get_node(name) is not None:
            del config[group][name]
