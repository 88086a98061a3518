"""The door: Hydra's configs in, plain typed objects out, and every mistake at once on the way.

Each config group has a base class; its options' settings are that class's dataclasses, told apart by one
key (`kind`, for rerankers `family`). Their fields are the schema: unknown keys, wrong types, missing and
impossible values are collected from all groups and reported together, before anything is loaded.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import rerankbench.executors
import rerankbench.first_stages
import rerankbench.rerankers
import rerankbench.sources
from rerankbench import complaints, disk, hardware
from rerankbench.embedding import Embedder
from rerankbench.errors import UserError
from rerankbench.executors import Executor
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.index import Index
from rerankbench.report_settings import Report, missing_measure
from rerankbench.rerankers.reranker import Reranker
from rerankbench.sources.source import Source
from rerankbench.tracking import Tracking

T = TypeVar("T")


# Least and most of the root's numbers: more than 1024 threads end a process without a word.
BOUNDS = {
    "candidates": (1, 1_000_000),
    "depth": (0, 1_000_000),
    "batch_size": (1, 1_000_000),
    "batch_tokens": (1, 1_000_000_000),
    "threads": (1, 1024),
    "seed": (0, 2**32 - 1),
}


@dataclass
class Root:
    """The keys at the root of the config; `rerankbench --help` prints what each is for."""

    dataset: Any = None
    embedder: Any = None
    index: Any = None
    first_stage: Any = None
    reranker: Any = None
    tracking: Any = None
    executor: Any = None
    report: Any = None
    experiment: Any = None
    candidates: int = 100
    depth: int | None = None
    cutoffs: list[int] = field(default_factory=lambda: [1, 10])
    measures: str = "standard"
    batch_size: int = 512
    batch_tokens: int | None = None
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    cache_dir: str = "~/.cache/rerankbench"
    reuse: bool = True
    latency: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Experiment:
    """One experiment, fully described by typed settings.

    `labels`: the option chosen in each group; `overrides`: this job's values that its name tells.
    """

    dataset: Source
    embedder: Embedder
    index: Index
    first_stage: FirstStage
    reranker: Reranker
    tracking: Tracking
    executor: Executor
    report: Report
    candidates: int
    depth: int
    cutoffs: tuple[int, ...]
    measures: str
    batch_size: int
    batch_tokens: int | None
    precision: str
    device: str
    threads: int | None
    seed: int
    cache_dir: Path
    reuse: bool
    latency: bool
    dry_run: bool
    labels: Mapping[str, str]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A config group: its base class, the key that tells options apart (None: one class), their package."""

    base: type
    key: str | None = None
    package: ModuleType | None = None


GROUPS = {
    "dataset": Group(Source, "kind", rerankbench.sources),
    "embedder": Group(Embedder),
    "index": Group(Index),
    "first_stage": Group(FirstStage, "kind", rerankbench.first_stages),
    "reranker": Group(Reranker, "family", rerankbench.rerankers),
    "tracking": Group(Tracking, "kind"),
    "executor": Group(Executor, "kind", rerankbench.executors),
    "report": Group(Report),
}


@cache
def options(group: str) -> dict[str, type]:
    """The settings class of each kind of a group, found by looking into its package and nowhere else."""
    found = GROUPS[group]
    if found.key is None:
        return {"": found.base}
    home = found.package.__name__ if found.package else found.base.__module__
    for module in pkgutil.iter_modules(found.package.__path__) if found.package else ():
        importlib.import_module(f"{home}.{module.name}")
    classes = (cls for cls in descendants(found.base) if f"{cls.__module__}.".startswith(f"{home}."))
    return {getattr(cls, found.key): cls for cls in classes if found.key in vars(cls)}


def descendants(base: type) -> list[type]:
    below: dict[type, None] = {}
    children: list[type] = base.__subclasses__()
    for child in children:
        below |= dict.fromkeys([child, *descendants(child)])
    return list(below)


@cache
def register_schemas() -> None:
    """Tell Hydra the keys and types of every group, as `/schema/<group>/<kind>`."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Root)
    for group, found in GROUPS.items():
        for kind, cls in options(group).items():
            node = schema(cls)
            if found.key:
                node = OmegaConf.create({found.key: kind, **OmegaConf.to_container(node)})  # type: ignore[dict-item]
                OmegaConf.set_struct(node, True)
            store.store(group=f"schema/{group}", name=kind or group, node=node)


def schema(cls: type) -> DictConfig:
    return writable(OmegaConf.structured(cls))


def writable(node: DictConfig) -> DictConfig:
    """Settings are frozen, the config they are made from is not."""
    OmegaConf.set_readonly(node, False)
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig):
            writable(child)
    return node


def read(
    config: DictConfig,
    labels: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    seen: dict[str, Any] | None = None,
) -> Experiment:
    """The experiment that a composed config describes.

    `labels`: the option chosen in each group; `overrides`: this job's values that its name tells;
    `seen` keeps what groups read as, for a caller that reads many configs which share most of them.

    Raises UserError with every problem found in it, one line each.
    """
    problems: list[str] = []
    names = [str(name) for name in config if name not in GROUPS and name not in ("experiment", "hydra")]
    root = convert(Root, resolved(config, names, "", problems), "", problems)
    groups = {name: read_once(name, config, problems, {} if seen is None else seen) for name in GROUPS}
    if root is not None:
        problems += root_problems(root)
        problems += check_together(root, groups)
    if problems := needed(problems, groups):
        raise UserError(list(dict.fromkeys(problems)))
    assert root is not None
    plain = {
        f.name: getattr(root, f.name) for f in fields(root) if f.name not in GROUPS and f.name != "experiment"
    }
    plain |= {
        "cutoffs": tuple(sorted(set(root.cutoffs))),
        "depth": root.candidates if root.depth is None else root.depth,
        "cache_dir": Path(root.cache_dir).expanduser().absolute(),
    }
    return Experiment(**groups, **plain, labels=dict(labels or {}), overrides=tuple(overrides))


def read_tracking(config: DictConfig) -> Tracking:
    """Where to log, of a config whose other parts may be wrong. Raises UserError."""
    problems: list[str] = []
    tracking = read_group("tracking", config, problems)
    if problems:
        raise UserError(problems)
    return cast(Tracking, tracking)


def resolved(node: DictConfig, names: Iterable[str], prefix: str, problems: list[str]) -> dict[str, Any]:
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
            problems.append(complaints.wrong_value(full, cast(dict[str, Any], raw)[name], error))
    return values


def read_once(name: str, config: DictConfig, problems: list[str], seen: dict[str, Any]) -> Any:
    """One group's settings, read before or read now."""
    found: list[str] = []
    try:
        key = name + json.dumps(OmegaConf.to_container(config[name], resolve=True), default=str)
    except (OmegaConfBaseException, ValueError, TypeError, KeyError):
        return read_group(name, config, problems)
    if key not in seen:
        seen[key] = (read_group(name, config, found), found)
    settings, lines = seen[key]
    problems += lines
    return settings


