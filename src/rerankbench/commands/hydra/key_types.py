"""What the keys of a command hold, whichever options it chooses."""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_origin, get_type_hints

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf

from rerankbench.commands.hydra import config
from rerankbench.experiment.config import Root


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
