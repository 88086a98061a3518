"""Parse and validate Hydra's configs into typed settings, with every mistake at once.

Each config group has a base class; its options' settings are that class's dataclasses, told apart by one
key (`kind`, for rerankers `family`). Their fields are the schema: unknown keys, wrong types, missing and
impossible values are collected from all groups and reported together, before anything is loaded.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import rerankbench.collections.sources
import rerankbench.engine.executors
import rerankbench.first_stages
import rerankbench.rerankers
from rerankbench.basics import complaints
from rerankbench.basics.errors import Kind, Problem, UserError
from rerankbench.collections.sources.source import Source
from rerankbench.commands import installed
from rerankbench.engine import hardware
from rerankbench.engine.executors import Executor
from rerankbench.first_stages.embedding import Embedder
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.index import Index
from rerankbench.report.settings import Report, missing_measure, within
from rerankbench.rerankers.reranker import LocalReranker, Reranker
from rerankbench.store import disk
from rerankbench.tracking.mlflow_store import Tracking

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
    cutoffs: list[int] = field(default_factory=lambda: [1, 10, 100])
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


ROOT_KEYS = tuple(f.name for f in fields(Root))
# Settings that matter with one value of another only, and what that is by default.
REQUIRES = {
    "first_stage.dense_weight": ("first_stage", "fusion", "weighted", "rrf"),
    "reranker.window_overlap": ("reranker", "long_documents", "max_passage", "truncate"),
}


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
    "dataset": Group(Source, "kind", rerankbench.collections.sources),
    "embedder": Group(Embedder),
    "index": Group(Index),
    "first_stage": Group(FirstStage, "kind", rerankbench.first_stages),
    "reranker": Group(Reranker, "family", rerankbench.rerankers),
    "tracking": Group(Tracking, "kind"),
    "executor": Group(Executor, "kind", rerankbench.engine.executors),
    "report": Group(Report),
}


def options(group: str) -> dict[str, type]:
    """The settings class of each kind of a group, of installed packages' those that were asked for."""
    return installed.loaded(group) | own_options(group)


def kinds(group: str) -> list[str]:
    """The kinds that a group has, those of other installed packages among them; imports nothing."""
    return sorted({*own_options(group), *installed.names(group)})


def known(group: str, kind: Any) -> bool:
    """Whether a group has a kind; an installed one is imported now. Raises UserError where it cannot be."""
    if kind not in own_options(group) and kind in installed.names(group):
        found = GROUPS[group]
        installed.load(group, kind, found.base, str(found.key))
    return kind in options(group)


@cache
def own_options(group: str) -> dict[str, type]:
    """The settings class of each kind of a group that is found in its package, and nowhere else."""
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
        for kind, cls in own_options(group).items():
            store.store(group=f"schema/{group}", name=kind or group, node=keys_of(kind, cls, found.key))


def keys_of(kind: str, cls: type, key: str | None) -> DictConfig:
    """The keys of a kind with their types, and the one that names it."""
    node = schema(cls)
    if key:
        node = OmegaConf.create({key: kind, **OmegaConf.to_container(node)})  # type: ignore[dict-item]
        OmegaConf.set_struct(node, True)
    return node


def register_installed(texts: Sequence[str]) -> None:
    """Tell Hydra the options of other installed packages.

    Those that `texts`, a command's words and the configs that it may read, mention are imported for their
    keys; of others only the names are told. Raises UserError for one that is mentioned and cannot be had.
    """
    store = ConfigStore.instance()
    for group in installed.ENTRY_POINTS:
        key, asked = str(GROUPS[group].key), installed.mentioned(group, texts)
        for name in installed.names(group):
            if name in own_options(group):
                continue  # the package's own come first
            node = OmegaConf.create({key: name})
            if name in asked and known(group, name):
                node = keys_of(name, options(group)[name], key)
                store.store(group=f"schema/{group}", name=name, node=node)
            store.store(group=group, name=name, node=node)


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
    typed: Collection[str] = (),
) -> Experiment:
    """The experiment that a composed config describes.

    `labels`: the option chosen in each group; `overrides`: settings that the arm's name shows; `typed`: the
    keys that were given on the command line, where a default has to fit them and not the other way round.

    Raises UserError with every problem found in it, one line each.
    """
    problems: list[Problem] = []
    root = read_root(config, problems)
    groups = {name: read_group(name, config, problems, labels or {}, typed) for name in GROUPS}
    problems += idle(groups, typed)
    if root is not None:
        root = fitted(root, typed)
        problems += check_together(root, groups)
    if problems := needed(problems, groups):
        raise UserError(list(dict.fromkeys(problems)))
    assert root is not None
    values = {name: getattr(root, name) for name in ROOT_KEYS if name not in (*GROUPS, "experiment")}
    values |= {
        "cutoffs": tuple(sorted(set(root.cutoffs))),
        "depth": root.candidates if root.depth is None else root.depth,
        "cache_dir": Path(root.cache_dir).expanduser().absolute(),
    }
    return Experiment(**groups, **values, labels=dict(labels or {}), overrides=tuple(overrides))


