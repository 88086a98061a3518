"""What a stranger's config may decide, and what only the command line may.

A config of `--config-dir` is compared with what the package's own configs say to the same command. Where it
says something else about what writes outside the run's folder, runs code or talks to other machines, that has
to be harmless by itself, or be typed on the command line, which is trusted.
"""

from __future__ import annotations

import copy
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
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
from rerankbench.basics.masking import masked
from rerankbench.basics.regular_file import open_regular
from rerankbench.commands import hydra_section, interpolations
from rerankbench.commands.cache import entries
from rerankbench.commands.hydra_private import ConfigLoaderImpl, ConfigSearchPathImpl
from rerankbench.commands.hydra_section import is_typed
from rerankbench.commands.targets import plain
from rerankbench.experiment.tracking.mlflow_store import SQLITE

# Folders and files that lie at the top of a cache.
CACHE = {*entries.KINDS, "hashes.json"}
STORES = (".db", ".sqlite", ".sqlite3")
CODE = (
    "reranker.trust_remote_code",
    "embedder.trust_remote_code",
    "reranker.allow_code",
    "reranker.function",
)
# Which key is sent, and where to: together they have to be the package's own, or the first be typed.
KEY, SENT = "reranker.key_variable", ("reranker.url", "reranker.path", "reranker.key_header")
TYPED_ONLY = ("cache_dir", "tracking.uri", "executor.address", KEY, "reranker.url", *CODE)
PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir")
TYPE = "to have it all the same, give it on the command line"
ELSEWHERE = "a config may make a new store below the current folder only"
SHIPPED_URI = "sqlite:///mlflow.db"
written = plain  # a config as plain values, nothing of it resolved


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
    usual = without_strangers(loader, conf, groups)
    if usual is None:
        return []
    typed = {word: word.partition("=")[0].lstrip("+~") for word in words}
    keys = {key for key in typed.values() if not loader.repository.group_exists(key)}
    lines = {*words, *(str(o.input_line) for o in groups)}
    return [
        *hydra_section.problems(made.hydra, usual.hydra, keys, lines),
        *value_problems(made, usual, keys),
        *swept_problems(made, usual),
        *typed_place_problems(made, typed),
    ]


def load(loader: ConfigLoaderImpl, conf: Path, name: str, lines: list[str]) -> DictConfig:
    """What Hydra makes of options, or of a primary config, that may be a stranger's.

    Raises UserError for what Hydra cannot put together or nobody could resolve.
    """
    foreign = reads_others(loader, conf)
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


def reads_others(loader: ConfigLoaderImpl, conf: Path) -> bool:
    """Whether options may come from elsewhere than the package."""
    return any(is_foreign(element, conf) for element in loader.get_search_path().get_path())


def is_foreign(element: SearchPathElement, conf: Path) -> bool:
    if element.provider == "main":
        return Path(str(element.path).removeprefix("file://")).resolve() != conf.resolve()
    return element.provider == "command-line"


def without_strangers(loader: ConfigLoaderImpl, conf: Path, groups: Sequence[Override]) -> DictConfig | None:
    """The config that the same command makes of the package's own options; None if it reads no others."""
    if not reads_others(loader, conf):
        return None
    path = ConfigSearchPathImpl()
    for element in loader.get_search_path().get_path():
        if element.provider == "main":
            path.append("main", str(conf))
        elif element.provider != "command-line":
            path.append(str(element.provider), str(element.path))
    package = ConfigLoaderImpl(path)
    known = [o for o in groups if o.value() in package.get_group_options(o.key_or_group)]
    lines = [str(o.input_line) for o in known]
    return package.load_configuration("config", lines, RunMode.RUN, from_shell=False)


def value_problems(made: DictConfig, usual: DictConfig, typed: Collection[str]) -> Iterator[str]:
    """What a config says about folders, stores, machines and code that it may not say."""
    raw, shipped = written(made), written(usual)
    for group in ("tracking", "executor", "reranker", "embedder"):
        if isinstance(raw.get(group), str):
            yield f"{group}={shown(raw[group])}: it must be a group of keys"
    for key in CODE:
        if value(raw, key) not in (None, False, "???") and not is_typed(key, typed):
            yield f"{key}={shown(value(raw, key))}: a config cannot run code; {TYPE}"
    own = any(value(raw, key) != value(shipped, key) for key in (KEY, *SENT))
    if own and value(raw, KEY) is not None and not is_typed(KEY, typed):
        yield f"{KEY}={shown(value(raw, KEY))}: a config cannot send a key to a server; {TYPE}"
    for key, check, otherwise in (
        ("cache_dir", cache_problem, None),
        ("tracking.uri", store_problem, SHIPPED_URI),
        ("executor.address", address_problem, "local"),
    ):
        said = value(raw, key)
        if said in (None, otherwise, value(shipped, key)) or is_typed(key, typed):
            continue
        if problem := check(resolved(made, key)):
            yield f"{key}={shown(masked(str(said)))}: {problem}; {TYPE}"


