"""`rerankbench --help` on a GROUP, GROUP=OPTION, GROUP.KEY or KEY: types, defaults and meanings.

All of it is read off the schemas and the config files: types and defaults off the settings' dataclasses,
what an option sets off its YAML file, meanings off the comments there, the fields' `help` metadata or the
class's docstring.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from rerankbench.basics import complaints
from rerankbench.basics.errors import UserError
from rerankbench.commands import usage
from rerankbench.commands.hydra import config, config_files
from rerankbench.experiment.config import Root

TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "text or list"}
SCHEMA = re.compile(r"/schema/\w+/([\w.-]+)@")
KEY_LINE = re.compile(r"( *)(\w+):[^#]*?(?: +# (.*))?")
WIDTH = 100
NEEDED = object()  # the default of a key that has none


class Key(NamedTuple):
    """A config key: its full name, its type in words, its default (NEEDED: it has none), what it is for."""

    name: str
    type: str
    default: Any
    meaning: str


def text(words: Sequence[str], folders: Sequence[Path]) -> str:
    """The help on each of the words. Raises UserError for words that are none of these."""
    return "\n\n".join("\n".join(lines(word, folders)) for word in words)


def lines(word: str, folders: Sequence[Path]) -> Iterator[str]:
    group, equals, option = word.partition("=")
    roots = dict(root_keys(folders))
    if word in roots:
        yield roots[word]
    elif found := keys_named(word, folders[-1]):
        name = group.partition(".")[0]
        for told, kinds in found.items():
            if len(found) > 1:
                yield f"{name}s of {config.GROUPS[name].key} {', '.join(kinds)}:"
            yield told
    elif group not in (*config.GROUPS, "experiment"):
        known = [*config.GROUPS, "experiment", *roots]
        close = complaints.closest(group.partition(".")[0], known)
        hint = f"did you mean {close}?" if close else f"give one of {', '.join(known)}"
        raise UserError(f"--help {word}: there is no such group or key; {hint}")
    elif equals and (option or group == "experiment"):
        yield from option_lines(group, option, folders)
    else:
        yield f"{group}=OPTION, one of"
        yield from usage.aligned(usage.options(list(folders), group))
        yield from group_lines(group, folders[-1] / group)


def root_keys(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for setting, comment in usage.root_keys(folders[-1] / "config.yaml"):
        key = setting.partition("=")[0]
        yield key, "\n".join(entry(setting, type_name(get_type_hints(Root)[key]), comment))


def option_lines(group: str, option: str, folders: Sequence[Path]) -> Iterator[str]:
    """What an option is, and its keys with the values that it gives them."""
    file = next((f for folder in folders if (f := folder / group / f"{option}.yaml").is_file()), None)
    said = dict(usage.options(list(folders), group))
    if option not in said:
        raise UserError(f"--help {complaints.unknown_option(group, option, list(said))}")
    yield f"{group}={option}"
    yield f"  {said[option]}"
    if file is None:
        config.GROUPS[group].has(option)
        yield from key_lines(keys_of(group, config.options(group)[option], {}, {}))
        return
    if group == "experiment":
        yield from (f"  {line}" for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
        return
    values = config_files.values_of(file)
    schema = SCHEMA.search(str(values.pop("defaults", "")))
    known_group = config.GROUPS[group]
    key = known_group.key or ""
    kind = schema[1] if schema and key else str(values.get(key, ""))
    if not known_group.has(kind):
        kinds = ", ".join(known_group.kinds)
        raise UserError(f"--help {group}={option}: {file} names no {key}; give one of {kinds}")
    yield from key_lines(keys_of(group, known_group.classes[kind], values, dict(comments(file))))


def group_lines(group: str, options: Path) -> Iterator[str]:
    """The keys of all kinds of a group; those that only some kinds have under the kinds' names."""
    for kind, keys in group_keys(group, options):
        title = f"Keys that {group}s of {config.GROUPS[group].key} {kind} have:"
        alone = len(config.options(group)) == 1
        yield from ("", title if kind else "Keys:" if alone else f"Keys of every {group}:")
        yield from key_lines(keys)


