"""What a stranger's config may say in Hydra's own section, which names folders, files, classes and machines.

What the chosen options make of it is compared with what the package's own options make. Whatever differs has
to be typed on the command line, or one line of `ALLOWED` has to fit its key and its value as it is written:
the interpolations there give plain names, so that a value stays what it was when it is resolved.
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.complaints import as_text, shown

Leaf = tuple[tuple[str, ...], Any]


class Rule(NamedTuple):
    """What the text of a value must match, how to say that, and whether there may be several of them."""

    pattern: str
    words: str = ""
    several: bool = False

    def complaint(self, value: Any) -> str:
        """Why a config may not say this; empty if it may."""
        for one in value if self.several and isinstance(value, list) else [value]:
            single = not isinstance(one, list | dict) or one == {}
            if not single or not re.fullmatch(self.pattern, as_text(one)):
                return f"in a config, this may be {self.words}" if self.words else REFUSED
        return ""


COMMAND = "give it on the command line"
REFUSED = f"a config cannot set this; take it out, or {COMMAND}"
SHOWN = 3  # of settings that are refused for the same reason
# Interpolations that give one plain name: no slash, no `..`.
NOW = r"now:(?:%[YmdHMSjyBbAaIUWfGVu]|[\w:-])(?:%[YmdHMSjyBbAaIUWfGVu]|[\w:-]|\.(?!\.))*"
NAME = rf"(?:[\w,=+-]|\$\{{(?:{NOW}|hydra\.job\.(?:name|num)|hydra\.runtime\.choices\.\w+)\}})"
PART = rf"{NAME}(?:{NAME}|\.(?!\.))*"
LAUNCHERS = (
    r"hydra\._internal\.core_plugins\.basic_launcher\.BasicLauncher"
    r"|hydra_plugins\.hydra_joblib_launcher\.joblib_launcher\.JoblibLauncher"
    r"|hydra_plugins\.hydra_submitit_launcher\.submitit_launcher\.(Local|Slurm)Launcher"
    r"|hydra_plugins\.hydra_ray_launcher\.ray_launcher\.RayLauncher"
)
SWEEPERS = (
    r"hydra\._internal\.core_plugins\.basic_sweeper\.BasicSweeper"
    r"|hydra_plugins\.hydra_optuna_sweeper\.optuna_sweeper\.OptunaSweeper"
)
LEVELS = tuple(logging.getLevelNamesMapping())
SWITCH = Rule("true|false|null", "true or false")
WHOLE = Rule(r"-?\d{1,12}|null", "a whole number")
NUMBER = Rule(r"-?\d{1,12}(\.\d{1,9})?(e-?\d{1,2})?|null", "a number")
NOTHING = Rule(r"null|\{\}")
NEVER = Rule(r"false|\?\?\?")
# What decides over places, machines and code in the rest of a config, and what a config may say there. It may
# not sweep over them, nor over where keys are sent.
GUARDED = {
    "tracking.uri": Rule(
        r"sqlite:///mlflow\.db|\$\{oc\.env:MLFLOW_TRACKING_URI\}|https?://([^$]|\$\{oc\.env:\w+\})*",
        f"the address of a server, http://host:port; {COMMAND}",
    ),
    "executor.address": Rule("local|auto", f"local or auto; {COMMAND}"),
    "cache_dir": Rule("(?!)"),
    "reranker.trust_remote_code": NEVER,
    "embedder.trust_remote_code": NEVER,
    "reranker.allow_code": NEVER,
    "reranker.function": NEVER,
}
UNSWEPT = "|".join(map(re.escape, ("hydra", *GUARDED, "reranker.url", "reranker.key_variable")))
SWEPT = rf"[+~]*(?!({UNSWEPT})\b)[a-zA-Z]\w*([./][a-zA-Z]\w*)*"
ALLOWED = {
    r"mode": Rule(r"null|(RunMode\.)?(RUN|MULTIRUN)", "RUN or MULTIRUN"),
    r"(run|sweep)\.dir": Rule(
        rf"{PART}(?:/{PART})*/?", f"a folder below the current one, such as outputs/mine; {COMMAND}"
    ),
    r"sweep\.subdir": Rule(PART, f"a plain name; {COMMAND}"),
    r"output_subdir": Rule(r"\.?[\w-]{1,100}|null", f"a plain name such as .hydra; {COMMAND}"),
    r"job\.name": Rule(r"\w[\w.+-]{0,99}", "a plain name"),
    r"job\.chdir": SWITCH,
    r"runtime\.choices\.[\w/@.]+": Rule(r"null|\w[\w+-]*(\.[\w+-]+)*(/\w[\w.+-]*)*", "the name of an option"),
    # logs: how much is said; which handlers and formats there are, is a matter of the chosen option
    r"verbose": Rule(r"true|false|[a-zA-Z_][\w.]{0,99}", "true, false or the names of loggers", True),
    r"(job|hydra)_logging\.(root|loggers\.[\w.]+|handlers\.(console|file))\.level": Rule(
        rf"{'|'.join(LEVELS)}|\d\d?", f"one of {', '.join(LEVELS)}"
    ),
    r"(job|hydra)_logging\.(disable_existing_loggers|loggers\.[\w.]+\.propagate)": SWITCH,
    r"(job|hydra)_logging\.root": Rule("null", "null, for no log"),
    # launchers
    r"launcher\._target_": Rule(LAUNCHERS),
    r"launcher\.(n_jobs|nodes|[cgt]\w+s_per_(task|node|gpu)|timeout_min|mem_gb|max_num_timeout)": WHOLE,
    r"launcher\.(verbose|signal_delay_s|array_parallelism|ray\.remote\.max_(retries|calls))": WHOLE,
    r"launcher\.(timeout|ray\.(init|remote)\.num_[cg]pus|ray\.remote\.(memory|resources\.\w+))": NUMBER,
    r"launcher\.ray\.init\.object_store_memory": NUMBER,
    r"launcher\.(stderr_to_stdout|ray\.init\.(ignore_reinit_error|log_to_driver))": SWITCH,
    r"launcher\.(backend|prefer|require|batch_size|max_nbytes|mmap_mode)": Rule(
        r"null|auto|loky|threading|multiprocessing|processes|threads|sharedmem|r|\d{1,9}", "one of joblib's"
    ),
    # joblib evaluates this text
    r"launcher\.pre_dispatch": Rule(r"all|\d{1,9}|(\d{1,9}\*)?n_jobs", "all, or 2*n_jobs"),
    r"launcher\.(partition|qos|comment|constraint|exclude|gres|account|mem_per_[cg]pu)": Rule(
        r"[\w .,:=@%+*/|&()\[\]-]{0,200}|null", "a plain text"
    ),
    r"(launcher\.name|sweeper\.study_name)": Rule(r"([\w.+-]|\$\{hydra\.job\.name\}){1,100}|null", "a name"),
    r"launcher\.ray\.init\.address": Rule("null|local|auto", f"local or auto; {COMMAND}"),
    r"launcher\.ray\.init\.include_dashboard": Rule("false|null", f"false; {COMMAND}"),
    r"launcher\.submitit_folder": Rule(r"\$\{hydra\.sweep\.dir\}/\.submitit/%j"),
    r"launcher\.(temp_folder|setup|additional_parameters)": NOTHING,
    # sweepers
    r"sweeper\._target_": Rule(SWEEPERS),
    rf"sweeper\.params\.{SWEPT}": Rule(
        r"(?:[^$]|\$\{oc\.env:\w+\}){0,10000}", "a text that refers to ${oc.env:NAME} only", True
    ),
    r"sweeper\.(max_batch_size|n_trials|n_jobs)": WHOLE,
    r"sweeper\.max_failure_rate": NUMBER,
    r"sweeper\.direction": Rule(r"(Direction\.)?(maximize|minimize)", "maximize"),
    r"sweeper\.storage": Rule(
        r"null|sqlite:///\$\{hydra\.sweep\.dir\}/[\w-]+\.db",
        f"sqlite:///${{hydra.sweep.dir}}/NAME.db; {COMMAND}",
    ),
    r"sweeper\.sampler\._target_": Rule(r"optuna\.samplers\.[A-Za-z]+"),
    r"sweeper\.sampler\.[a-z]\w*": Rule(r"[\w.+-]{0,100}", "a number or a plain name"),
    r"sweeper\.(params|search_space|custom_search_space)": NOTHING,
}  # fmt: skip
# Hydra writes these after the options, whatever they say.
BY_HYDRA = (
    *(("runtime", name) for name in ("version", "version_base", "cwd", "config_sources")),
    *(("job", name) for name in ("config_name", "override_dirname")),
)
# What Hydra or rerankbench itself puts into a folder of results.
OURS = {"result.json", "multirun.yaml", ".hydra", "rerankbench.log"}


def mistakes(hydra: DictConfig) -> Iterator[str]:
    """What Hydra would end with a trace for, whoever says it; one line each."""
    for part in ("launcher", "sweeper"):
        if not OmegaConf.is_dict(hydra[part]):
            yield f"hydra.{part}={shown(hydra[part])}: it must be a group of keys; choose hydra/{part}=basic"
    for name in hydra.job.env_copy:
        if name not in os.environ:
            yield f"hydra.job.env_copy: there is no {name} in the environment; leave it out"
    names = hydra.verbose if OmegaConf.is_list(hydra.verbose) else [hydra.verbose]
    if not all(isinstance(name, bool | str) for name in names):
        yield f"hydra.verbose={shown(hydra.verbose)}: give true, false or the names of loggers"


def problems(
    hydra: DictConfig, usual: DictConfig, typed: Collection[str], lines: Collection[str]
) -> list[str]:
    """What a stranger's config may not say in Hydra's section, one line each.

    hydra: the section that the chosen options make; usual: the same without strangers' options. typed: the
    keys of values on the command line, which take the place of what the config says; lines: all its words.
    """
    said = [(path, value) for path, value in leaves(written(hydra)) if path not in BY_HYDRA]
    shipped, found = dict(leaves(written(usual))), defaultdict[str, list[str]](list)
    for path, value in said:
        key = ".".join(path)
        if path[0] == "overrides" and isinstance(value, list):  # Hydra adds what is typed
            value = [line for line in value if line not in lines] or shipped.get(path)
        if value == shipped.get(path, ...) or f"hydra.{key}" in typed:
            continue
        known = rule(key)
        if why := known.complaint(value) if known else REFUSED:
            found[why].append(f"hydra.{shown(key)}={shown(value)}")
    refused = [f"{told(settings)}: {why}" for why, settings in found.items()]
    return refused or lost(said, shipped) or place_problems(hydra, usual, typed)


def told(settings: Sequence[str]) -> str:
    """The first of some settings, and how many more there are."""
    more = len(settings) - SHOWN
    return ", ".join(settings[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def lost(said: Sequence[Leaf], shipped: Mapping[tuple[str, ...], Any]) -> list[str]:
    """What the package's own options say and a config's in their place do not."""
    paths = {path for path, _ in said} | set(BY_HYDRA)
    gone = [path for path in shipped if not any(path[:length] in paths for length in range(len(path) + 1))]
    keys = [".".join(path) for path in gone]
    return [
        f"hydra.{key}: a config cannot leave this out; write it as it was" for key in keys if not rule(key)
    ]


def written(config: DictConfig) -> dict[str, Any]:
    """A config as plain values, nothing of it resolved."""
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """(path, value) of every value that is no group, or an empty one; a list is one value."""
    if isinstance(node, dict) and (node or not path):
        for key, value in node.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, node


def rule(key: str) -> Rule | None:
    return next((found for pattern, found in ALLOWED.items() if re.fullmatch(pattern, key)), None)


def place_problems(hydra: DictConfig, usual: DictConfig, typed: Collection[str]) -> list[str]:
    """What is wrong with the folders that a config names, once resolved: outside, or somebody else's."""
    found = []
    for part in ("run", "sweep"):
        key = f"hydra.{part}.dir"
        if key in typed or written(hydra)[part]["dir"] == written(usual)[part]["dir"]:
            continue
        try:
            place = str(OmegaConf.select(hydra, f"{part}.dir"))
        except OmegaConfBaseException:
            continue  # told by preflight
        if problem := folder_problem(Path(place)):
            found.append(f"{key}={shown(place)}: {problem}; to have it all the same, {COMMAND}")
    return found


def folder_problem(place: Path) -> str:
    """Why results may not be written there if it is only a config that says so; empty if they may."""
    here, real = Path.cwd().resolve(), place.resolve()
    if place.is_absolute() or real == here or not real.is_relative_to(here):
        return "a config may only name a folder below the current one"
    if not real.exists():
        return ""
    if not real.is_dir():
        return "is a file"
    names = set(os.listdir(real))
    return "" if not names or names & OURS else "holds other files than results"
