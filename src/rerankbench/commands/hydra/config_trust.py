"""What a stranger's config may decide, and what only the command line may.

A config of `--config-dir` is compared with what the package's own configs say to the same command. Where it
says something else about what writes outside the run's folder, runs code or talks to other machines, that has
to be harmless by itself, or be typed on the command line, which is trusted.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import SearchPathElement
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rerankbench.basics.complaints import shown
from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import hydra_section, interpolations
from rerankbench.commands.hydra.hydra_private import ConfigLoaderImpl, ConfigSearchPathImpl
from rerankbench.commands.hydra.hydra_section import COMMAND, GUARDED, written

# Options of Hydra's groups that a config may choose: it is compared with what they say by themselves.
CHOICES = {
    "hydra/launcher": "basic|joblib|ray|submitit_local|submitit_slurm",
    "hydra/sweeper": "basic|optuna|optuna_tpe",
    "hydra/job_logging": ".*",
    "hydra/hydra_logging": ".*",
}
# Which key is sent, and where to: together they have to be the package's own, or the first be typed.
KEY, SENT = "reranker.key_variable", ("reranker.url", "reranker.path", "reranker.key_header")
PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "cache_dir")


def problems(
    made: DictConfig,
    loader: ConfigLoaderImpl,
    conf: Path,
    groups: Sequence[Override],
    words: Sequence[str],
) -> list[str]:
    """Why a config may not be used: one line each; none where only the package's own configs were read.

    made: what the options in `groups` make, read by `loader`; conf: the package's configs; words: the
    command line's, options and settings alike.
    """
    lines = {*words, *(str(o.input_line) for o in groups)}
    if not reads_others(loader, conf, lines):
        return []
    usual = without_strangers(made, loader, conf, groups)
    typed = {word: word.partition("=")[0].lstrip("+~") for word in words}
    keys = {key for key in typed.values() if not loader.repository.group_exists(key)}
    found = hydra_section.problems(made.hydra, usual.hydra, keys, lines)
    found += value_problems(made, usual, keys)
    return found or list(typed_place_problems(made, typed))


def load(loader: ConfigLoaderImpl, conf: Path, name: str, lines: list[str]) -> DictConfig:
    """What Hydra makes of options, or of a primary config, that may be a stranger's.

    Raises UserError for what Hydra cannot put together or nobody could resolve.
    """
    foreign = reads_others(loader, conf, lines)
    if foreign and name != "config":
        refuse_search_path(loader, name)
    try:
        made = loader.load_configuration(name, lines, RunMode.RUN, from_shell=False)
    except (HydraException, OmegaConfBaseException, UserError, YAMLError):
        raise
    except RecursionError:
        raise UserError(
            f"{name}: the options include each other without end; look into their defaults"
        ) from None
    except Exception as error:  # of a config that Hydra does not expect
        if not foreign:
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UserError(f"{name}: cannot be put together ({shown(what)}); look into your options") from None
    if foreign and (found := interpolations.problems(written(made))):
        raise UserError(found)
    return made


def refuse_search_path(loader: ConfigLoaderImpl, name: str) -> None:
    """Raise UserError where a primary config names further places: Hydra imports the packages among them."""
    loaded = loader.repository.load_config(name)
    config = loaded.config if loaded else None
    hydra = written(config).get("hydra") if isinstance(config, DictConfig) else None
    if hydra is not None and (not isinstance(hydra, dict) or hydra.get("searchpath")):
        raise UserError(f"{name}: hydra.searchpath: a config cannot set this; give it on the command line")


def reads_others(loader: ConfigLoaderImpl, conf: Path, lines: Collection[str]) -> bool:
    """Whether options may come from elsewhere than the package."""
    path = loader.get_search_path().get_path()
    further = any(line.startswith("hydra.searchpath=") for line in lines)
    return further or any(is_foreign(element, conf) for element in path)


def is_foreign(element: SearchPathElement, conf: Path) -> bool:
    if element.provider == "main":
        return Path(str(element.path).removeprefix("file://")).resolve() != conf.resolve()
    return element.provider == "command-line"


def without_strangers(
    made: DictConfig, loader: ConfigLoaderImpl, conf: Path, groups: Sequence[Override]
) -> DictConfig:
    """The config that the same command makes of the package's own options, those in `CHOICES` included."""
    path = ConfigSearchPathImpl()
    for element in loader.get_search_path().get_path():
        if element.provider == "main":
            path.append("main", str(conf))
        elif element.provider != "command-line":
            path.append(str(element.provider), str(element.path))
    package = ConfigLoaderImpl(path)
    chosen = {o.key_or_group: (o.value(), str(o.input_line)) for o in groups}
    for group, safe in CHOICES.items():
        if re.fullmatch(safe, option := str(made.hydra.runtime.choices.get(group))):
            chosen[group] = option, f"{group}={option}"
    lines = [line for group, (option, line) in chosen.items() if option in package.get_group_options(group)]
    return package.load_configuration("config", lines, RunMode.RUN, from_shell=False)


def value_problems(made: DictConfig, usual: DictConfig, typed: Collection[str]) -> Iterator[str]:
    """What a config says about folders, stores, machines and code that it may not say."""
    raw, shipped = written(made), written(usual)
    for group in ("tracking", "executor", "reranker", "embedder"):
        if isinstance(raw.get(group), str):
            yield f"{group}={shown(raw[group])}: it must be a group of keys"
    for key, rule in GUARDED.items():
        said = value(raw, key)
        if said in (None, value(shipped, key)) or key in typed:
            continue
        if why := rule.complaint(said):
            yield f"{key}={shown(said)}: {why}"
    own = any(value(raw, key) != value(shipped, key) for key in (KEY, *SENT))
    if own and value(raw, KEY) is not None and KEY not in typed:
        yield f"{KEY}={shown(value(raw, KEY))}: a config cannot send a key to a server; {COMMAND}"


def typed_place_problems(made: DictConfig, typed: Mapping[str, str]) -> Iterator[str]:
    """Places that are typed, but lead elsewhere by a config: `hydra.run.dir='runs/${dataset.name}'`."""
    swept = [str(value) for value in (value(written(made), "hydra.sweeper.params") or {}).values()]
    for word, key in typed.items():
        text = word.partition("=")[2].strip("'\"")
        if key not in PLACES or "${" not in text:
            continue
        filled = copy.deepcopy(made)
        OmegaConf.update(filled, key, text)
        up = sum(part.count("..") for part in (resolved_text(filled, key), *swept))
        if up > text.count("..") or any(part.startswith(("/", "~")) for part in swept):
            yield f"{word}: what a config puts into it leads elsewhere; write a plain folder"


def resolved_text(config: DictConfig, key: str) -> str:
    """A value as text; empty where it cannot be resolved yet, or refers to nothing, as is told elsewhere."""
    try:
        return str(OmegaConf.select(config, key))
    except OmegaConfBaseException:
        return ""


def value(tree: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree
