"""Addresses without the user names, passwords and tokens that they may carry.

In free text an address ends at a blank or a quote, which passwords may hold. So whatever is known to be an
address (a value of the config, a word of the command line) is remembered whole and in its parts, as libraries
and YAML write them, and each of these is replaced wherever it turns up.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.visible import Record, visible_lines

MASK = "***"

ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
# The value of a key that usually holds an address, however wrong that is written.
PLACES = re.compile(r"[+~]*(tracking\.uri|hydra\.sweeper\.storage|executor\.address)=(.*)", re.DOTALL)
SECRET = re.compile(r"(?i)token|key|secret|pass|pwd|auth|sig|credential|session|jwt|bearer|code")
SETTINGS = re.compile(r"([?&#;])(?=[^?&#;=]*=)")
TOKEN_ONLY = "databricks"  # MLflow's addresses of this kind name a profile or a token, and no host
IN_ADDRESSES = ":/?#[]@!$&'()*+,;=%~"  # what requests leaves as it is
LONG = 8  # characters from which a secret is replaced where it stands alone
WORD = re.compile(r"[a-z_.-]*")  # as names of models and modules are: only replaced in an address

_known: dict[str, str] = {}  # what is replaced by what, the longest first


def masked(text: str) -> str:
    """Text with the secrets of every address in it replaced by ***."""
    for secret, mask in _known.items():
        text = text.replace(secret, mask)
    return ADDRESS.sub(lambda match: mask_address(match[0]), text)


def mask_address(address: str) -> str:
    """An address, and nothing else, without its secrets; also one that is not written as it should be."""
    scheme, slashes, rest = address.partition("://")
    if not slashes:
        scheme, rest = "", address
    if scheme.lower().startswith(TOKEN_ONLY) and rest:
        return f"{scheme}{slashes}{MASK}{rest[len(rest.rstrip(':;,.)')) :]}"
    user, at, place = rest.rpartition("@")
    shown = f"{scheme}{slashes}{MASK}@{place}" if at and user else address
    start, *settings = SETTINGS.split(shown)  # a mark and a setting in turns
    return start + "".join(mask_setting(part) if at % 2 else part for at, part in enumerate(settings))


def mask_fragment(address: str) -> tuple[str, str]:
    """A config's address without a fragment that has no name, of no use to servers, and the fragment."""
    start, mark, fragment = address.partition("#")
    if not fragment or "=" in fragment:
        return address, ""
    return f"{start}{mark}{MASK}", fragment


def mask_setting(setting: str) -> str:
    """NAME=VALUE of an address, without the value if the name says that it is a secret."""
    name = setting.partition("=")[0]
    return f"{name}={MASK}" if SECRET.search(unquote(name)) else setting


def remember(value: str) -> None:
    """Mask this value from now on: a value of a config, or KEY=VALUE, that may hold an address."""
    place = PLACES.fullmatch(value)
    key, equals, given = value.partition("=")
    text = place[2] if place else given if equals and "://" not in key else value
    text = text.strip().strip("'\"[]")
    if "://" in text:
        start = re.search(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text)
        remember_address(text[start.start() if start else 0 :])
    elif place and "@" in text:
        remember_address(text)


def remember_address(address: str) -> None:
    """Mask a whole address, and its secrets wherever they stand without it."""
    shown, fragment = mask_fragment(mask_address(address))
    if shown == address:
        return
    found = {address: shown} | ({fragment: MASK} if stands_out(fragment) else {})
    user, at, _ = address.partition("://")[2].rpartition("@") if "://" in address else address.rpartition("@")
    if at and user:
        password = user.partition(":")[2] or user
        found |= {f"//{user}@": f"//{MASK}@"} | ({f"{user}@": f"{MASK}@"} if ":" in user else {})
        found |= {password: MASK} if stands_out(password) else {}
    for setting in SETTINGS.split(address)[2::2]:
        name, _, secret = setting.partition("=")
        if secret and mask_setting(setting) != setting:
            found |= {setting: f"{name}={MASK}"} | ({secret: MASK} if stands_out(secret) else {})
    replace_from_now_on(found)


def remember_secret(secret: str) -> None:
    """Mask a key wherever it stands from now on, unless it is so short that words would be torn."""
    if len(secret) >= LONG:
        replace_from_now_on({secret: MASK})


def replace_from_now_on(found: Mapping[str, str]) -> None:
    """Mask secrets as they are spelled; the longest first, so that none is masked in part only."""
    spelled = {spelling: mask for secret, mask in found.items() for spelling in spellings(secret)}
    ordered = sorted((_known | spelled).items(), key=lambda pair: -len(pair[0]))
    _known.clear()
    _known.update(ordered)


def stands_out(secret: str) -> bool:
    """Whether a secret is no word that a config or a message could hold by chance."""
    return len(secret) >= LONG and not WORD.fullmatch(secret.replace("*", ""))


def spellings(secret: str) -> set[str]:
    """A secret as requests, SQLAlchemy, Python, JSON and YAML write it."""
    plain = {secret, unquote(secret), quote(secret), quote(secret, safe=""), quote_plus(secret),
             quote(secret, safe=IN_ADDRESSES), " ".join(secret.split())}  # fmt: skip
    escaped = {repr(one)[1:-1] for one in plain} | {json.dumps(one)[1:-1] for one in plain}
    escaped |= {yaml.safe_dump(one, default_style='"', width=10**9).strip()[1:-1] for one in plain}
    doubled = {one.replace("'", "''") for one in plain}
    return {one for one in plain | escaped | doubled if len(one) > 2}


def remember_all(tree: Any) -> None:
    """Remember every text in nested dicts and lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            remember(f"{key}={value}") if isinstance(value, str) else remember_all(value)
    elif isinstance(tree, list):
        for value in tree:
            remember_all(value)
    elif isinstance(tree, str):
        remember(tree)


def masked_tree(tree: Any) -> Any:
    """Nested dicts and lists with every text masked."""
    if isinstance(tree, dict):
        return {masked(key) if isinstance(key, str) else key: masked_tree(one) for key, one in tree.items()}
    if isinstance(tree, list):
        return [masked_tree(value) for value in tree]
    return masked(tree) if isinstance(tree, str) else tree


def masked_yaml(text: str) -> str:
    """A text of YAML with every value masked; as it was where there is nothing to mask.

    YAML breaks long values and doubles quotes, so values are masked and not the text.
    """
    try:
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (ValueError, OSError, yaml.YAMLError, OmegaConfBaseException):
        return masked(text)
    remember_all(tree)
    found = masked_tree(tree)
    return text if found == tree else OmegaConf.to_yaml(OmegaConf.create(found))


def mask_file(path: Path) -> None:
    """Mask the secrets in a file of YAML that another tool wrote."""
    text = path.read_text(encoding="utf-8")
    if (found := masked_yaml(text)) != text:
        path.write_text(found, encoding="utf-8")


def install() -> None:
    """From now on this process logs visible text without secrets; for commands, not on import."""
    logging.setLogRecordFactory(MaskedRecord)


class MaskedRecord(Record):
    """A line for the log without secrets, whichever formatter writes it."""

    def getMessage(self) -> str:
        return masked(super().getMessage())


class MaskedFormatter(logging.Formatter):
    """Log lines without secrets, those of a trace too; Hydra logs every override of a sweep."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(masked(super().format(record)))
