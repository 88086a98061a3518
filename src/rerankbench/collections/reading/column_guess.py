"""Which column of an unknown table holds what, guessed for the setting that a message proposes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from rerankbench.collections.reading.layout import Layout

_NUMBER = re.compile(
    r"\s*([+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity))\s*", re.IGNORECASE
)
_PLAIN_WORD = re.compile(r"[A-Za-z_][\w./-]*|[0-9]{1,9}", re.ASCII)

# Parts of names that tell a role, for columns that no known name fits.
_HINTS = {
    "query": re.compile(r"quer|topic|question|\bq", re.IGNORECASE),
    "document": re.compile(r"doc|passage|article|corpus|url|\bp_?id", re.IGNORECASE),
    "grade": re.compile(r"rel|grade|label|judg", re.IGNORECASE),
    "score": re.compile(r"score|sim|point", re.IGNORECASE),
    "text": re.compile(r"text|body|content|passage|abstract", re.IGNORECASE),
}

Rows = Sequence[Sequence[str]]


def cure(names: Sequence[str], rows: Rows, layout: Layout) -> str | None:
    """Settings that name the columns of `rows`, as one types them; None where that cannot be done."""
    rows = [cells for cells in rows if len(cells) == len(names)]
    found = {role: list(names).index(name) for role, name in layout.find(names).items()}
    places = found | _guess(names, found, rows, layout)
    required = _required(layout)
    if any(role not in places or role not in layout.keys for role in required if role not in found):
        return None
    asked = [role for role in required if role not in found]
    return " ".join(setting(layout.keys[role], names[places[role]]) for role in asked) or None


def setting(key: str, value: str) -> str:
    """A setting as one types it in a shell, quoted where the shell or Hydra asks for it."""
    if _PLAIN_WORD.fullmatch(value):
        return f"{key}={value}"
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'")
    word = f"{key}='{escaped}'"
    return f'"{word}"' if not set('"$`!') & set(word) and "\\\\" not in value else shlex.quote(word)


def unclear_problems(columns: Sequence[str], layout: Layout) -> list[str]:
    """One message for each role that several columns may hold, with the settings that say which."""
    found = {role: layout.candidates(role, columns) for role in layout.roles if role in layout.keys}
    return [
        f"{len(names)} columns may hold the {role}, {', '.join(map(repr, names))}; say which: "
        f"{' or '.join(setting(layout.keys[role], name) for name in names)}"
        for role, names in found.items()
        if len(names) > 1
    ]


def is_number(cell: str) -> bool:
    """Whether a cell is meant as a number, a decimal comma and NaN included."""
    return _NUMBER.fullmatch(cell) is not None


def _required(layout: Layout) -> list[str]:
    return [role for role in layout.roles if role not in layout.optional]


def _guess(names: Sequence[str], found: dict[str, int], rows: Rows, layout: Layout) -> dict[str, int]:
    """A column for each required role that has none."""
    values = {at: [cells[at] for cells in rows] for at in range(len(names)) if at not in found.values()}
    guessed: dict[str, int] = {}
    lacking = [role for role in _required(layout) if role not in found]
    for role in sorted(lacking, key=lambda role: role not in layout.numbers):  # numbers are surest
        hinted = {
            at: cells for at, cells in values.items() if role in _HINTS and _HINTS[role].search(names[at])
        }
        chosen = _best(role, hinted or values, layout)
        if chosen is not None:
            guessed[role] = chosen
            del values[chosen]
    return guessed


def _best(role: str, values: dict[int, list[str]], layout: Layout) -> int | None:
    """The column that may hold a role: texts are long, ids differ, there are fewer queries than documents."""
    values = {at: cells for at, cells in values.items() if not _says_nothing(cells)} or values
    if role in layout.numbers:
        return max((at for at, cells in values.items() if all(map(is_number, cells))), default=None)
    longest = max(values, key=lambda at: (sum(map(len, values[at])), at), default=None)
    if role == "text":
        return longest
    varied = {at: len(set(cells)) for at, cells in values.items() if len(set(cells)) > 1}
    kinds = varied or {at: len(set(cells)) for at, cells in values.items()}
    if role == "query":
        return min(kinds, key=lambda at: kinds[at], default=None)
    others = {at: count for at, count in kinds.items() if role != "id" or at != longest} or kinds
    return max(others, key=lambda at: others[at], default=None)


def _says_nothing(cells: list[str]) -> bool:
    """Whether a column is TREC's second, which is the same word everywhere."""
    return bool(cells) and set(cells) <= {"0", "Q0", "q0"}
