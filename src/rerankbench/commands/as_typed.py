"""Settings as they were typed, in Hydra's grammar.

Hydra reads `2019_06` as 201906, `5617e91` as 5.617e+94 and a comma as the end of a value, whatever the key
is for. Where a key holds a text, words are put into the quotes with which Hydra reads what was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.errors import Problem
from rerankbench.commands import config
from rerankbench.experiment.config import Root

TEXTS: tuple[Any, ...] = (str, str | None)
FUNCTION = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\((.*)\)")  # that Hydra sweeps with
CAST = re.compile(r"str\((.*)\)")
# A value up to the next comma: in quotes as a whole, or without; commas in ${...} belong to it.
PIECE = re.compile(
    r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\$\{[^}]*\}|\\.|[^,])*?)\s*(,|$)""", re.DOTALL
)


def word(typed: str, multirun: bool) -> str:
    """A setting of a text key as Hydra has to be told it; any other word as it is.

    In a sweep, commas outside of quotes separate values; in a single run they belong to the text.
    """
    name, equals, value = typed.partition("=")
    if not equals or not is_text(name.lstrip("+")):
        return typed
    called = FUNCTION.fullmatch(value)
    if called and not (multirun and called[1] == "choice"):
        return typed
    value = called[2] if called else value
    return f"{name}={elements(value) if multirun else element(value)}"


def option(typed: str) -> str:
    """A choice of options: a file called 2024_06_01.yaml is not number 20240601."""
    name, equals, value = typed.partition("=")
    plain = not equals or FUNCTION.fullmatch(value) or value[:1] in ("[", "{")
    return typed if plain else f"{name}={elements(value)}"


def elements(value: str) -> str:
    """The texts of a sweep that is written with commas."""
    values = []
    for match in PIECE.finditer(value):
        values.append(element(match[1]))
        if not match[2]:
            break
    return ",".join(values)


def element(value: str) -> str:
    """One text in Hydra's grammar; `null` stays the value that stands for none."""
    if cast := CAST.fullmatch(value):
        value = cast[1]
    return (value or "''") if value == "null" or isinstance(read(value), str) else quoted(value)


def text(value: str) -> Any:
    """What a text key gets where Hydra does not read the command: the text without its quotes, or None."""
    return read(element(value))


def quoted(value: str) -> str:
    """A text in the quotes of Hydra's grammar."""
    return QuotedString(value, Quote.single).with_quotes()


def read(value: str) -> Any:
    """What Hydra makes of a value; None where it cannot read it."""
    try:
        return _parser().parse_rule(f"key={value}", "override").value()
    except (HydraException, ValueError, TypeError):
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def misread(file: Path, group: str) -> Iterator[Problem]:
    """Texts in a config file that YAML reads as numbers or truth values, since they are not in quotes."""
    try:
        root, values = yaml.compose(file.read_text(encoding="utf-8")), OmegaConf.load(file)
        plain = [(path, node) for path, node in scalars(root) if node.style is None and "$" not in node.value]
        read = [OmegaConf.select(values, path) for path, _ in plain]
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError):
        return  # Hydra says what is wrong with it
    for (path, node), value in zip(plain, read, strict=True):
        key = path if group == "experiment" else f"{group}.{path}"
        if isinstance(value, int | float) and str(value) != node.value and is_text(key):
            cure = f"{path.rpartition('.')[2]}: '{node.value}'"
            where = f"{file}:{node.start_mark.line + 1}"
            yield Problem(f"{where}: {key}={node.value} is read as {value}; put it in quotes, {cure}", key)


def scalars(node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, yaml.ScalarNode]]:
    """The values of a YAML file with the keys that lead to them."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{path}.{key.value}" if path else str(key.value)
        if isinstance(value, yaml.ScalarNode):
            yield name, value
        yield from scalars(value, name)


@cache
def is_text(key: str) -> bool:
    """Whether a key holds a text, in every option that has the key."""
    types = field_types(key)
    return bool(types) and all(found in TEXTS for found in types)


def is_list(key: str) -> bool:
    """Whether a key may hold a list."""
    return any(found is Any or get_origin(found) is list for found in field_types(key))


def field_types(key: str) -> list[Any]:
    """The types of a key in the options that have it, those of installed launchers and sweepers too."""
    group, _, rest = key.partition(".")
    part, _, inner = rest.partition(".")
    classes: list[Any] = [Root]
    if group in config.GROUPS:
        classes, path = list(config.options(group).values()), rest
    elif group == "hydra":
        nodes = ConfigStore.instance().repo.get("hydra", {}).get(part, {}).values()
        plugged = [OmegaConf.get_type(one.node) for one in nodes if isinstance(one, ConfigNode)]
        classes, path = (plugged, inner) if part in ("launcher", "sweeper") and inner else ([HydraConf], rest)
    else:
        path = key
    types = [field_type(cls, path) for cls in classes]
    return [found for found in types if found is not None]


def field_type(cls: Any, path: str) -> Any:
    """The type of a field of nested dataclasses; None where there is none."""
    for name in path.split("."):
        cls = get_type_hints(cls).get(name) if is_dataclass(cls) else None
    return cls
