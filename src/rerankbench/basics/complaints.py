"""What is wrong with a setting, in one line that names the key, the value and a cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, Node, StringNode
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from rerankbench.basics.errors import Problem
from rerankbench.basics.masking import masked

NEEDED: dict[Any, str] = {
    **dict.fromkeys((IntegerNode, int), "give a whole number"),
    **dict.fromkeys((FloatNode, float), "give a number"),
    **dict.fromkeys((BooleanNode, bool), "give true or false"),
    **dict.fromkeys((StringNode, str), "give a text"),
    ListConfig: "give a list, for instance [1,10]",
    DictConfig: "it must be a group of keys; leave it out, or give its keys one by one",
}
NULL = "null is not possible here; give a value, or leave it out for the default"
# Lines with which Hydra and OmegaConf surround what they have to say.
NOISE = ("object_type=", "reference_type=", "full_key:", "Set the env", "See https://hydra", "Config search")
IN_FILE = re.compile(r"In '(.+?)': ")
KEY_VARIABLE = "key_variable"
SECRET_NAME = re.compile(r"(?i)key|token$|secret|password|bearer|authorization")
LISTED = 200  # characters of options that one line lists


def one_line(error: BaseException) -> Problem:
    """What a library says, as one line, whatever it is about."""
    parts = [error, *([error.__cause__] if error.__cause__ else [])]
    lines = [line.strip() for part in parts for line in str(part).splitlines()[:6] if line[:1] != "\t"]
    kept = [line for line in dict.fromkeys(lines) if line and not line.startswith(NOISE)]
    text = masked(" ".join(kept)) or type(error).__name__
    text = text.replace("KeyError raised while resolving interpolation: ", "").replace('"', "")
    return Problem(text if len(text) <= 400 else text[:397] + "...")


def uncomposed(error: BaseException, options: Callable[[str], Sequence[str]]) -> Problem:
    """Why Hydra composes no config, with the file of one's own in which it stopped; `options` of a group."""
    named, cause = IN_FILE.match(str(error)), error.__context__
    where = f"{named[1]}.yaml: " if named and named[1] != "config" else ""  # the package's own is right
    group, _, option = str(getattr(error, "missing_cfg_file", None) or "").rpartition("/")
    if group:
        found = unknown_option(group, option, options(group))
    elif option:
        found = Problem(f"--config-name {option}: there is no such config; leave it out")
    elif isinstance(cause, OmegaConfBaseException):
        found = explained(cause)
    else:
        cure = "in defaults, write override /GROUP: OPTION"
        found = Problem(f"{IN_FILE.sub('', one_line(error)).rstrip('.')}; {cure}", kind="option")
    return found.saying(f"{where}{found}")


def explained(
    error: BaseException, key: str = "", value: object = "...", node: Node | None = None
) -> Problem:
    """What OmegaConf says of a key that it does not know, or of a value that it does not take.

    key, value, node: what was set where, if that is known better than the error has it.
    """
    parent, node = getattr(error, "parent_node", None), node or getattr(error, "child_node", None)
    full = str(getattr(error, "full_key", None) or "")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(parent, DictConfig):
        above, dot, name = full.rpartition(".")
        return unknown_key(above + dot, name, value, list(map(str, parent)))
    key, value = key or full, getattr(error, "value", None) if value == "..." else value
    setting, cure = f"{key}={shown(value)}", ""
    if isinstance(error, InterpolationResolutionError):
        said = f"{one_line(error)}; write a value, or refer to a key that exists"
    elif isinstance(error, GrammarParseError):
        said = "the reference cannot be read; write ${KEY}, or a value"
    elif value is None and key:
        cure = f"{key}='null'" if isinstance(node, StringNode) else ""
        said = NULL + f'; for the word itself write "{cure}"' * bool(cure)
    else:
        kind: Any = type(node)
        if isinstance(node, ListConfig) and isinstance(value, list):  # an element does not fit
            kind = node._metadata.element_type
        said = NEEDED.get(kind, f"{one_line(error)}; see rerankbench --cfg all")
    return Problem(f"{setting}: {said}" if key else said, key, "type", setting, cure)


def closest(name: str, known: Sequence[str]) -> str:
    """The one of these that was probably meant; empty where none is like it."""
    return next(iter(difflib.get_close_matches(name, known, 1)), "")


def unknown_key(prefix: str, name: str, value: object, known: Sequence[str]) -> Problem:
    """A key that is not there, with the one that was meant or all there are."""
    key, close = f"{prefix}{name}", closest(name, known)
    setting, cure = f"{key}={shown(value)}", f"{prefix}{close}={shown(value)}" if close else ""
    hint = f"; known keys: {', '.join(known)}" if known else "; it has no keys"
    hint = f"; did you mean {prefix}{close}?" if close else hint
    if SECRET_NAME.search(name):
        setting, cure = f"{key}=***", ""
        hint = f"; keys come from the environment: name the variable by {prefix}{KEY_VARIABLE}=NAME"
        hint *= KEY_VARIABLE in known
    return Problem(f"{setting}: there is no such key{hint}", key, "key", setting, cure)


def unknown_option(group: str, option: str, known: Sequence[str]) -> Problem:
    """An option that a group does not have."""
    close, listed = closest(option, known), f"choose one of {', '.join(known)}"
    hint = f"did you mean {close}? " if close else ""
    setting, cure = f"{group}={option}", f"{group}={close}" if close else ""
    if len(listed) > LISTED and not group.startswith(("hydra/", "schema/")):
        listed = f"rerankbench --help {group} lists all {len(known)}"
    return Problem(f"{setting}: there is no such option; {hint}{listed}", group, "option", setting, cure)


def as_text(value: object) -> str:
    """A value as one writes it in a config."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """A value as one writes it in a config, cut where it is long."""
    text = " ".join(masked(as_text(value)).split())
    return text if len(text) <= 100 else text[:97] + "..."
