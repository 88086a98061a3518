"""What was noticed about a collection or a run: how often, where, and what it does to the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Severity = Literal["error", "warning", "info"]

_SHOWN = 80
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One kind of oddity. `what` is a plural noun phrase, `effect` what it does to the figures.

    `examples` hold at most a few ids or texts, already fit for a terminal (see `shown`).
    """

    severity: Severity
    what: str
    count: int
    examples: tuple[str, ...] = ()
    effect: str = ""

    def line(self) -> str:
        """The finding as one plain line: `documents without text: 2 ('471', '995'); nothing finds them`."""
        where = f" ({', '.join(self.examples)}{', ...' if self.count > len(self.examples) else ''})"
        effect = f"; {self.effect}" if self.effect else ""
        return f"{self.what}: {self.count:,}{where if self.examples else ''}{effect}"


def shown(value: object, width: int = _SHOWN) -> str:
    """A value from a file as it may be printed: quoted, cut to `width`, control characters escaped."""
    text = repr(value[: width + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= width else text[: width - 3] + "..."


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    return shown(" ".join(str(error).split()))


def examples(values: Sequence[str] | pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
    """The first few of `values`, fit for a message."""
    first = values[:_EXAMPLES]
    return tuple(shown(value, 40) for value in (first if isinstance(first, Sequence) else first.to_pylist()))


def of_ids(
    severity: Severity, what: str, ids: Sequence[str] | pa.Array | pa.ChunkedArray, effect: str
) -> Finding:
    """A finding about some ids, with the first of them as examples."""
    return Finding(severity, what, len(ids), examples(ids), effect)


def noticed(*found: Finding) -> list[Finding]:
    """Those of the findings that there is anything to say about."""
    return [one for one in found if one.count]
