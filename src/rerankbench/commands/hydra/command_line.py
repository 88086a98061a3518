"""The words of a command: Hydra's own arguments, settings and options; and Hydra, ready to read configs."""

from __future__ import annotations

import os
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
from rerankbench.commands import cli
from rerankbench.commands.hydra import config, config_files, hydra_private, yaml_texts

HELP = "rerankbench --help shows what there is"


def shows(parsed: Namespace) -> bool:
    """Whether a command prints something instead of running."""
    asked = (parsed.help, parsed.hydra_help, parsed.shell_completion, parsed.cfg, parsed.info is not None)
    return any(asked)


def parse(arguments: Sequence[str]) -> Namespace:
    """Hydra's own arguments and the settings, as they were typed. Raises UserError."""
    parser = hydra_private.arguments_parser()
    parser.error = refuse_arguments  # type: ignore[method-assign]
    parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        line = "there is no such argument; settings are written without dashes, KEY=VALUE"
        raise UserError([Problem(f"{word}: {line}; {HELP}", "", "syntax", word) for word in unknown])
    if parsed.experimental_rerun is not None:
        raise UserError("--experimental-rerun: reads a pickle, which can run code; run the command instead")
    if parsed.resolve and not parsed.cfg:
        raise UserError("--resolve: goes together with --cfg job; add it, or leave --resolve out")
    if parsed.cfg and (parsed.multirun or parsed.run):
        raise UserError("--cfg: shows a config and runs nothing; leave --multirun and --run out")
    if parsed.shell_completion and "query=" in str(parsed.overrides) and "COMP_LINE" not in os.environ:
        cure = 'to have it, type eval "$(rerankbench --shell-completion install=bash)"'
        raise UserError(f"--shell-completion query=: is for shells to ask; {cure}")
    if parsed.config_dir is not None:
        refuse_folder(Path(parsed.config_dir))
    aimed = any(word.startswith("hydra.sweeper.direction=") for word in parsed.overrides)
    if "hydra/sweeper=optuna" in parsed.overrides and not aimed:
        parsed.overrides.append("hydra.sweeper.direction=maximize")  # by itself it looks for the worst arm
    return parsed


def refuse_arguments(message: str) -> NoReturn:
    raise UserError(f"{cli.plain_choices(message)}; {HELP}")


def refuse_folder(folder: Path) -> None:
    """Raise UserError for a --config-dir that is none, or holds what cannot be read or used."""
    said = "is no folder; give one with groups such as reranker/mine.yaml" if not folder.is_dir() else ""
    for name in ("config.yaml", "hydra/config.yaml"):
        if (folder / name).exists():
            said = f"its {name} would take the package's place; keep options only"
    if said:
        raise UserError(f"--config-dir {folder}: {said}")
    problems: list[Problem] = []
    for file in sorted(folder.glob("*/*.yaml")):
        config_files.refuse(file)
        problems += yaml_texts.misread(file, file.parent.name)
    if problems:
        raise UserError(problems)


class OwnOptions(SearchPathPlugin):
    """Looks into `--config-dir` first.

    Hydra would look there last, and a user's reranker/base.yaml would do nothing.
    """

    folder: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("command-line", self.folder.as_uri(), SearchPathQuery(provider="main"))


@contextmanager
def composing(parsed: Namespace) -> Iterator[Any]:
    """Hydra, with the search path of the command; it both checks and runs inside."""
    GlobalHydra.instance().clear()
    own = Path(parsed.config_dir).absolute() if parsed.config_dir else None
    OwnOptions.folder = own
    Plugins.instance().register(OwnOptions)
    config_files.check_all()
    hydra_private.sweep_checked_jobs()
    files = sorted(own.glob("*/*.yaml")) if own else []
    texts = [f"{file.stem} {config_files.text_of(file)}" for file in files]
    config.register_installed([*parsed.overrides, *texts])  # all that may name an installed option
    folder = Path(parsed.config_path or conf_folder()).absolute()
    with hydra.initialize_config_dir(str(folder), job_name="rerankbench", version_base="1.3"):
        config_files.count_files(hydra_private.config_loader())
        yield GlobalHydra.instance().hydra