def read_tracking(config: DictConfig) -> Tracking:
    """Where to log, of a config whose other parts may be wrong. Raises UserError."""
    return cast(Tracking, read_alone("tracking", config))


def read_alone(name: str, config: DictConfig) -> Any:
    """One group's settings, of a config whose other parts may be wrong. Raises UserError."""
    problems: list[Problem] = []
    settings = read_group(name, config, problems)
    if problems:
        raise UserError(problems)
    return settings


def read_root(config: DictConfig, problems: list[Problem]) -> Root | None:
    names = [str(name) for name in config if name not in (*GROUPS, "experiment", "hydra")]
    found: list[str] = []
    root = convert(Root, resolved(config, names, "", found), "", found)
    problems += [Problem.of(line) for line in found]
    problems += root_problems(root) if root is not None else []
    return root


def read_group(
    name: str,
    config: DictConfig,
    problems: list[Problem],
    labels: Mapping[str, str] | None = None,
    typed: Collection[str] = (),
) -> Any:
    """One group's settings, or None after noting what is wrong."""
    group = GROUPS[name]
    node = config._get_node(name) if name in config else None
    if not isinstance(node, DictConfig) or node._is_none():
        line = f"{name} has no option: choose one with {name}=OPTION; rerankbench --help lists them"
        problems.append(Problem(line, name, "option"))
        return None
    found: list[str] = []
    values = resolved(node, [str(key) for key in node], f"{name}.", found)
    kind = values.pop(group.key, None) if group.key else ""
    if not isinstance(kind, str) or not known(name, kind):
        line = f"{name}.{group.key}={complaints.shown(kind)}: choose one of {', '.join(kinds(name))}"
        problems.append(Problem(line, f"{name}.{group.key}"))
        return None
    classes = options(name)
    settings: Any = convert(classes[kind], values, f"{name}.", found)
    chosen = f"this is {name}={labels[name]}" if labels and name in labels else ""
    problems += [whose(Problem.of(line), chosen, group, classes) for line in found]
    if settings is not None:
        settings = fitted_reranker(settings, typed) if isinstance(settings, LocalReranker) else settings
        where: Kind = "place" if name == "dataset" or kind == "run" else "value"
        problems += [Problem.of(line, name, where) for line in own_problems(settings)]
    return settings


def whose(problem: Problem, chosen: str, group: Group, kinds: Mapping[str, type]) -> Problem:
    """An unknown key with the option that lacks it, and the kinds that have it."""
    name = problem.key.rpartition(".")[2]
    having = [kind for kind, cls in kinds.items() if kind and name in [f.name for f in fields(cls)]]
    have = f"{group.key} {', '.join(having)} would have it" if having else ""
    notes = "; ".join(note for note in (chosen, have) if note)
    return problem.saying(f"{problem} ({notes})") if problem.kind == "key" and notes else problem


