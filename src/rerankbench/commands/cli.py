"""What all commands have in common: their version, how mistakes are printed, the exit codes."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn

import rerankbench
from rerankbench.basics import masking
from rerankbench.basics.errors import Problem, UserError
from rerankbench.basics.masking import masked
from rerankbench.basics.printing import Main
from rerankbench.basics.visible import say

SHOWN = 3  # of mistakes of one kind; more of them are counted
# That are made before Python looks for unused ones. Looking after its usual 700 took a tenth of a stored run,
# in which torch and MLflow make a million that stay.
OBJECTS = 50_000


def command(main: Callable[[list[str]], int]) -> Main:
    """A command as a function of its words, by default the process's; exit code 2 for a UserError."""

    @wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        words = list(sys.argv[1:] if argv is None else argv)
        masking.install()
        gc.set_threshold(OBJECTS)
        try:
            if "--version" in words:
                say(f"rerankbench {rerankbench.__version__}")
                return 0
            return main(words)
        except UserError as error:
            return complain(error)
        except BrokenPipeError:  # stdout was closed, for instance by `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0

    return run


def complain(error: UserError) -> int:
    """Print every mistake; returns the exit code."""
    for line in collapsed(error.typed):
        say(f"error: {masked(line)}", error=True)
    return 2


def collapsed(problems: Sequence[Problem]) -> list[str]:
    """One line for each problem, or for many of one kind with one key."""
    alike: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
    for problem in dict.fromkeys(problems):
        same = (problem.key, problem.kind) if problem.key and problem.setting else (str(problem),)
        alike[same].append(problem)
    return [line for same in alike.values() for line in (counted(same) if len(same) > SHOWN else same)]


def counted(same: Sequence[Problem]) -> list[str]:
    """The first of many problems, the settings of the next ones, and how many there are."""
    more = ", ".join(problem.setting for problem in same[1:SHOWN])
    rest = f" and {len(same) - SHOWN} more" if len(same) > SHOWN else ""
    return [f"{same[0]} ({len(same)} such values: also {more}{rest})"]


class Parser(argparse.ArgumentParser):
    """Arguments of a command that Hydra does not parse; mistakes raise UserError."""

    def __init__(self, prog: str, description: str, **more: Any) -> None:
        lines = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=lines, **more)
        self.add_argument("--version", action="store_true", help="which rerankbench this is")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{plain_choices(message)}; {self.prog.split()[0]} --help shows what there is")


def given(text: str) -> str:
    """A word that is not empty, as that of an unset variable in quotes is; it would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; give a folder")
    return text


def plain_choices(message: str) -> str:
    """A message of argparse's, with the choices as every Python prints them: 3.11 puts them in quotes."""
    return re.sub(r"\(choose from .*\)$", lambda found: found[0].replace("'", ""), message)
