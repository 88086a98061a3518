"""Packages as a page of the documentation spells them out, laid out as pip would install them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files(page: str) -> list[tuple[str, str]]:
    """The files that a page shows, each with its text, in their order."""
    return FILE.findall(page)


def install(folder: Path, page: str) -> list[str]:
    """Put each package of the page, modules and then a pyproject.toml, on a path. Returns their names."""
    names = []
    for name, text in files(page):
        if name != "pyproject.toml":
            (folder / name).write_text(text)
            continue
        project = tomllib.loads(text)["project"]
        names.append(project["name"])
        offer(folder, project["name"], project["entry-points"])
    return names


def offer(folder: Path, name: str, points: dict[str, dict[str, str]]) -> None:
    """What pip leaves beside a package's modules: its name and its entry points."""
    home = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{option} = {value}\n" for option, value in of.items())
        for group, of in points.items()
    ]
    (home / "entry_points.txt").write_text("\n".join(lines))
