"""What a server says, as a line of ours may quote it."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from rerankbench.basics.masking import masked
from rerankbench.basics.visible import visible

MOST = 300  # characters that are quoted
READ = 20_000  # bytes of which these are the beginning
HIDDEN = re.compile(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>")
NAMES = ("message", "detail", "error", "msg", "errors")  # under which servers say what is wrong


def words(data: bytes) -> str:
    """The beginning of an answer, on one line; of JSON the message in it, of HTML the text."""
    text = data[:READ].decode("utf-8", "replace")
    try:
        found = message(json.loads(data)) or text
    except (ValueError, RecursionError):
        found = html.unescape(HIDDEN.sub(" ", text)) if "<" in text else text
    line = masked(visible(" ".join(found.split())))
    return line if len(line) <= MOST else line[: MOST - 3] + "..."


def message(answer: Any) -> str:
    """What an error's JSON says; empty where it has none of the usual names."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list):
        return "; ".join(filter(None, map(message, answer[:3])))
    if isinstance(answer, dict):
        return next((said for name in NAMES if (said := message(answer.get(name)))), "")
    return ""
