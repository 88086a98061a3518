"""Config files, looked at before YAML builds anything of them: each may be a stranger's.

Anchors let a few lines stand for millions of values, brackets nest deeper than any program follows, and a
pipe under a config's name is waited for without end. Hydra reads files through a class of ours, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics.complaints import shown
from rerankbench.basics.errors import UserError
from rerankbench.basics.regular_file import NotRegular, TooLarge, read_regular
from rerankbench.commands.hydra.hydra_private import (
    CachingConfigRepository,
    ConfigLoaderImpl,
    SourcesRegistry,
)
from rerankbench.commands.hydra.hydra_private import FileConfigSource as HydraFileConfigSource

MOST_BYTES = 1_000_000
MOST_FILES = 1_000
MOST_VALUES = 100_000
DEEPEST = 50
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class FileConfigSource(HydraFileConfigSource):
    """Hydra's way to files, with every file looked at first. Raises UserError.

    It has the name of Hydra's, which other processes register once more: Hydra lets that pass for one name.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        if ".." in Path(config_path).parts or Path(config_path).is_absolute():
            raise UserError(f"{config_path}: leads out of the folder of configs; name an option in it")
        file = Path(self.path, self._normalize_file_name(config_path)).resolve()
        if file.exists():
            refuse(file)
        with told(file):
            loaded = super().load_config(config_path)
        if problem := shape_problem(loaded.config):
            raise UserError(f"{file}: {problem}")
        return loaded


def shape_problem(made: object) -> str:
    """What keeps Hydra from looking into a file that is good YAML; empty if nothing does."""
    if not isinstance(made, DictConfig):
        return NO_KEYS
    plain = OmegaConf.to_container(made, resolve=False)
    assert isinstance(plain, dict)
    defaults = plain.get("defaults", [])
    if not isinstance(defaults, list) or any(isinstance(one, dict) and len(one) != 1 for one in defaults):
        return f"defaults={shown(defaults)}: write a list of options, defaults: [OPTION, GROUP: OPTION]"
    if not isinstance(plain.get("hydra", {}), dict):
        return f"hydra={shown(plain['hydra'])}: it must be a group of keys; leave it out"
    return ""


NO_KEYS = "holds no keys; write keys with values, KEY: VALUE"
# What PyYAML says, and what to do about it.
CURES = {
    "constructor for the tag": "values have no tags here; write it without",
    "found duplicate key": "keep one of the two",
    "found unhashable key": "a key is a plain word; write KEY: VALUE",
    "mapping values are not allowed": "put a value that holds a colon in quotes",
    "cannot start any token": "indent with spaces, and put such a value in quotes",
    "expected ',' or": "close the brackets",
    "special characters are not allowed": "take them out",
}


def values_of(file: Path) -> dict[str, Any]:
    """What an option says, as plain values. Raises UserError where that cannot be read."""
    refuse(file)
    with told(file):
        found = yaml.safe_load(text_of(file)) or {}
    if not isinstance(found, dict):
        raise UserError(f"{file}: {NO_KEYS}")
    return found


@contextmanager
def told(file: Path) -> Iterator[None]:
    """Raise UserError for what PyYAML cannot read."""
    try:
        yield
    except yaml.YAMLError as error:
        raise UserError(f"{file}{unreadable(error)}") from None


def unreadable(error: yaml.YAMLError) -> str:
    """`:line: what is wrong; cure` for a file that is no YAML, or more than plain YAML."""
    mark = getattr(error, "problem_mark", None)
    said = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", error)).split())
    cure = next((cure for sign, cure in CURES.items() if sign in said), "mend the file there")
    return f"{f':{mark.line + 1}' if mark else ''}: {said.replace('tag:yaml.org,2002:', '!!')}; {cure}"


def check_all() -> None:
    """Have Hydra read files through a class of ours."""
    SourcesRegistry.instance().types["file"] = FileConfigSource


def count_files(loader: ConfigLoaderImpl) -> None:
    """Have a loader raise UserError once it puts together more files than any command needs.

    Options may include each other, so that a few files stand for any number.
    """
    begin = loader._parse_overrides_and_create_caching_repo

    def counted(name: str | None, lines: list[str]) -> tuple[list[Override], CachingConfigRepository]:
        parsed, repository = begin(name, lines)
        load, loaded = repository.load_config, count(1)

        def limited(config_path: str) -> ConfigResult | None:
            if next(loaded) <= MOST_FILES:
                return load(config_path)
            line = f"the options include each other more than {MOST_FILES:,} times; look into their defaults"
            raise UserError(f"{config_path}: {line}")

        repository.load_config = limited  # type: ignore[method-assign]
        return parsed, repository

    loader._parse_overrides_and_create_caching_repo = counted  # type: ignore[method-assign, assignment]


def refuse(file: Path) -> None:
    """Raise UserError, with the file's name, for a config that cannot be read or is too large in any way."""
    if problem := bomb(text_of(file)):
        raise UserError(f"{file}: {problem}")


def text_of(file: Path) -> str:
    """The text of a config, links followed. Raises UserError where there is none."""
    try:
        return read_regular(file.resolve(), MOST_BYTES).decode("utf-8")
    except (NotRegular, TooLarge) as error:
        raise UserError(f"{file}: {error.strerror}; give a config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); save it as UTF-8") from None


def bomb(text: str) -> str:
    """Why a text of YAML is not read: what it comes to once every alias is put in; empty if it may be read.

    What is no YAML at all is left to Hydra, which says where and why.
    """
    sizes: dict[str, int] = {}  # of what each anchor stands for
    groups: list[tuple[str, int]] = []  # anchors and sizes before, of those that are not closed yet
    total = 0
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=Loader):
            anchor = getattr(event, "anchor", None) or ""
            if isinstance(event, yaml.AliasEvent):
                if anchor not in sizes:
                    return f"*{anchor} stands in what it names, or before it; write the values themselves"
                total += sizes[anchor]
            elif isinstance(event, yaml.CollectionStartEvent):
                groups.append((anchor, total))
                sizes.pop(anchor, None)
            elif isinstance(event, yaml.CollectionEndEvent | yaml.ScalarEvent):
                total += 1
                name, before = (
                    groups.pop() if isinstance(event, yaml.CollectionEndEvent) else (anchor, total - 1)
                )
                sizes[name] = total - before
            if len(groups) > DEEPEST:
                return f"nested deeper than {DEEPEST} levels; make it flatter"
            if total > MOST_VALUES:
                return f"holds more than {MOST_VALUES:,} values, aliases counted in; make it smaller"
    return ""
