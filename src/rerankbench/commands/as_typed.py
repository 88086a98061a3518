"""Settings as they were typed, in Hydra's grammar.

Hydra reads `2019_06` as 201906, `5617e91` as 5.617e+94 and a comma as the end of a value, whatever the key
is for. Where a key holds a text, words are put into the quotes with which Hydra reads what was typed.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import is_dataclass
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import yaml
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import config
from rerankbench.commands.config_files import text_of
from rerankbench.experiment.config import Root

MOST_JOBS = 10_000  # of one command
CHOSEN = (*config.GROUPS, "experiment")
KEY = re.compile("[=@]")  # ends where one of these stands
FUNCTION = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\((.*)\)")  # that Hydra sweeps with
# A value between commas: in quotes as a whole, or without; commas in ${...} belong to it.
PIECE = re.compile(
    r"""(?:^|(?<=,))\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\$\{[^}]*\}|\\.|[^,])*?)\s*(?=,|$)""",
    re.DOTALL,
)


def setting(typed: str, parser: OverridesParser, multirun: bool) -> Override:
    """A word as Hydra reads it, texts as they are typed; the package's own keys need no `+`.

    Raises UserError for a word that is no `KEY=VALUE`.
    """
    key = KEY.split(typed.lstrip("+~"))[0]
    plain = typed.lstrip("+") if key.partition(".")[0] in (*CHOSEN, *config.ROOT_KEYS) else typed
    try:
        (found,) = parser.parse_overrides([word(plain, multirun)])
        if not found.is_delete() and found.package is None and found.key_or_group:
            return found
    except (HydraException, ValueError):
        pass
    known = parser.config_loader
    meant = [f"{group}={typed}" for group in CHOSEN if known and typed in known.get_group_options(group)]
    said = "cannot be read; write KEY=VALUE: one =, no spaces, brackets closed, other signs in quotes; "
    said += "rerankbench --help shows the keys"
    said = f"this is no setting; did you mean {' or '.join(meant)}?" if meant else said
    raise UserError([Problem(f"{typed}: {said}", key, "syntax", typed, meant[-1] if meant else "")])


def is_option(typed: str) -> bool:
    """Whether a word, or a key, chooses options of a group, or says where there are more of them."""
    key = KEY.split(typed.lstrip("+~"))[0]
    return "/" in key or key in (*CHOSEN, "hydra.searchpath")


def word(typed: str, multirun: bool) -> str:
    """A setting of a text, or of options, as Hydra has to be told it; any other word as it is.

    Commas outside of quotes separate the values of a sweep; in a single run they belong to the text.
    """
    name, equals, value = typed.partition("=")
    options = is_option(typed) and value[:1] not in ("[", "{")
    called, several = FUNCTION.fullmatch(value), multirun or options
    if not equals or not (options or is_text(name.lstrip("+"))):
        return typed
    if called and not (several and called[1] == "choice"):
        return typed
    value = called[2] if called else value
    return f"{name}={PIECE.sub(lambda found: element(found[1]), value) if several else element(value)}"


def values(found: Override) -> list[str]:
    """What a setting stands for, in Hydra's grammar: of a sweep its first values, one more than `MOST_JOBS`.

    Empty for what lists no values: intervals, and ranges that lead nowhere.
    """
    if not found.is_sweep_override():
        return [found.get_value_element_as_str()]
    given = found.value()
    try:
        listed = map(str, given.range()) if isinstance(given, RangeSweep) else found.sweep_string_iterator()
        return list(islice(listed, MOST_JOBS + 1))
    except (ArithmeticError, ValueError, HydraException):
        return []


def count(found: Override) -> int | float:
    """How many values a setting stands for, those of long ranges without going through them."""
    listed, given = len(values(found)), found.value()
    if listed <= MOST_JOBS or not isinstance(given, RangeSweep):
        return listed
    try:
        start, stop, step = (Decimal(str(one)) for one in (given.start, given.stop, given.step))
        return math.ceil((stop - start) / step)
    except ArithmeticError:
        return math.inf


def element(value: str) -> str:
    """One text in Hydra's grammar; `null` stays the value that stands for none."""
    if cast := re.fullmatch(r"str\((.*)\)", value):
        value = cast[1]
    return (value or "''") if value == "null" or isinstance(read(value), str) else quoted(value)


def text(value: str) -> Any:
    """What a text key gets where Hydra does not read the command: the text without its quotes, or None."""
    return read(element(value))


def quoted(value: str) -> str:
    """A text in the quotes of Hydra's grammar."""
    return QuotedString(value, Quote.single).with_quotes()


def in_shell(word: str) -> str:
    """A setting that holds quotes as it is typed in a shell."""
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


_parser = cache(OverridesParser.create)


def read(value: str) -> Any:
    """What Hydra makes of a value; None where it cannot read it."""
    try:
        return _parser().parse_rule(f"key={value}", "override").value()
    except (HydraException, ValueError, TypeError):
        return None


def misread(file: Path, group: str) -> Iterator[Problem]:
    """Texts in a config file that YAML reads as numbers or truth values, since they are not in quotes."""
    try:
        root, values = yaml.compose(text_of(file)), OmegaConf.create(text_of(file))
        found = [(path, node, OmegaConf.select(values, path)) for path, node in plain_scalars(root)]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError):
        return  # Hydra says what is wrong with it
    for path, node, value in found:
        key, said = path if group == "experiment" else f"{group}.{path}", node.value
        if isinstance(value, int | float) and str(value) != said and is_text(key):
            where, name = f"{file}:{node.start_mark.line + 1}", path.rpartition(".")[2]
            line = f"{where}: {key}={said} is read as {value}; put it in quotes, {name}: '{said}'"
            yield Problem(line, key)


def plain_scalars(node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, yaml.ScalarNode]]:
    """The values of a YAML file, with their keys, that are not in quotes and refer to nothing."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{path}.{key.value}" if path else str(key.value)
        if isinstance(value, yaml.ScalarNode) and value.style is None and "$" not in value.value:
            yield name, value
        yield from plain_scalars(value, name)


def is_text(key: str) -> bool:
    """Whether a key holds a text, in every option that has the key."""
    found = types_of(key)
    return bool(found) and found <= {str, str | None}


def is_list(key: str) -> bool:
    """Whether a key may hold a list."""
    return any(found is Any or get_origin(found) is list for found in types_of(key))


@cache
def types_of(key: str) -> set[Any]:
    """The types of a key in the options that have it; plugins of Hydra have options, too."""
    group, _, rest = key.partition(".")
    types = [field_type(Root, key)]
    if group in config.GROUPS:
        types = [field_type(cls, rest) for cls in config.options(group).values()]
    elif group == "hydra":
        part, _, inner = rest.partition(".")
        stored = ConfigStore.instance().repo["hydra"].get(part, {}).values()
        plugged = [OmegaConf.get_type(one.node) for one in stored if isinstance(one, ConfigNode)]
        types = [field_type(HydraConf, rest), *(field_type(cls, inner) for cls in plugged)]
    return set(types) - {None}


def field_type(cls: Any, path: str) -> Any:
    """The type of a field of nested dataclasses; None where there is none."""
    for name in path.split("."):
        cls = get_type_hints(cls).get(name) if is_dataclass(cls) else None
    return cls
