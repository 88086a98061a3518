"""Problems that say the same of several places, told once."""

from __future__ import annotations

from collections.abc import Iterable

NAMED = 3  # further places


def folded(problems: Iterable[str]) -> list[str]:
    """One line for all problems `PLACE: WHAT` of the same WHAT: the first, how many more, where."""
    by_what: dict[str, list[str]] = {}
    for problem in dict.fromkeys(problems):
        place, colon, what = problem.partition(": ")
        by_what.setdefault(what if colon else problem, []).append(place)
    return [line(what, places) for what, places in by_what.items()]


def line(what: str, places: list[str]) -> str:
    first = f"{places[0]}: {what}" if places[0] != what else what
    more = len(places) - 1
    if not more:
        return first
    named = ", ".join(places[1 : NAMED + 1]) + (", ..." if more > NAMED else "")
    return f"{first} (and {more:,} more of this kind: {named})"