def swept_problems(made: DictConfig, usual: DictConfig) -> Iterator[str]:
    """Keys that a config's own sweep may not set, since it may not set them at all."""
    if written(made)["hydra"]["sweeper"] == written(usual)["hydra"]["sweeper"]:
        return
    for kind in ("params", "search_space"):
        swept = OmegaConf.select(made, f"hydra.sweeper.{kind}") or {}
        for key in swept if OmegaConf.is_dict(swept) else ():
            if str(key).lstrip("+~") in TYPED_ONLY:
                yield f"hydra.sweeper.{kind}.{key}: a config cannot sweep over this; {TYPE}"


def typed_place_problems(made: DictConfig, typed: Mapping[str, str]) -> Iterator[str]:
    """Places that are typed, but lead elsewhere by a config: `hydra.run.dir='runs/${dataset.name}'`."""
    for word, key in typed.items():
        text = word.partition("=")[2].strip("'\"")
        if key not in PLACES or "${" not in text:
            continue
        filled = copy.deepcopy(made)
        OmegaConf.update(filled, key, text)
        params = OmegaConf.select(made, "hydra.sweeper.params") or {}
        swept = [str(value) for value in (params.values() if OmegaConf.is_dict(params) else ())]
        up = sum(part.count("..") for part in (resolved_text(filled, key), *swept))
        if up > text.count("..") or any(part.startswith(("/", "~")) for part in swept):
            yield f"{word}: what a config puts into it leads elsewhere; write a plain folder"


def resolved_text(config: DictConfig, key: str) -> str:
    """A value as text; empty where it cannot be resolved yet."""
    try:
        return str(OmegaConf.select(config, key))
    except OmegaConfBaseException:
        return ""


def value(tree: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def resolved(made: DictConfig, key: str) -> str:
    """A value as text; empty where it refers to nothing, which is told elsewhere."""
    raw = str(value(written(made), key))
    if "${" in raw and not all(part.startswith("oc.env:") for part in raw.split("${")[1:]):
        return raw  # what else it refers to may change from job to job
    return resolved_text(made, key)


def cache_problem(place: str) -> str:
    """Why a cache that only a config names may not be there; empty if it may: a new folder, or a cache."""
    if "${" in place:
        return "in a config, it may only refer to ${oc.env:NAME}"
    folder = Path(place).expanduser()
    if not folder.exists():
        return ""
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    return "" if folder.is_dir() and (not names or names & CACHE) else "holds other files than a cache"


def store_problem(uri: str) -> str:
    """Why a store that only a config names may not be used; empty if it may."""
    if "${" in uri:
        return "in a config, it may only refer to ${oc.env:NAME}"
    if uri.startswith(("http://", "https://")):
        return ""
    if not uri.startswith("sqlite:///"):
        return "a config may name a file, sqlite:///NAME.db, or a server, http://host:port"
    file = Path(uri.removeprefix("sqlite:///")).expanduser().resolve()
    if file.suffix not in STORES or {"?", "#"} & set(uri):
        return f"a config may only name a file that ends with {', '.join(STORES)}"
    if file.exists():
        return "" if is_store(file) else "is a file that MLflow did not make"
    return "" if file.is_relative_to(Path.cwd().resolve()) else ELSEWHERE


def is_store(file: Path) -> bool:
    """Whether a file is a database with MLflow's tables; nothing is written."""
    try:
        with open_regular(file) as stream:
            if stream.read(len(SQLITE)) != SQLITE:
                return False
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as opened:
            found = opened.execute("select name from sqlite_master where type = 'table'").fetchall()
    except (OSError, sqlite3.Error):
        return False
    return {"experiments", "runs"} <= {name for (name,) in found}


def address_problem(address: str) -> str:
    """Why jobs may not be sent there because a config says so: what answers could run code here."""
    return "" if address in ("local", "auto") else "a config may only name local or auto"