def group_keys(group: str, options: Path) -> Iterator[tuple[str, list[Key]]]:
    """The keys that all kinds of a group share, under the kind "", then those of each kind alone."""
    if group not in config.GROUPS:
        return
    kinds, base = config.options(group), config.GROUPS[group].base
    said = {key: text for file in sorted(options.glob("*.yaml")) for key, text in comments(file)}
    shared = [f.name for f in fields(base)]
    if shared:
        yield "", list(keys_of(group, base, {}, said, documented_first=True))
    for kind, cls in kinds.items():
        if own := [f.name for f in fields(cls) if f.name not in shared]:
            yield kind, list(keys_of(group, cls, {}, said, own, documented_first=True))


def keys_named(name: str, options: Path) -> dict[str, list[str]]:
    """What is said of a key of a group, with the kinds that have it so; empty where there is no such key."""
    group, found = name.partition(".")[0], defaultdict[str, list[str]](list)
    for kind, keys in group_keys(group, options / group):
        for told in ["\n".join(key_lines([key])) for key in keys if key.name == name]:
            found[told].append(kind)
    return found


def keys_of(
    group: str,
    cls: type,
    values: dict[str, Any],
    said: dict[str, str],
    names: Sequence[str] = (),
    documented_first: bool = False,
) -> Iterator[Key]:
    """The keys of a settings class, those of the groups in it too; `values` override its defaults."""
    hints, meanings = get_type_hints(cls), documented(cls)
    for field in fields(cls):
        if names and field.name not in names:
            continue
        kind, key = hints[field.name], f"{group}.{field.name}"
        value = values.get(field.name, default(field))
        if is_dataclass(kind):
            inner = value if isinstance(value, dict) else {}
            yield from keys_of(key, kind, inner, below(said, field.name))  # type: ignore[arg-type]
            continue
        own = field.metadata.get("help") or meanings.get(field.name, "")
        meaning = (own or said.get(field.name, "")) if documented_first else (said.get(field.name) or own)
        yield Key(key, type_name(kind), value, meaning)


def key_lines(keys: Iterable[Key]) -> Iterator[str]:
    """A key with its type and default, and below it what it is for."""
    for key in keys:
        needed = key.default is NEEDED
        given = f"{key.name}={'VALUE' if needed else shown(key.default)}"
        yield from entry(given, key.type + ", needed" * needed, key.meaning)


def below(said: dict[str, str], name: str) -> dict[str, str]:
    return {key.removeprefix(f"{name}."): text for key, text in said.items() if key.startswith(f"{name}.")}


def entry(setting: str, kind: str, meaning: str) -> list[str]:
    """A setting with its type on one line, what it means on the next ones."""
    setting = setting if len(setting) <= 70 else f"{setting[:67]}..."
    return [f"  {setting:<40} {kind}", *(f"      {line}" for line in wrap(meaning, WIDTH - 6))]


def default(field: Field[Any]) -> Any:
    """A field's default; NEEDED where it has none."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return NEEDED if field.default in (MISSING, "???") else field.default


def shown(value: Any) -> str:
    """A default as it is typed."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = str(value).replace(" ", "") if isinstance(value, list) else complaints.shown(value)
    return repr(value) if isinstance(value, str) and (not value or value != value.strip()) else text


def type_name(kind: Any) -> str:
    """A type in words."""
    if kind in TYPES:
        return TYPES[kind]
    arguments = [argument for argument in get_args(kind) if argument is not type(None)]
    if get_origin(kind) is list:
        return f"list of {type_name(arguments[0])}s"
    if get_origin(kind) is dict:
        return "group of keys"
    return f"{type_name(arguments[0])} or null" if arguments else "text"


def comments(file: Path) -> Iterator[tuple[str, str]]:
    """The comment beside each key of a config file, keys of groups in it as `budget.memory_mb`."""
    above = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if match := KEY_LINE.fullmatch(line):
            indent, key, comment = match.groups()
            name = f"{above}.{key}" if indent else key
            above = above if indent else key
            yield name, comment or ""


def documented(cls: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of its fields, as `name: text` or `a, b: text`."""
    found: dict[str, str] = {}
    for part in cls.__mro__:
        names = "|".join(f.name for f in fields(part)) if is_dataclass(part) else ""
        listed = rf"`?(?:{names})`?(?:, `?(?:{names})`?)*: "
        for paragraph in (part.__doc__ or "").split("\n\n") if names else ():
            flat = " ".join(paragraph.split())
            for match in re.finditer(rf"(?:^|(?<= ))({listed})(.*?)(?=(?:^|(?<= )){listed}|$)", flat):
                for name in re.findall(r"\w+", match[1]):
                    found.setdefault(name, match[2].strip().rstrip(".").replace("`", ""))
    return found
