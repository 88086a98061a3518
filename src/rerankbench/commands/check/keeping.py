"""A collection with all that was found out about it spelled out: as words of a command, and as an option."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.collections.reading.column_guess import setting
from rerankbench.collections.sources.source import Source

FOLDER = "options"  # where a bare file name is saved, in its subfolder of datasets
GROUP = "dataset"
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)


def settings(source: Source) -> dict[str, object]:
    """Every key of a source that differs from its default."""
    return {f.name: value for f in fields(source) if (value := getattr(source, f.name)) != f.default}


def lines(source: Source) -> list[str]:
    """The words that describe a collection, as one types them."""
    return [f"{GROUP}={source.kind}", *(_word(f"{GROUP}.{k}", v) for k, v in settings(source).items())]


def _word(key: str, value: object) -> str:
    if isinstance(value, str):
        return setting(key, value)
    return f"{key}={json.dumps(value)}"  # true and null as Hydra reads them


def option(source: Source) -> str:
    """The option's YAML: files by their absolute paths, so that it holds wherever it is used."""
    paths = {key: Path(getattr(source, key)).expanduser().absolute() for key in source.places()}
    placed: dict[str, Any] = {key: str(path) for key, path in paths.items()}
    values = settings(replace(source, **placed)).items()
    # no config takes a value for a reference to another one
    plain = {key: v.replace("${", "\\${") if isinstance(v, str) else v for key, v in values}
    written = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=1000) if plain else ""
    return f"defaults: [/schema/{GROUP}/{source.kind}@_here_, _self_]\n{written}"


def place(target: str, config_dir: str | None) -> Path:
    """The file that an option is saved as: FOLDER/my-data.yaml is FOLDER/dataset/my-data.yaml.

    A bare name goes to the folder of `--config-dir`, or else to `options`. Raises UserError for names that no
    option can have, and for a file that is there already.
    """
    file = Path(target).expanduser()
    if file.suffix != ".yaml" or not _NAME.fullmatch(file.stem):
        raise UserError(f"--save {target}: an option is a .yaml file with a plain name; --save my-data.yaml")
    if (conf_folder() / GROUP / file.name).exists():
        raise UserError(f"--save {target}: {GROUP}={file.stem} is taken; --save my-{file.stem}.yaml")
    folder = Path(config_dir or FOLDER) if file.parent == Path() else file.parent
    found = (folder if folder.name == GROUP else folder / GROUP) / file.name
    if found.exists():
        raise UserError(f"--save {target}: {found} is there already; remove it, or give another name")
    return found


def save(source: Source, file: Path) -> str:
    """Write the option; returns the words that use it. Raises UserError where nothing can be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(option(source), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--save: cannot write {file} ({error.strerror}); give another folder") from error
    return f"--config-dir {shlex.quote(str(file.parents[1]))} {GROUP}={file.stem}"
