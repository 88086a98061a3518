"""Checks of a whole command, sweeps included, before anything is run: every mistake, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench import config
from rerankbench.errors import UserError


def conf_folder() -> Path:
    """The shipped configs: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    places = (here / "conf", here.parents[1] / "conf")
    return next(place for place in places if (place / "config.yaml").is_file())


def check(arguments: Sequence[str]) -> None:
    """Raise UserError with every problem of a command's configs; in a sweep, when no job could run."""
    parsed = get_args_parser().parse_args(list(arguments))
    if parsed.help or parsed.hydra_help or parsed.cfg or parsed.info is not None:
        return
    search = [f"hydra.searchpath=[{Path(parsed.config_dir).resolve().as_uri()}]"] if parsed.config_dir else []
    with composing():
        problems = override_problems(parsed.overrides, search)
        jobs = [] if problems else job_overrides(parsed.overrides, search, bool(parsed.multirun))
        found = [job_problems([*overrides, *search]) for overrides in jobs]
    if problems or (found and all(found)):
        raise UserError(problems or list(dict.fromkeys(line for lines in found for line in lines)))


@contextmanager
def composing() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
        yield


def override_problems(overrides: Sequence[str], search: Sequence[str]) -> list[str]:
    """Overrides that Hydra cannot apply, each one's own complaint."""
    if not composes([*single(overrides), *search]):
        return []
    problems = [problem for override in overrides if (problem := composes([*single([override]), *search]))]
    return problems or [str(composes([*single(overrides), *search]))]


def composes(overrides: Sequence[str]) -> str:
    """Empty, or why the config cannot be composed."""
    try:
        compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        return plain(error)
    return ""


def single(overrides: Sequence[str]) -> list[str]:
    """Overrides with each sweep replaced by its first value."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [
        next(iter(BasicSweeper.split_arguments([override], None)[0][0])) if override.is_sweep_override()
        else str(override.input_line)
        for override in parsed
    ]  # fmt: skip


def job_overrides(overrides: Sequence[str], search: Sequence[str], multirun: bool) -> list[list[str]]:
    """The overrides of every job that a command stands for; those of one job without a sweep."""
    composed = compose("config", [*single(overrides), *search], return_hydra_config=True)
    preset = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    if not (multirun or str(composed.hydra.mode).endswith("MULTIRUN")):
        return [list(overrides)]
    lines = [*(f"{key}={value}" for key, value in preset.items()), *overrides]
    parsed = OverridesParser.create().parse_overrides(lines)
    return [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def job_problems(overrides: Sequence[str]) -> list[str]:
    """What is wrong with one job's config."""
    if problem := composes(overrides):
        return [problem]
    composed = compose("config", list(overrides))
    try:
        config.read(composed)
    except UserError as error:
        return error.problems
    return []


def plain(error: Exception) -> str:
    """Hydra's complaint as one line."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("object_type=", "reference_type=", "Set the env"))]
    if cause is not None:
        lines += [line.strip() for line in str(cause).splitlines()[:1]]
    return " ".join(lines)
