"""The words of a command: Hydra's own arguments, settings and options; and Hydra, ready to read configs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import Problem, UserError
from rerankbench.commands import as_typed, config, config_files, hydra_private


def shows(parsed: Namespace) -> bool:
    """Whether a command prints something instead of running."""
    return bool(
        parsed.help or parsed.hydra_help or parsed.shell_completion or parsed.cfg or parsed.info is not None
    )


def parse(arguments: Sequence[str]) -> Namespace:
    """Hydra's own arguments and the settings, as they were typed."""
    parser = hydra_private.arguments_parser()
    parser.error = refuse_arguments  # type: ignore[method-assign]
    parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        raise UserError([dashed(word) for word in unknown])
    if parsed.experimental_rerun is not None:
        raise UserError(
            f"--experimental-rerun {parsed.experimental_rerun}: reads a pickle, which can run code; "
            "run the command again, what was computed is reused"
        )
    if parsed.resolve and not parsed.cfg:
        raise UserError("--resolve: goes together with --cfg job; add it, or leave --resolve out")
    if parsed.cfg and (parsed.multirun or parsed.run):
        raise UserError(
            "Only one of --run, --multirun, --cfg, --info and --shell-completion can be given; "
            "leave the others out"
        )
    if parsed.config_dir is not None:
        refuse_folder(parsed.config_dir)
    if "hydra/sweeper=optuna" in parsed.overrides and not any(
        word.startswith("hydra.sweeper.direction=") for word in parsed.overrides
    ):  # by itself it looks for the smallest value, the worst arm
        parsed.overrides = [*parsed.overrides, "hydra.sweeper.direction=maximize"]
    return parsed


def refuse_folder(folder: str) -> None:
    """Raise UserError for a --config-dir that is none, or holds what cannot be read or used."""
    if not Path(folder).is_dir():
        what = "is a file" if Path(folder).exists() else "does not exist"
        raise UserError(
            f"--config-dir {folder}: {what}; give a folder with groups such as reranker/mine.yaml"
        )
    for name in ("config.yaml", "hydra/config.yaml"):
        if (Path(folder) / name).exists():
            raise UserError(
                f"--config-dir {folder}: its {name} would take the package's place; keep options only"
            )
    problems: list[Problem] = []
    for file in sorted(Path(folder).glob("*/*.yaml")):
        config_files.refuse(file)
        problems += as_typed.misread(file, file.parent.name)
    if problems:
        raise UserError(problems)


def refuse_arguments(message: str) -> NoReturn:
    raise UserError(f"{message}; rerankbench --help shows what there is")


def dashed(word: str) -> Problem:
    plain = word.lstrip("-")
    if "=" in word:
        return Problem(f"{word}: settings are written without dashes: {plain}", "", "syntax", word, plain)
    return Problem(f"{word}: there is no such argument; rerankbench --help shows what there is")


class OwnOptions(SearchPathPlugin):
    """Looks into `--config-dir` first.

    Hydra would look there last, and a user's reranker/base.yaml would do nothing.
    """

    folder: Path | None = None

    @classmethod
    def use(cls, config_dir: str | None) -> None:
        cls.folder = None if config_dir is None else Path(config_dir).absolute()
        Plugins.instance().register(cls)
        config_files.check_all()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("command-line", self.folder.as_uri(), SearchPathQuery(provider="main"))


@contextmanager
def composing(parsed: Namespace) -> Iterator[Any]:
    """Hydra, with the search path of the command; it both checks and runs inside."""
    GlobalHydra.instance().clear()
    OwnOptions.use(parsed.config_dir)
    config.register_installed(sayings(parsed))
    folder = Path(parsed.config_path or conf_folder()).absolute()
    with hydra.initialize_config_dir(str(folder), job_name="rerankbench", version_base="1.3"):
        config_files.count_files(hydra_private.config_loader())
        yield GlobalHydra.instance().hydra


def sayings(parsed: Namespace) -> list[str]:
    """All that may name an option: the command's words, and the configs of its own folder."""
    own = sorted(Path(parsed.config_dir).glob("*/*.yaml")) if parsed.config_dir else []
    return [*parsed.overrides, *(f"{file.stem} {config_files.text_of(file)}" for file in own)]
