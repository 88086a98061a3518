"""Hydra's configs: what chosen options make, and what its own section cannot be used for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rerankbench.basics import complaints
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import config_trust, targets
from rerankbench.commands.hydra_private import ConfigLoaderImpl
from rerankbench.commands.sweep_size import MOST_JOBS
from rerankbench.tracking.mlflow_store import place_problem

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError, OSError)


def compose(
    loader: ConfigLoaderImpl, name: str, options: Sequence[Override], words: Sequence[str]
) -> DictConfig:
    """The config that options make; `words`: all of the command line, which is trusted.

    Raises UserError where Hydra cannot compose it, or would build of it what a config may not name.
    """
    try:
        made = config_trust.load(loader, conf_folder(), name, [str(o.input_line) for o in options])
    except CONFIG_ERRORS as error:
        raise UserError([complaints.uncomposed(error, loader.get_group_options)]) from None
    if made.get("experiment") is not None:
        file = f"experiment/{made.hydra.runtime.choices.get('experiment')}.yaml"
        line = f"{file}: its first line must be `# @package _global_`; without it its keys do nothing"
        raise UserError([Problem(line, "experiment")])
    found = [*targets.problems(made.hydra), *targets.command_problems(made.hydra)]
    if found := found or config_trust.problems(made, loader, conf_folder(), options, words):
        raise UserError(found)
    return made


def section_problems(hydra: DictConfig, part: str, writes: bool) -> Iterator[Problem]:
    """What Hydra's own section, with all values set, cannot be used for.

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
        yield complaints.explained(error, key, targets.plain(hydra)[part]["dir"])
        return
    if place.partition("/")[0] == "~":  # the shell expands it at the start of a word only
        cure = f"{key}={Path(place).expanduser()}"
        yield Problem(f"{key}={place}: ~ would be a folder of that name; give {cure}", key, cure=cure)
    elif not place.strip():
        yield Problem(f"{key}={place}: give a folder for the results", key)
    elif writes and (said := place_problem(Path(place).absolute() / "result.json")):
        yield Problem(f"{key}={place}: {said}", key)
    subdir = Path(str(targets.plain(hydra)["sweep"]["subdir"]))
    if part == "sweep" and (subdir.is_absolute() or ".." in subdir.parts):
        key = "hydra.sweep.subdir"
        yield Problem(f"{key}={subdir}: leads out of hydra.sweep.dir; give a name", key)
