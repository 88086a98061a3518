"""The private modules of Hydra that rerankbench cannot do without, and nothing else imports.

Hydra 1.3 has no public way to parse its own arguments (`-m`, `--cfg`, `--config-dir`), nor to expand a
sweep into jobs without launching them. Both are needed to check every job of a command before the first
one runs. Its last minor version is stated in pyproject.toml (`hydra-core<1.4`), since private modules may
change with any.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override


def arguments_parser() -> ArgumentParser:
    """The parser of Hydra's own arguments; settings and options come out as `overrides`."""
    return get_args_parser()


def expanded(overrides: Sequence[Override]) -> list[list[str]]:
    """The jobs of a sweep, each as the words that make it: all combinations of the swept values."""
    return BasicSweeper.split_arguments(list(overrides), None)[0]
