"""Values of settings as they stand in the names of arms: short, and different where the values are."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from itertools import count, takewhile
from typing import Any

_LONGEST = 32
_EXCERPT = 24
_PATHS = ("path", "model")  # keys whose values are paths, or ids that look like paths


def labels(key: str, values: Iterable[Any]) -> dict[str, str]:
    """For each value, as a string, its label among these: a path's tail, an excerpt of a long text."""
    texts = list(dict.fromkeys(map(str, values)))
    short = _tails(texts) if key.rpartition(".")[2] in _PATHS else _excerpts(texts)
    return {text: _quoted(label) for text, label in short.items()}


def label(key: str, value: Any) -> str:
    """The label of one value whose likes are not known."""
    text = str(value)
    if len(text) <= _LONGEST or key.rpartition(".")[2] in _PATHS:
        return labels(key, [text])[text]
    return f"{_quoted(text[:_EXCERPT].strip())}~{zlib.crc32(text.encode()) & 0xFFFF:04x}"


def _tails(texts: list[str]) -> dict[str, str]:
    """As few last parts of each path as tell it from the others."""
    parts = {text: [part for part in re.split(r"[/\\]", text) if part] or [text] for text in texts}
    found = {}
    for text, own in parts.items():
        for size in count(1):
            tail = own[-size:]
            if size >= len(own) or [other[-size:] for other in parts.values()].count(tail) == 1:
                break
        found[text] = "/".join(tail)
    return found if len(set(found.values())) == len(found) else {text: text for text in texts}


def _excerpts(texts: list[str]) -> dict[str, str]:
    """Long texts from the word on in which they begin to differ, as much as tells them apart."""
    lines = {text: " ".join(text.split()) for text in texts}
    if all(len(line) <= _LONGEST for line in lines.values()):
        return _or_whole(lines)
    long = [line for line in lines.values() if len(line) > _LONGEST]
    columns = zip(*long, strict=False)
    same = "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, columns))
    start = same.rfind(" ") + 1 if len(long) > 1 else 0
    for size in (_EXCERPT, 2 * _EXCERPT, 4 * _EXCERPT):
        found = {text: _cut(line, start, size) for text, line in lines.items()}
        if len(set(found.values())) == len(found):
            return found
    return _or_whole(lines)


def _or_whole(lines: dict[str, str]) -> dict[str, str]:
    return lines if len(set(lines.values())) == len(lines) else {text: repr(text) for text in lines}


def _cut(line: str, start: int, size: int) -> str:
    if len(line) <= _LONGEST:
        return line
    before = "..." if start else ""
    after = "..." if len(line) > start + size else ""
    return f"{before}{line[start : start + size].strip()}{after}"


def _quoted(text: str) -> str:
    return text if text and not re.search(r"[\s@+]", text) else f"'{text}'"
