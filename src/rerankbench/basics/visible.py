r"""Texts that came from elsewhere, as they may be shown: the one way to a terminal, a log or a page.

A name in a file, an answer of a server, or a key of a config may hold what a terminal obeys (ESC, BEL,
the C1 controls, links by OSC 8), what turns a line round (U+202E and its kin), what nobody sees (zero
width), or a line break that forges a line of ours. All of these are shown by their escapes, such as \x1b.
Shown text is unchanged by being shown again.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.segment import Segment

# Unicode's categories Cc, Cf, Cs, Zl and Zp, and letters that are blank. The two joiners may stand between
# letters of scripts that need them (Persian, Hindi, emoji); elsewhere they would only hide a difference.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_JOINERS = r"(?<![^\x00-\u02ff])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\u02ff])"
_HIDDEN = re.compile(rf"[{_UNSEEN}]|{_JOINERS}")
_HIDDEN_BUT_LINES = re.compile(rf"(?![\n\t])[{_UNSEEN}]|{_JOINERS}")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: object) -> str:
    """Any value as one line in which every character is seen."""
    return _HIDDEN.sub(_escape, str(text))


def visible_lines(text: object) -> str:
    """The same, for text whose line breaks and tabs are ours or do no harm."""
    return _HIDDEN_BUT_LINES.sub(_escape, str(text))


def visible_json(text: str) -> str:
    """JSON with the same values in which every character is seen."""
    return _HIDDEN_BUT_LINES.sub(lambda match: _json_escape(match[0]), text)


def _escape(match: re.Match[str]) -> str:
    if short := _SHORT.get(match[0]):
        return short
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def say(*lines: object, error: bool = False, end: str = "\n") -> None:
    """Print each of `lines` as one line (`Lines` as they are), to stderr where it is an `error`."""
    stream = sys.stderr if error else sys.stdout
    shown = (visible_lines(line) if isinstance(line, Lines) else visible(line) for line in lines)
    text = "\n".join(shown) + end
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


class Console(RichConsole):
    """A console that takes nothing in a text for markup, and shows what must not be obeyed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        shown = (visible(one) if isinstance(one, str) else one for one in objects)
        super().print(*shown, **settings)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Whatever a renderable is made of; the terminal's own controls are rich's."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_lines(segment.text))


class Record(logging.LogRecord):
    """What is logged; texts among its arguments are one line each, whatever handler shows it."""

    def getMessage(self) -> str:
        if not isinstance(self.args, tuple):
            return visible_lines(super().getMessage())
        given = tuple(_as_shown(one) for one in self.args)
        return visible_lines(str(self.msg) % given if given else str(self.msg))


class Lines(str):
    """A text that is shown with its own line breaks: a trace, a config."""

    __slots__ = ()


def _as_shown(value: object) -> object:
    if isinstance(value, Lines):
        return visible_lines(value)
    return visible(value) if isinstance(value, str | os.PathLike | BaseException) else value
