"""The folders of runs: how they are found, and which files in them are a run's own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from rerankbench.basics.errors import UserError
from rerankbench.basics.visible import visible

RESULT, PER_QUERY = "result.json", "per_query.parquet"
SCORES, TEXTS = "scores.parquet", "texts.parquet"
FILES = (RESULT, PER_QUERY, SCORES, TEXTS)  # all that a report reads
LISTS = ("candidates", "reranked", "qrels")
LOG, SETTINGS = "rerankbench.log", ".hydra"
# Everything that a run writes, by name: nothing else of a folder is ever copied.
OWN = (
    *FILES,
    *(f"{name}{ending}" for name in LISTS for ending in (".trec", ".json")),
    LOG,
    *(f"{SETTINGS}/{name}.yaml" for name in ("config", "hydra", "overrides")),
)
CURE = "run it again or leave it out"
MOST_TOLD = 5  # links of one folder


def find(places: Iterable[Path]) -> list[Path]:
    """The folders of runs in and below some places, each once, in order; links below them are not followed.

    Raises UserError naming every place that is no folder or holds no run.
    """
    folders: dict[Path, None] = {}
    problems = []
    for place in places:
        found = below(place)
        if not found:
            there = place.expanduser()
            what = "is a file, not a folder" if there.is_file() else "there is no such folder"
            what = f"holds no {RESULT}, nor does a folder below it" if there.is_dir() else what
            problems.append(f"{visible(place)}: {what}; give the output folder of a run or of a sweep")
        folders |= dict.fromkeys(found)
    if problems:
        raise UserError(problems)
    return list(folders)


def below(place: Path) -> list[Path]:
    """The folders in and below `place` that hold a result.json, whatever it is, jobs of a sweep in order."""
    found, waiting = [], [Path(os.path.realpath(place.expanduser()))]
    while waiting:  # no recursion: folders may be nested deeper than Python's own stack
        folder = waiting.pop()
        names = entries(folder)
        if RESULT in names:
            found.append(folder)
        waiting += [folder / name for name, is_folder in names.items() if is_folder]
    return sorted(found, key=natural)


def entries(folder: Path) -> dict[str, bool]:
    """What is in a folder, and whether it is a folder itself; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as listed:
            return {entry.name: entry.is_dir(follow_symlinks=False) for entry in listed}
    except OSError:
        return {}


def natural(folder: Path) -> tuple[str, int, str]:
    """Jobs of a sweep in their order: 2 before 10."""
    number = int(folder.name) if folder.name.isascii() and folder.name.isdecimal() else -1
    return (str(folder.parent), number, folder.name)


def own_files(folder: Path) -> list[str]:
    """The names of a run's files that are there, and are nothing but files.

    Raises UserError for every link in the folder, and for whatever else stands under a file's name: it may
    lead to anything that its reader may read.
    """
    inside = sorted(entries(folder))
    inside += [f"{SETTINGS}/{name}" for name in sorted(entries(folder / SETTINGS))]
    problems = [
        f"{visible(folder / name)}: {what}; remove it, or put a copy of the file in its place"
        for name in inside
        if (what := oddity(folder / name, name in OWN))
    ]
    if problems:
        more = [f"{visible(folder)}: {len(problems) - MOST_TOLD} more of that kind"]
        raise UserError(problems[:MOST_TOLD] + (more if len(problems) > MOST_TOLD else []))
    return [name for name in OWN if (folder / name).is_file()]


def oddity(path: Path, own: bool) -> str:
    """Why a file is not to be copied, empty where nothing speaks against it."""
    mode = path.lstat()
    if stat.S_ISLNK(mode.st_mode):
        return "this is a link, and links are not followed"
    if own and not stat.S_ISREG(mode.st_mode):
        return "this is not a file"
    if own and mode.st_nlink > 1:
        return "this file has another name elsewhere (a hard link)"
    return ""


def plain_files(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Those of `names` that are there. Raises UserError for a link or something else in a file's place."""
    for name in names:
        if os.path.lexists(folder / name):
            if what := oddity(folder / name, True):
                raise UserError(f"{visible(folder / name)}: {what}; remove it")
            yield name
