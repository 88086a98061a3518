"""A composed config as a typed experiment, with every mistake at once.

Each config group has a base class; its options' settings are that class's dataclasses, told apart by one
key (`kind`, for rerankers `family`). Their fields are the schema: unknown keys, wrong types, missing and
impossible values are collected from all groups and reported together, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rerankbench.basics import complaints
from rerankbench.basics.errors import Kind, Problem, UserError
from rerankbench.basics.typed_settings import convert, resolved
from rerankbench.engine import hardware
from rerankbench.engine.store import disk
from rerankbench.experiment.groups import GROUPS, Group
from rerankbench.experiment.settings import Experiment
from rerankbench.rerankers.reranker import LocalReranker

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


# Keys of a config that are no settings of the root.
OTHER_PARTS = ("tracking", "report", "experiment", "hydra")
# Settings that matter with one value of another only, and what that is by default.
REQUIRES = {
    "first_stage.dense_weight": ("first_stage", "fusion", "weighted", "rrf"),
    "reranker.window_overlap": ("reranker", "long_documents", "max_passage", "truncate"),
}


def read(config: DictConfig) -> Experiment:
    """The experiment of a config that a run has kept. Raises UserError with every problem found in it."""
    problems: list[Problem] = []
    root, groups = read_parts(config, GROUPS, problems)
    if root is None or problems:
        raise UserError(list(dict.fromkeys(problems)))
    return Experiment(**groups, **root_values(root), labels={})


def read_parts(
    config: DictConfig,
    known: Mapping[str, Group],
    problems: list[Problem],
    labels: Mapping[str, str] | None = None,
    typed: Collection[str] = (),
) -> tuple[Root | None, dict[str, Any]]:
    """The root's settings and those of the `known` groups; None for what is wrong, which is noted."""
    root = read_root(config, problems)
    groups = {name: read_group(name, known[name], config, problems, labels, typed) for name in known}
    problems += idle(groups, typed)
    if root is not None:
        root = fitted(root, typed)
        problems += check_together(root)
    problems[:] = needed(problems, groups)
    return root, groups


def root_values(root: Root) -> dict[str, Any]:
    """The root's settings as an experiment has them."""
    groups = (*GROUPS, *OTHER_PARTS)
    return {f.name: getattr(root, f.name) for f in fields(Root) if f.name not in groups} | {
        "cutoffs": tuple(sorted(set(root.cutoffs))),
        "depth": root.candidates if root.depth is None else root.depth,
        "cache_dir": Path(root.cache_dir).expanduser().absolute(),
    }


def read_root(config: DictConfig, problems: list[Problem]) -> Root | None:
    names = [str(name) for name in config if name not in (*GROUPS, *OTHER_PARTS)]
    found: list[str] = []
    root = convert(Root, resolved(config, names, "", found), "", found)
    problems += [Problem.of(line) for line in found]
    problems += root_problems(root) if root is not None else []
    return root


def read_group(
    name: str,
    group: Group,
    config: DictConfig,
    problems: list[Problem],
    labels: Mapping[str, str] | None = None,
    typed: Collection[str] = (),
) -> Any:
    """One group's settings, or None after noting what is wrong."""
    node = config._get_node(name) if name in config else None
    if not isinstance(node, DictConfig) or not node:
        line = f"{name} has no option: choose one with {name}=OPTION; rerankbench --help lists them"
        problems.append(Problem(line, name, "option"))
        return None
    found: list[str] = []
    values = resolved(node, [str(key) for key in node], f"{name}.", found)
    kind = values.pop(group.key, None) if group.key else ""
    if not isinstance(kind, str) or not group.has(kind):
        line = f"{name}.{group.key}={complaints.shown(kind)}: choose one of {', '.join(group.kinds)}"
        problems.append(Problem(line, f"{name}.{group.key}"))
        return None
    classes = group.classes
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
    having = [kind for kind, cls in sorted(kinds.items()) if kind and name in [f.name for f in fields(cls)]]
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


def within(cutoffs: Sequence[int], candidates: int) -> list[int]:
    """Cutoffs that go as far as there are candidates."""
    return sorted({min(k, candidates) for k in cutoffs}) if candidates > 0 else list(cutoffs)


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


def impossible(key: str, value: object, said: str, cure: str) -> Problem:
    """A value that cannot be, with the words to type instead."""
    setting = f"{key}={value}"
    return Problem(f"{setting}: {said}", key, "value", setting, cure)


def root_problems(root: Root) -> list[Problem]:
    """Impossible values of the root keys."""
    found = [Problem.of(line, "device") for line in hardware.problems(root.device, root.precision)]
    for name, (least, most) in BOUNDS.items():
        value = getattr(root, name)
        if value is not None and value < least:
            found.append(impossible(name, value, f"give at least {least}", f"{name}={least}"))
        if value is not None and value > most:
            found.append(impossible(name, value, f"give at most {most:,}", f"{name}={most}"))
    if problem := folder_problem(root.cache_dir):
        found.append(Problem(f"cache_dir={root.cache_dir}: {problem}", "cache_dir"))
    if not root.cutoffs or min(root.cutoffs) < 1:
        said = "give a list of numbers from 1, for instance [1,10]"
        found.append(impossible("cutoffs", list(root.cutoffs), said, "cutoffs=[1,10]"))
    if root.measures not in ("standard", "tutorial"):
        said = "choose standard, or tutorial to have the tutorial's own beside it"
        found.append(impossible("measures", root.measures, said, "measures=standard"))
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


def check_together(root: Root) -> list[Problem]:
    """Combinations of keys that cannot be."""
    found = []
    most = f"more than the candidates={root.candidates} kept; raise it with candidates="
    largest = max(root.cutoffs, default=0)
    if largest > root.candidates > 0:
        given = str(list(root.cutoffs))
        cure = f"candidates={largest} cutoffs={given.replace(' ', '')}"
        said = f"{largest} is {most}{largest}, or lower the cutoff"
        found.append(impossible("cutoffs", given, said, cure))
    if root.depth is not None and root.depth > root.candidates > 0:
        cure = f"depth={root.depth} candidates={root.depth}"
        found.append(impossible("depth", root.depth, f"{most}{root.depth}, or lower depth", cure))
    return found


def needed(problems: list[Problem], groups: Mapping[str, Any]) -> list[Problem]:
    """Problems without those of parts that this experiment does not use."""
    stage = groups.get("first_stage")
    if stage is None or stage.embeds():
        return problems
    return [one for one in problems if one.key.partition(".")[0] not in ("embedder", "index")]
