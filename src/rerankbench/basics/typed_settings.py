"""Plain values as typed settings: what does not fit a dataclass is noted, key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics import complaints
from rerankbench.basics.errors import Problem

T = TypeVar("T")


def resolved(node: DictConfig, names: Sequence[str], prefix: str, problems: list[str]) -> dict[str, Any]:
    """Plain values of some keys; an interpolation that leads nowhere is noted."""
    values: dict[str, Any] = {}
    for name in names:
        child = node._get_node(name)
        try:
            if OmegaConf.is_missing(node, name):
                values[name] = "???"
            elif isinstance(child, Container):
                values[name] = OmegaConf.to_container(child, resolve=True)
            else:
                values[name] = node[name]
        except OmegaConfBaseException as error:
            raw = OmegaConf.to_container(node, resolve=False)
            full = str(getattr(error, "full_key", "") or f"{prefix}{name}")
            problems.append(complaints.explained(error, full, cast(dict[str, Any], raw)[name]))
    return values


def convert(cls: type[T], values: Mapping[str, Any], prefix: str, problems: list[str]) -> T | None:
    """`values` as an instance of a dataclass; what does not fit is noted, key by key."""
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    before = len(problems)
    unknown = [name for name in values if name not in known]
    problems += [complaints.unknown_key(prefix, name, values[name], known) for name in unknown]
    given = {name: value for name, value in values.items() if name in known and value != "???"}
    node = merged(cls, given)
    if node is None:  # one by one, to name every value that does not fit
        node = schema(cast(type, cls))
        for name, value in given.items():
            problems += value_problems(cls, name, value, prefix)
    missing = {str(name) for name in OmegaConf.missing_keys(node)}
    missing |= {name for name in known if values.get(name) == "???"}
    missing -= {name for name in given if len(problems) > before}
    for key in (f"{prefix}{name}" for name in sorted(missing)):
        problems.append(Problem(f"{key} is needed: add {key}=VALUE", key, "missing"))
    return None if len(problems) > before else cast(T, OmegaConf.to_object(node))


def merged(cls: type, values: Mapping[str, Any]) -> DictConfig | None:
    """The schema of a dataclass with values; None where one does not fit."""
    kinds = get_type_hints(cls)
    if any(nested(kinds[name], value) for name, value in values.items()):
        return None
    try:
        return cast(DictConfig, OmegaConf.merge(schema(cls), dict(values)))
    except OmegaConfBaseException:
        return None


def nested(kind: Any, value: object) -> bool:
    """Whether lists or groups are where a list holds plain values, which OmegaConf lets pass."""
    lists = [one for one in (kind, *get_args(kind)) if get_origin(one) is list]
    plain = bool(lists) and all(inner in (int, float, str, bool) for one in lists for inner in get_args(one))
    return plain and isinstance(value, list) and any(isinstance(one, list | Mapping) for one in value)


def value_problems(cls: type, name: str, value: Any, prefix: str) -> list[str]:
    """Why a value does not fit its field, which may be a dataclass itself."""
    inner, key = get_type_hints(cls)[name], f"{prefix}{name}"
    if nested(inner, value):
        setting = f"{key}={complaints.shown(value)}"
        line = f"{setting}: give a list of single values, for instance [1,10]"
        return [Problem(line, key, "type", setting)]
    if is_dataclass(inner) and isinstance(value, Mapping):
        found: list[str] = []
        convert(cast(type, inner), cast(Mapping[str, Any], value), f"{key}.", found)
        return found
    try:
        OmegaConf.merge(schema(cls), {name: value})
    except OmegaConfBaseException as error:
        return [complaints.explained(error, key, value, schema(cls)._get_node(name))]
    return []


@cache
def schema(cls: type) -> DictConfig:
    """A settings class as a config with its types and defaults; shared: it is merged, and never changed."""
    return writable(OmegaConf.structured(cls))


def writable(node: DictConfig) -> DictConfig:
    """Settings are frozen, the config they are made from is not."""
    OmegaConf.set_readonly(node, False)
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig):
            writable(child)
    return node