def fitted_reranker(settings: LocalReranker, typed: Collection[str]) -> LocalReranker:
    """The reranker with a default overlap of windows that fits its length."""
    if settings.long_documents != "max_passage" or "reranker.window_overlap" in typed:
        return settings
    return replace(settings, window_overlap=min(settings.window_overlap, settings.max_length // 4))


def own_problems(settings: Any) -> list[str]:
    """What settings find wrong with themselves, or what the system says of the paths in them."""
    try:
        return settings.problems()
    except OSError as error:
        return [complaints.one_line(error)]


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
            problems.append(complaints.wrong_value(full, cast(dict[str, Any], raw)[name], error))
    return values


def convert(cls: type[T], values: Mapping[str, Any], prefix: str, problems: list[str]) -> T | None:
    """`values` as an instance of a dataclass; what does not fit is noted, key by key."""
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    before = len(problems)
    problems += [
        complaints.unknown_key(prefix, name, value, known)
        for name, value in values.items()
        if name not in known
    ]
    given = {name: value for name, value in values.items() if name in known and value != "???"}
    node = merged(cls, given)
    if node is None:  # one by one, to name every value that does not fit
        node = schema(cls)
        for name, value in given.items():
            problems += value_problems(cls, name, value, prefix)
    missing = {str(name) for name in OmegaConf.missing_keys(node)}
    missing |= {name for name in known if values.get(name) == "???"}
    missing -= {name for name in given if len(problems) > before}
    problems += [
        Problem(f"{prefix}{name} is needed: add {prefix}{name}=VALUE", f"{prefix}{name}", "missing")
        for name in sorted(missing)
    ]
    return None if len(problems) > before else cast(T, OmegaConf.to_object(node))


def merged(cls: type, values: Mapping[str, Any]) -> DictConfig | None:
    """The schema of a dataclass with values; None where one does not fit."""
    try:
        return cast(DictConfig, OmegaConf.merge(schema(cls), dict(values)))
    except OmegaConfBaseException:
        return None


def value_problems(cls: type, name: str, value: Any, prefix: str) -> list[str]:
    """Why a value does not fit its field, which may be a dataclass itself."""
    inner = get_type_hints(cls)[name]
    if is_dataclass(inner) and isinstance(value, Mapping):
        found: list[str] = []
        convert(cast(type, inner), cast(Mapping[str, Any], value), f"{prefix}{name}.", found)
        return found
    try:
        OmegaConf.merge(schema(cls), {name: value})
    except OmegaConfBaseException as error:
        return [complaints.wrong_value(f"{prefix}{name}", value, error, text=inner is str)]
    return []


def fitted(root: Root, typed: Collection[str]) -> Root:
    """The root with defaults that fit what was typed: no cutoff beyond the candidates."""
    if "cutoffs" in typed or root.candidates < 1:
        return root
    return replace(root, cutoffs=within(root.cutoffs, root.candidates))


def idle(groups: Mapping[str, Any], typed: Collection[str]) -> list[Problem]:
    """Settings that were typed and do nothing, since another one has its default."""
    found = []
    for key, (group, other, needed_value, default) in REQUIRES.items():
        if key in typed and getattr(groups[group], other, None) == default:
            setting = f"{key}={complaints.shown(getattr(groups[group], key.partition('.')[2]))}"
            cure = f"{group}.{other}={needed_value}"
            line = f"{setting}: counts only with {cure}; add that, or leave this out"
            found.append(Problem(line, key, "idle", setting, f"{setting} {cure}"))
    return found


def root_problems(root: Root) -> list[Problem]:
    """Impossible values of the root keys."""
    lines = [Problem.of(line, "device") for line in hardware.problems(root.device, root.precision)]
    for name, (least, most) in BOUNDS.items():
        value, setting = getattr(root, name), f"{name}={getattr(root, name)}"
        if value is not None and value < least:
            lines.append(
                Problem(f"{setting}: give at least {least}", name, "value", setting, f"{name}={least}")
            )
        if value is not None and value > most:
            lines.append(
                Problem(f"{setting}: give at most {most:,}", name, "value", setting, f"{name}={most}")
            )
    if problem := folder_problem(root.cache_dir):
        lines.append(Problem(f"cache_dir={root.cache_dir}: {problem}", "cache_dir"))
    if not root.cutoffs or min(root.cutoffs) < 1:
        setting = f"cutoffs={list(root.cutoffs)}"
        line = f"{setting}: give a list of numbers from 1, for instance [1,10]"
        lines.append(Problem(line, "cutoffs", "value", setting, "cutoffs=[1,10]"))
    if root.measures not in ("standard", "tutorial"):
        setting = f"measures={root.measures}"
        line = f"{setting}: choose standard, or tutorial to have the tutorial's own beside it"
        lines.append(Problem(line, "measures", "value", setting, "measures=standard"))
    return lines


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


def check_together(root: Root, groups: Mapping[str, Any]) -> list[Problem]:
    """Combinations of keys that cannot be."""
    found = []
    most = f"the candidates={root.candidates} kept"
    largest = max(root.cutoffs, default=0)
    if largest > root.candidates > 0:
        setting, cure = f"cutoffs={list(root.cutoffs)}", f"candidates={largest}"
        line = f"{setting}: {largest} is more than {most}; raise it with {cure}, or lower the cutoff"
        found.append(Problem(line, "cutoffs", "value", setting, f"{cure} {setting.replace(' ', '')}"))
    if root.depth is not None and root.depth > root.candidates > 0:
        setting, cure = f"depth={root.depth}", f"candidates={root.depth}"
        line = f"{setting}: more than {most}; raise it with {cure}, or lower depth"
        found.append(Problem(line, "depth", "value", setting, f"{setting} {cure}"))
    report = groups.get("report")
    if (
        report is not None
        and not report.problems()
        and 0 < min(root.cutoffs, default=0) <= largest <= root.candidates
    ):
        lines = missing_measure(report.measure, sorted(set(root.cutoffs)), root.measures)
        found += [Problem.of(line, "report.measure") for line in lines]
    return found


def needed(problems: list[Problem], groups: Mapping[str, Any]) -> list[Problem]:
    """Problems without those of parts that this experiment does not use."""
    stage = groups.get("first_stage")
    if stage is None or stage.embeds():
        return problems
    return [one for one in problems if one.key.partition(".")[0] not in ("embedder", "index")]
