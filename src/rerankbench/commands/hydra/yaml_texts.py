"""Texts in a config file that YAML reads as something else, since they are not in quotes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.errors import Problem
from rerankbench.commands.hydra.config_files import text_of
from rerankbench.commands.hydra.key_types import is_text


def misread(file: Path, group: str) -> Iterator[Problem]:
    """Texts that YAML reads as numbers or truth values; those of an experiment are in any group."""
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
