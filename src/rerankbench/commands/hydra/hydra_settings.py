"""Hydra's own settings, once all are known: where results are written, and what launches the jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics import complaints
from rerankbench.basics.errors import Problem
from rerankbench.commands.hydra.as_typed import MOST_JOBS
from rerankbench.commands.hydra.hydra_section import written
from rerankbench.experiment.tracking.mlflow_store import place_problem


def problems(hydra: DictConfig, part: str, writes: bool) -> Iterator[Problem]:
    """What Hydra's section, in which `hydra_section` finds nothing wrong, cannot be used for.

    part: `sweep` or `run`; writes: whether results are written.
    """
    yield from folder_problems(hydra, part, writes)
    trials, aim = hydra.sweeper.get("n_trials"), hydra.sweeper.get("direction")
    if trials is not None and not (isinstance(trials, int) and trials <= MOST_JOBS):
        key = "hydra.sweeper.n_trials"
        yield Problem(f"{key}={trials}: give a whole number, at most {MOST_JOBS:,}", key)
    if aim is not None and not str(aim).endswith("maximize"):
        key = "hydra.sweeper.direction"
        line = f"{key}={aim}: looks for the worst arm; give maximize"
        yield Problem(line, key, cure=f"{key}=maximize")
    for kind in ("launcher", "sweeper"):
        if hydra[kind].get("_target_") not in Plugins.instance().class_name_to_class:
            chosen = f"hydra/{kind}={hydra.runtime.choices[f'hydra/{kind}']}"
            line = f"{chosen} needs a plugin of Hydra: pip install 'rerankbench[launchers]'"
            yield Problem(line, f"hydra/{kind}", "option", chosen)


def folder_problems(hydra: DictConfig, part: str, writes: bool) -> Iterator[Problem]:
    """Why Hydra could not make the folder in which results are written."""
    key = f"hydra.{part}.dir"
    try:
        place = str(OmegaConf.select(hydra, f"{part}.dir") or "")
    except OmegaConfBaseException as error:
        yield complaints.explained(error, key, written(hydra)[part]["dir"])
        return
    if place.partition("/")[0] == "~":  # the shell expands it at the start of a word only
        cure = f"{key}={Path(place).expanduser()}"
        yield Problem(f"{key}={place}: ~ would be a folder of that name; give {cure}", key, cure=cure)
    elif not place.strip():
        yield Problem(f"{key}={place}: give a folder for the results", key)
    elif writes and (said := place_problem(Path(place).absolute() / "result.json")):
        yield Problem(f"{key}={place}: {said}", key)
    subdir = Path(str(written(hydra)["sweep"]["subdir"]))
    if part == "sweep" and (subdir.is_absolute() or ".." in subdir.parts):
        key = "hydra.sweep.subdir"
        yield Problem(f"{key}={subdir}: leads out of hydra.sweep.dir; give a name", key)
