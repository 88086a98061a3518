"""The text of `rerankbench --help`, put together from the configs' own comments, never stale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rerankbench.basics import installed, printing
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.visible import say
from rerankbench.commands import cli
from rerankbench.commands.hydra import config_files

HEAD = """rerankbench: which reranker should I deploy, at which depth, at what cost, and is the gain real?

usage: rerankbench [GROUP=OPTION ...] [KEY=VALUE ...]
       rerankbench -m reranker=none,minilm depth=20,100     a sweep: all combinations, compared at the end
       rerankbench experiment=reranker-sizes dataset=beir dataset.path=FOLDER
       rerankbench dataset=files dataset.corpus=FILE dataset.queries=FILE dataset.qrels=FILE
       rerankbench reranker=base reranker.model=FOLDER      a model of the option's family from a folder
       rerankbench dry_run=true ...                         what would be computed, and how long it would take

Also: rerankbench-check (find problems in a collection), rerankbench-report (compare finished runs
or sweeps), rerankbench-judge FOLDER (judge the pairs that decide), rerankbench-serve FOLDER (serve the
recommended arm), rerankbench-cache (list and prune what is stored), rerankbench-ui (open the runs in
MLflow), rerankbench-track FOLDER (log a finished run to MLflow).
"""
TAIL = """
  --config-dir FOLDER   more options, in files such as FOLDER/reranker/mine.yaml: copy one of the package's
  --help GROUP          its options and their keys; --help dataset=files: the keys of that option
  --cfg job             print the config instead of running it; every key of the chosen options can be set:
                        rerankbench --cfg job dataset=files
  --version             which rerankbench this is
  --multirun, -m        run every combination of the values that are separated by commas
  --hydra-help          Hydra's own help: output folders, parallel jobs and the rest

Exit codes: 0 success, 1 a run failed, 2 the command or its data is wrong. Ctrl-C keeps what was computed."""


@printing.told
@cli.command
def main(words: list[str]) -> int:
    """Print the help on the command as a whole."""
    say(*text([conf_folder()]).splitlines())
    return 0


def text(folders: list[Path]) -> str:
    """Root keys and the options of every group in config folders, each with its comment."""
    config = folders[-1] / "config.yaml"
    lines = [HEAD, "Keys:", *aligned(root_keys(config))]
    for group in groups(config):
        lines += ["", f"{group}=", *aligned(options(folders, group))]
    return "\n".join([*lines, TAIL])


def groups(config: Path) -> Iterator[str]:
    """The groups that config.yaml names, in its order."""
    for entry in config_files.values_of(config)["defaults"]:
        if isinstance(entry, dict):
            yield from (group for group in entry if not group.startswith("override "))


def root_keys(config: Path) -> Iterator[tuple[str, str]]:
    """Each root key of config.yaml as `key=default`, and its comment."""
    for line in config.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+): (.*?)(?: # (.*))?", line):
            key, value, comment = match.groups()
            shown = "~/.cache/rerankbench" if value.startswith("${") else value.replace(", ", ",")
            yield f"{key}={shown}", comment or ""


def options(folders: list[Path], group: str) -> Iterator[tuple[str, str]]:
    """The options of a group, the user's own first, each with its first comment that is no command."""
    seen: set[str] = set()
    for folder in folders:
        for file in sorted((folder / group).glob("*.yaml"), key=lambda file: file.stem):
            if file.stem not in seen:
                seen.add(file.stem)
                yield file.stem, comment(file)
    for name in installed.names(group):
        if name not in seen:
            yield name, f"of the installed package {installed.package_of(group, name)}"


def comment(file: Path) -> str:
    """What a config file says about itself in its first lines."""
    lines = config_files.text_of(file).splitlines()
    said = [line.lstrip("# ") for line in lines if line.startswith("#")]
    said = [line for line in said if not line.startswith(("@package", "rerankbench "))]
    return said[0] if said else ""


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and what is said of them, in two columns."""
    listed = list(rows)
    width = max((len(name) for name, _ in listed), default=0)
    return [f"  {name:<{width}}  {said}".rstrip() for name, said in listed]
