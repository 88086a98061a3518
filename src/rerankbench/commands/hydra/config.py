"""What Hydra composes as typed settings: an experiment's, and where to log it and how to report on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics import installed
from rerankbench.basics.errors import Problem, UserError
from rerankbench.basics.typed_settings import schema
from rerankbench.experiment import config as experiments
from rerankbench.experiment import groups
from rerankbench.experiment.config import Root
from rerankbench.experiment.groups import Group, own_kinds
from rerankbench.experiment.settings import Experiment
from rerankbench.experiment.tracking.mlflow_store import Tracking
from rerankbench.report.settings import Report, missing_measure

ROOT_KEYS = tuple(f.name for f in fields(Root))
GROUPS = {
    **groups.GROUPS,
    "tracking": Group("tracking", Tracking, "kind"),
    "report": Group("report", Report),
}


@dataclass(frozen=True, kw_only=True)
class RunSettings(Experiment):
    """An experiment with what a run does besides: where it is logged and what its report decides by."""

    tracking: Tracking
    report: Report


def options(group: str) -> dict[str, type]:
    """The settings class of each kind of a group, of installed packages' those that were asked for."""
    return GROUPS[group].classes


@cache
def register_schemas() -> None:
    """Tell Hydra the keys and defaults of every group, as `/schema/<group>/<kind>`.

    Hydra gets plain values: it puts files and words together, and `read` alone decides what fits, so that all
    mistakes are told at once and in the same words, wherever they stand.

    Each composition copies Hydra's sources, and with them the store, which took half of a command's checks.
    It need not be copied: there is one for the process, and it gives out copies of what it holds.
    """
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    store = ConfigStore.instance()
    store.store(name="schema", node={**plain(Root), **{group: opened({}) for group in GROUPS}})
    for group, found in GROUPS.items():
        for kind, cls in own_kinds(found).items():
            store.store(group=f"schema/{group}", name=kind or group, node=keys_of(kind, cls, found.key))


def plain(cls: type) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(schema(cls)))


def opened(values: Mapping[str, Any]) -> DictConfig:
    """A group's values, to which Hydra may add any key."""
    return OmegaConf.create(dict(values), flags={"struct": False})


def keys_of(kind: str, cls: type, key: str | None) -> DictConfig:
    """The keys of a kind with their defaults, and the one that names it."""
    return opened({**({key: kind} if key else {}), **plain(cls)})


def register_installed(texts: Sequence[str]) -> None:
    """Tell Hydra the options of other installed packages.

    Those that `texts`, a command's words and the configs that it may read, mention are imported for their
    keys; of others only the names are told. Raises UserError for one that is mentioned and cannot be had.
    """
    store = ConfigStore.instance()
    for group in installed.ENTRY_POINTS:
        found, asked = GROUPS[group], installed.mentioned(group, texts)
        for name in installed.names(group):
            if name in own_kinds(found):
                continue  # the package's own come first
            node = opened({str(found.key): name})
            if name in asked and found.has(name):
                node = keys_of(name, found.classes[name], found.key)
                store.store(group=f"schema/{group}", name=name, node=node)
            store.store(group=group, name=name, node=node)


def read(
    config: DictConfig,
    labels: Mapping[str, str] | None = None,
    typed: Collection[str] = (),
) -> RunSettings:
    """The experiment that a composed config describes.

    `labels`: the option chosen in each group; `typed`: the keys that were given on the command line, where a
    default has to fit them and not the other way round.

    Raises UserError with every problem found in it, one line each.
    """
    problems: list[Problem] = []
    root, parts = experiments.read_parts(config, GROUPS, problems, labels, typed)
    if root is not None:
        problems += measure_problems(root, parts["report"])
    if problems or root is None:
        raise UserError(list(dict.fromkeys(problems)))
    values = experiments.root_values(root)
    return RunSettings(**parts, **values, labels=dict(labels or {}))


def measure_problems(root: Root, report: Report | None) -> list[Problem]:
    """Why runs would not have the measure that decides; nothing where it, or a cutoff, is wrong anyway."""
    if report is None or report.problems():
        return []
    if not 0 < min(root.cutoffs, default=0) <= max(root.cutoffs) <= root.candidates:
        return []
    lines = missing_measure(report.measure, sorted(set(root.cutoffs)), root.measures)
    return [Problem.of(line, "report.measure") for line in lines]


def only_forecasts(config: DictConfig) -> bool:
    """Whether a config, whose other parts may be wrong, asks for a forecast and nothing else."""
    root = experiments.read_root(config, [])
    return root is not None and root.dry_run


def read_tracking(config: DictConfig) -> Tracking:
    """Where to log, of a config whose other parts may be wrong. Raises UserError."""
    return cast(Tracking, read_alone("tracking", config))


def read_alone(name: str, config: DictConfig) -> Any:
    """One group's settings, of a config whose other parts may be wrong. Raises UserError."""
    problems: list[Problem] = []
    settings = experiments.read_group(name, GROUPS[name], config, problems)
    if problems:
        raise UserError(problems)
    return settings
