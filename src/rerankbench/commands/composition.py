"""What Hydra says where options do not make a config, as problems that name file, key and cure."""

from __future__ import annotations

import re
from typing import Any

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from rerankbench.basics import complaints
from rerankbench.basics.errors import Problem
from rerankbench.commands.hydra_private import ConfigLoaderImpl

IN_FILE = re.compile(r"In '(.+?)': ")
# Hydra has one exception for these two, and nothing in it but the sentence.
NOT_OVERRIDDEN = re.compile(r"Could not override '(?:[^']*[/@])?([^']*)'")
TWICE = re.compile(r"Multiple values for ([\w/]+)\.")


def problem(error: Exception, loader: ConfigLoaderImpl) -> Problem:
    """Why options make no config."""
    said, cause = str(error), error.__context__
    named = IN_FILE.match(said)
    where = f"{named[1]}.yaml: " if named and named[1] != "config" else ""  # the package's own is right
    if isinstance(error, MissingConfigException):
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        found = complaints.unknown_option(group, option, loader.get_group_options(group))
        if not group:
            line = "there is no such config; leave it out, or name the folder that has it with --config-dir"
            found = Problem(f"--config-name {option}: {line}" if option else complaints.one_line(error))
    elif match := NOT_OVERRIDDEN.search(said):
        cure = f"override /{complaints.closest(match[1], loader.list_groups('')) or match[1]}: OPTION"
        line = f"its defaults override {match[1]}, which is not a group; write {cure}"
        found = Problem(line, match[1], "option")
    elif match := TWICE.match(said):
        line = f"{match[1]}: chosen twice; in the defaults of a config write override /{match[1]}: OPTION"
        found = Problem(line, match[1], "option")
    else:
        found = unfit(cause) if isinstance(cause, OmegaConfBaseException) else complaints.one_line(error)
    return found if where in found else found.saying(where + found)


def unfit(error: BaseException, key: str = "", value: Any = "...") -> Problem:
    """Why Hydra's own section does not take a key or a value; those that the error names, if it does."""
    if not isinstance(error, OmegaConfBaseException) or not (key or error.full_key):
        return Problem(f"{complaints.one_line(error)}; keep groups of keys groups, and lists lists", key)
    key, node = error.full_key or key, error.parent_node
    value = error.value if value == "..." and error.value is not None else value
    parent, _, name = key.rpartition(".")
    content = (node._content if isinstance(node, DictConfig) else None) or {}
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)) and name not in content:
        return complaints.unknown_key(f"{parent}." if parent else "", name, value, list(map(str, content)))
    kind = content[name]._metadata.ref_type if name in content else dict  # type: ignore[index, union-attr]
    return complaints.wrong_value(key, value, kind, error)
