"""Scores out of a server's answer, by the index that it gives each of them.

Answers come sorted by score, so that their order says nothing about whose score is whose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerankbench.basics.arrays import Floats


class Malformed(ValueError):
    """An answer that is not one number for each document; says why."""


@dataclass(frozen=True)
class Places:
    """Where an answer has what: dotted paths, of which an empty one is the whole.

    `results`: the list; in each of its entries `index`, the document's number in the request (None: entries
    are in the order of the documents), and `score`.
    """

    results: str = "results"
    index: str | None = "index"
    score: str = "relevance_score"

    def scores(self, answer: Any, count: int) -> Floats:
        """Scores [count] of the documents of a request. Raises Malformed."""
        entries = at(answer, self.results)
        if not isinstance(entries, list):
            where = f"under {self.results}" if self.results else "in it"
            raise Malformed(f"there is no list of scores {where}")
        if len(entries) != count:
            raise Malformed(f"{len(entries)} scores for {count} documents")
        found = np.full(count, np.nan, np.float32)
        for place, entry in enumerate(entries):
            index = place if self.index is None else number_of(at(entry, self.index), count)
            if not math.isnan(found[index]):
                raise Malformed(f"two scores for document {index} of {count}")
            found[index] = score_of(at(entry, self.score), index)
        return found


def at(answer: Any, path: str) -> Any:
    """What lies at a dotted path; None where there is nothing."""
    for name in path.split(".") if path else ():
        if isinstance(answer, dict):
            answer = answer.get(name)
        elif isinstance(answer, list) and name.isdecimal() and int(name) < len(answer):
            answer = answer[int(name)]
        else:
            return None
    return answer


def number_of(index: Any, count: int) -> int:
    """The number of a document in its request. Raises Malformed."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise Malformed(f"an entry has the index {index!r:.40}, which is not a whole number")
    if not 0 <= index < count:
        raise Malformed(f"a score for document {index!r:.40}, while there are {count}, counted from 0")
    return index


def score_of(score: Any, index: int) -> np.float32:
    """A score as it is kept. Raises Malformed."""
    if isinstance(score, int | float) and not isinstance(score, bool):
        try:
            with np.errstate(over="ignore"):
                found = np.float32(score)
        except OverflowError:
            found = np.float32(np.inf)
        if np.isfinite(found):
            return found
    raise Malformed(f"document {index} has the score {score!r:.40}, which is not a finite number")
