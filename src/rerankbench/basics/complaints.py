"""What is wrong with a setting, in one line that names the key, the value and a cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from omegaconf.errors import GrammarParseError, InterpolationResolutionError

from rerankbench.basics.errors import Problem
from rerankbench.basics.masking import masked

NEEDED = {int: "give a whole number", float: "give a number", bool: "give true or false", str: "give a text"}
NULL = "null is not possible here; give a value, or leave it out for the default"
GROUP = "it must be a group of keys; leave it out, or give its keys one by one"
# Lines with which Hydra and OmegaConf surround what they have to say.
NOISE = ("object_type=", "reference_type=", "full_key:", "Set the env", "See https://hydra", "Config search")
PLUGINS = re.compile(r"(joblib|submitit|ray|optuna)\w*")
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


def cure_of(kind: Any, value: object) -> str:
    """What to give where a type is needed and the value has another; empty for types that take anything."""
    if value is None:
        return NULL
    if get_origin(kind) in (Union, UnionType):
        return cure_of(next(one for one in get_args(kind) if one is not type(None)), value)
    if kind is list or get_origin(kind) is list:
        inner = next(iter(get_args(kind)), None)
        return cure_of(inner, "") if isinstance(value, list) else "give a list, for instance [1,10]"
    if is_dataclass(kind) or kind is dict or get_origin(kind) is dict:
        return GROUP
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"give one of {', '.join(kind.__members__)}"
    return NEEDED.get(kind, "")


def wrong_value(key: str, value: object, kind: Any, error: BaseException) -> Problem:
    """A value that does not fit its key's type, or refers to nothing, as the error says."""
    said = cure_of(kind, value) or one_line(error)
    if isinstance(error, InterpolationResolutionError):
        said = f"{one_line(error)}; write a value, or refer to a key that exists"
    elif isinstance(error, GrammarParseError):
        said = "the reference cannot be read; write ${KEY}, or a value"
    setting, cure = f"{key}={shown(value)}", f"{key}='null'" if value is None and kind is str else ""
    said += f'; for the word itself write "{cure}"' * bool(cure)
    return Problem(f"{setting}: {said}", key, "type", setting, cure)


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
    close = closest(option, known)
    hint = f"did you mean {close}? " if close else ""
    if group.startswith("hydra/") and PLUGINS.fullmatch(option):
        hint = "install it with: pip install 'rerankbench[launchers]'; "
    setting, cure = f"{group}={option}", f"{group}={close}" if close else ""
    listed = f"choose one of {', '.join(known)}"
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
