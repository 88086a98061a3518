"""Settings as they were typed, in Hydra's grammar.

Hydra reads `2019_06` as 201906, `5617e91` as 5.617e+94 and a comma as the end of a value, whatever the key
is for. Where a key holds a text, words are put into the quotes with which Hydra reads what was typed.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands.hydra import config
from rerankbench.commands.hydra.key_types import is_text

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
    meant += [f"dataset=beir dataset.path={typed}"] if not meant and os.path.isdir(typed) else []
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
