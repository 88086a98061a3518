"""What Hydra composes as typed settings: an experiment's, and where to log it and how to report on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from rerankbench.basics.errors import Problem, UserError
from rerankbench.basics.typed_settings import schema
from rerankbench.experiment import config as experiments
from rerankbench.experiment import groups
from rerankbench.experiment.config import Root
from rerankbench.experiment.groups import Group
from rerankbench.experiment.settings import Experiment
from rerankbench.report.settings import Report, missing_measure
from rerankbench.tracking.mlflow_store import Tracking

ROOT_KEYS = tuple(f.name for f in fields(Root))
GROUPS = {
    **groups.GROUPS,
    "tracking": Group(Tracking, "kind"),
    "report": Group(Report),
}


@dataclass(frozen=True, kw_only=True)
class RunSettings(Experiment):
    """An experiment with what a run does besides: where it is logged and what its report decides by."""

    tracking: Tracking
    report: Report


def options(group: str) -> dict[str, type]:
    """The settings class of each kind of a group."""
    return GROUPS[group].kinds


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


def read(
    config: DictConfig,
    labels: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    typed: Collection[str] = (),
) -> RunSettings:
    """The experiment that a composed config describes.

    `labels`: the option chosen in each group; `overrides`: settings that the arm's name shows; `typed`: the
    keys that were given on the command line, where a default has to fit them and not the other way round.

    Raises UserError with every problem found in it, one line each.
    """
    problems: list[Problem] = []
    root, parts = experiments.read_parts(config, GROUPS, problems, labels, typed)
    if root is not None:
        problems += measure_problems(root, parts["report"])
    if problems or root is None:
        raise UserError(list(dict.fromkeys(problems)))
    values = experiments.root_values(root)
    return RunSettings(**parts, **values, labels=dict(labels or {}), overrides=tuple(overrides))


def measure_problems(root: Root, report: Report | None) -> list[Problem]:
    """Why runs would not have the measure that decides; nothing where it, or a cutoff, is wrong anyway."""
    if report is None or report.problems():
        return []
    if not 0 < min(root.cutoffs, default=0) <= max(root.cutoffs) <= root.candidates:
        return []
    lines = missing_measure(report.measure, sorted(set(root.cutoffs)), root.measures)
    return [Problem.of(line, "report.measure") for line in lines]


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
