"""What the simulations of this folder share: their words, and a table for each population."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Row = Callable[[Any, int, int], list[str]]  # population, queries, trials


def tables(
    about: str | None,
    populations: Mapping[str, Callable[[np.random.Generator], Any]],
    headings: Sequence[str],
    row: Row,
    *,
    trials: int,
    queries: Sequence[int],
) -> None:
    """Print the table of each population that the command line asks for; about: what `--help` says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=trials)
    parser.add_argument("--queries", type=int, nargs="*", default=queries)
    parser.add_argument("--only", default="", help="populations whose name has this in it")
    words = parser.parse_args()
    for number, (name, make) in enumerate(populations.items()):
        if words.only not in name:
            continue
        population = make(np.random.default_rng(number))
        print(f"\n### {name}\n\n| {' | '.join(headings)} |\n|{'---:|' * len(headings)}")
        for count in words.queries:
            print(f"| {' | '.join(row(population, count, words.trials))} |", flush=True)


def means(queries: int, rows: Sequence[Sequence[float]]) -> list[str]:
    """A row of the table: the number of queries, and the means over those trials that have a value."""
    table = np.array(rows, dtype=float)
    found = [np.nan if np.isnan(column).all() else np.nanmean(column) for column in table.T]
    return [f"{queries:,}", *("" if np.isnan(mean) else f"{mean:.3f}" for mean in found)]
