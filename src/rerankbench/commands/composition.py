"""What Hydra says where options do not make a config, as problems that name file, key and cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from rerankbench.basics import complaints
from rerankbench.basics.errors import Problem
from rerankbench.commands.hydra_private import ConfigLoaderImpl

IN_FILE = re.compile(r"In '(.+?)': ")
NOT_OVERRIDDEN = re.compile(r"Could not override '([^']*)'")
TWICE = re.compile(r"Multiple values for ([\w/]+)\.")
OWN = "config"  # the package's own, which nobody needs to look into


def problems(error: Exception, loader: ConfigLoaderImpl) -> list[Problem]:
    """Why options make no config: all that is wrong with the file at fault, one line each."""
    found = list(_found(error, loader)) or [complaints.one_line(error)]
    named = IN_FILE.match(str(error))
    where = f"{named[1]}.yaml: " if named and named[1] != OWN else ""
    return [problem if where in problem else problem.saying(where + problem) for problem in found]


def _found(error: Exception, loader: ConfigLoaderImpl) -> Iterator[Problem]:
    """The problems without the file's name; none where Hydra's own words are as good as any."""
    said, cause = str(error), error.__context__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group and (known := loader.get_group_options(group)):
            yield complaints.unknown_option(group, option, known)
    elif match := NOT_OVERRIDDEN.search(said):
        group = re.split("[/@]", match[1])[-1]
        line = f"its defaults override {match[1]}, which is not a group; write override /{group}: OPTION"
        close = complaints.closest(group, loader.get_group_options("", None) or [])
        yield Problem(line.replace(f"/{group}", f"/{close or group}"), match[1], "option")
    elif match := TWICE.match(said):
        yield Problem(
            f"{match[1]}: chosen twice; in the defaults of a config write override /{match[1]}: OPTION",
            match[1],
            "option",
        )
    elif isinstance(cause, OmegaConfBaseException):
        yield from _unfit(cause, IN_FILE.match(said), loader)


def _unfit(
    cause: OmegaConfBaseException, named: re.Match[str] | None, loader: ConfigLoaderImpl
) -> Iterator[Problem]:
    """Everything in a file that does not fit into the config that it was put into."""
    root = cause.parent_node._get_root() if isinstance(cause.parent_node, DictConfig) else None
    if isinstance(cause, GrammarParseError):
        yield complaints.wrong_value(str(cause.full_key), cause.value, cause)
    elif isinstance(root, DictConfig) and named:
        loaded = loader.repository.load_config(named[1])
        package = str((loaded.header if loaded else {}).get("package") or named[1].rpartition("/")[0])
        values: Any = OmegaConf.to_container(loaded.config, resolve=False) if loaded else {}
        for part in reversed([] if package == "_global_" else re.split("[./]", package)):
            values = {part: values}
        yield from misfits(values, root)


GROUP = "it must be a group of keys; leave it out, or write keys below it"


def misfits(values: Mapping[Any, Any], node: DictConfig, prefix: str = "") -> Iterator[Problem]:
    """Keys and values of a file that a config does not take, each by its full key."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in node._content:  # type: ignore[operator]
            if node._get_flag("struct") or OmegaConf.get_type(node) is not dict:
                yield complaints.unknown_key(prefix, str(name), value, [str(one) for one in node])
            continue
        child = node._get_node(name)
        if isinstance(child, DictConfig) and isinstance(value, Mapping) and not child._is_none():
            yield from misfits(value, child, f"{key}.")
        elif isinstance(child, DictConfig) and "${" not in str(value):
            setting = f"{key}={complaints.shown(value)}"
            yield Problem(f"{setting}: {GROUP}", key, "type", setting)
        else:
            try:
                OmegaConf.update(node, str(name), value)
            except OmegaConfBaseException as error:
                yield complaints.wrong_value(key, value, error)