def read_group(name: str, config: DictConfig, problems: list[str]) -> Any:
    """One group's settings, or None after noting what is wrong."""
    group, classes = GROUPS[name], options(name)
    node = config._get_node(name) if name in config else None
    if not isinstance(node, DictConfig) or node._is_none():
        problems.append(f"{name} has no option: choose one with {name}=OPTION; rerankbench --help lists them")
        return None
    values = resolved(node, [str(key) for key in node], f"{name}.", problems)
    kind = values.pop(group.key, None) if group.key else ""
    if kind not in classes:
        problems.append(
            f"{name}.{group.key}={complaints.shown(kind)}: choose one of {', '.join(sorted(classes))}"
        )
        return None
    settings: Any = convert(classes[kind], values, f"{name}.", problems)
    if settings is not None:
        problems += settings.problems()
    return settings


def convert(cls: type[T], values: Mapping[str, Any], prefix: str, problems: list[str]) -> T | None:
    """`values` as an instance of a dataclass; what does not fit is noted, key by key."""
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    node, before = schema(cls), len(problems)
    missing: set[str] = set()
    for name, value in values.items():
        if name not in known:
            problems.append(complaints.unknown_key(prefix, str(name), value, known))
            continue
        if value == "???":  # would leave the default as it is
            missing.add(name)
            continue
        try:
            node = writable(cast(DictConfig, OmegaConf.merge(node, {name: value})))
        except OmegaConfBaseException as error:
            problems.append(complaints.wrong_value(f"{prefix}{name}", value, error))
    missing |= set(OmegaConf.missing_keys(node)) if node else set()
    problems += [f"{prefix}{name} is needed: add {prefix}{name}=VALUE" for name in sorted(missing)]
    return None if len(problems) > before else cast(T, OmegaConf.to_object(node))


def root_problems(root: Root) -> list[str]:
    """Impossible values of the root keys."""
    found = hardware.problems(root.device, root.precision)
    for name, (least, most) in BOUNDS.items():
        value = getattr(root, name)
        if value is not None and value < least:
            found.append(f"{name}={value}: give at least {least}")
        if value is not None and value > most:
            found.append(f"{name}={value}: give at most {most:,}")
    if problem := folder_problem(root.cache_dir):
        found.append(f"cache_dir={root.cache_dir}: {problem}")
    if not root.cutoffs or min(root.cutoffs) < 1:
        found.append(f"cutoffs={list(root.cutoffs)}: give a list of numbers from 1, for instance [1,10]")
    if root.measures not in ("standard", "tutorial"):
        found.append(
            f"measures={root.measures}: choose standard, or tutorial to have the tutorial's own beside it"
        )
    return found


def folder_problem(place: str) -> str:
    """Why no folder can be there; empty if it can be made, or is there already, writable or not."""
    if not place.strip():
        return "it is empty; give a folder, or leave it out"
    path = Path(place).expanduser().absolute()
    above = next(part for part in (path, *path.parents) if part.exists())
    if not above.is_dir():
        return f"{above} is a file, not a folder; choose another place"
    if above != path and not disk.takes_folders(above):
        return f"cannot be made, since {above} takes no folders of yours; choose another place"
    return ""


def check_together(root: Root, groups: Mapping[str, Any]) -> list[str]:
    """Combinations of keys that cannot be."""
    found = []
    too_large = [k for k in root.cutoffs if k > root.candidates]
    if too_large and root.candidates > 0:
        found.append(
            f"cutoffs={list(root.cutoffs)}: {max(too_large)} is more than the "
            f"candidates={root.candidates} kept; raise candidates or lower the cutoff"
        )
    if root.depth is not None and root.depth > root.candidates > 0:
        found.append(
            f"depth={root.depth}: more than the candidates={root.candidates} kept; "
            "raise candidates or lower depth"
        )
    report = groups.get("report")
    if report is not None and not report.problems() and root.cutoffs and min(root.cutoffs) > 0:
        found += missing_measure(report.measure, sorted(set(root.cutoffs)), root.measures)
    return found


def needed(problems: list[str], groups: Mapping[str, Any]) -> list[str]:
    """Problems without those of parts that this experiment does not use."""
    stage = groups.get("first_stage")
    if stage is None or stage.embeds():
        return problems
    return [line for line in problems if not line.startswith(("embedder.", "index."))]
