"""How reports put counts, names and figures into words, everywhere alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def counted(count: int, one: str, many: str = "") -> str:
    """1 query, 2,000 queries."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def data_line(data: Mapping[str, Any], queries: int, judged: str = "", reduced: str = "") -> str:
    """What a report is about; queries that a language model wrote are called synthetic."""
    docs, synthetic = data.get("docs"), " synthetic" if data.get("synthetic_queries") else ""
    documents = counted(docs, "document") if isinstance(docs, int) else f"{docs} documents"
    about = f"{data.get('name')}, split {data.get('split')}{reduced}: {documents}"
    return f"{about}, {queries:,}{judged}{synthetic} {'query' if queries == 1 else 'queries'}"


def signed(interval: Sequence[float], end: str = "+.4f") -> str:
    """A difference with its interval, whose ends are written as `end` says."""
    mean, low, high = interval
    return f"{mean:+.4f} [{low:{end}}, {high:{end}}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def if_known(value: float | None, form: str) -> str:
    """A figure as `form` writes it; empty where it is not known."""
    return "" if value is None else form.format(value)
