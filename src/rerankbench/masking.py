"""Addresses without the user names, passwords and tokens that they may carry."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rerankbench.visible import visible_lines

ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
SECRET = re.compile(r"(?i)((?:token|key|secret|password|passwd|pwd|auth)[^=&]*)=[^&]*")


def masked(text: str) -> str:
    """Text with the secrets of every address in it replaced by ***."""
    return ADDRESS.sub(lambda match: mask_address(match[0]), text)


def mask_address(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:  # no valid address, but it may hold a secret all the same
        return re.sub(r"://.*@", "://***@", address)
    if "@" not in parts.netloc and not SECRET.search(parts.query):
        return address
    host = "***@" + parts.netloc.rpartition("@")[2] if "@" in parts.netloc else parts.netloc
    return urlunsplit((parts.scheme, host, parts.path, SECRET.sub(r"\1=***", parts.query), parts.fragment))


def mask_file(path: Path) -> None:
    """Mask the secrets in a text file that another tool wrote."""
    text = path.read_text(encoding="utf-8")
    if masked(text) != text:
        path.write_text(masked(text), encoding="utf-8")


class MaskedFormatter(logging.Formatter):
    """Log lines without secrets; Hydra logs every override of a sweep."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(masked(super().format(record)))
