"""What an option of `--config-dir` may set of Hydra's own section: what is known, and nothing else.

Hydra's section names folders, files, programs and machines. `targets` says which classes may be built of it,
for everybody; here is what a stranger's config may say beside that. A value is fine if the package's own
configs say the same, if the command line says it, or if one of the patterns below fits the whole text of it.
They hold values as they are written: only a few interpolations are known, each of which gives a plain name,
so a value stays what it was when it is resolved. A place that fits is looked at once more, links followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.basics.complaints import as_text, shown
from rerankbench.commands import logging_section
from rerankbench.commands.targets import leaves, plain


class Rule(NamedTuple):
    """What the text of a value must match, and how to say that."""

    pattern: str
    words: str


# Interpolations that give one plain name: no slash, no `..`. Options' names are looked at below.
NOW = r"now:(?:%[YmdHMSjyBbAaIpUWfGVu]|[\w.:-])+"
NAME = rf"(?:[\w,=+-]|\$\{{(?:{NOW}|hydra\.job\.(?:name|num)|hydra\.runtime\.choices\.\w+)\}})"
PART = rf"{NAME}(?:{NAME}|\.(?!\.))*"
COMMAND = "give it on the command line"
FOLDER = Rule(rf"{PART}(?:/{PART})*/?", f"a folder below the current one, such as outputs/mine; {COMMAND}")
FILE_NAME = Rule(PART, f"a plain name; {COMMAND}")
WHOLE = Rule(r"-?\d{1,9}|null", "a whole number")
NUMBER = Rule(r"-?\d{1,12}(\.\d{1,9})?(e-?\d{1,2})?|null", "a number")
SWITCH = Rule("true|false|null", "true or false")
WORD = Rule(r"[\w .,:=@%+*/|&()\[\]-]{0,200}|null", "a plain text")
LABEL = Rule(r"(?:[\w.+-]|\$\{hydra\.job\.name\}){1,100}|null", "a plain name")
NOTHING = Rule("null", f"nothing; {COMMAND}")
BY_HYDRA = Rule(r"\?\?\?|null", "left to Hydra")
SCALAR = Rule(r"[\w.+-]{0,100}", "a number or a plain name")
ADDRESS = Rule("null|local|auto", f"local or auto; {COMMAND}")

SECTION = {
    r"mode": Rule(r"null|(RunMode\.)?(RUN|MULTIRUN)", "RUN or MULTIRUN"),
    r"run\.dir": FOLDER,
    r"sweep\.dir": FOLDER,
    r"sweep\.subdir": FILE_NAME,
    r"output_subdir": Rule(r"\.?[\w-]{1,100}|null", f"a plain name such as .hydra; {COMMAND}"),
    r"job\.name": Rule(r"\w[\w.+-]{0,99}", "a plain name"),
    r"job\.chdir": SWITCH,
    r"job\.(num|id)": BY_HYDRA,
    r"job\.(override_dirname|config_name)": Rule(r"(?s).*", "what Hydra makes of the command"),
    r"job\.config\.override_dirname\.(kv_sep|item_sep)": Rule(r"[=,:+_-]{1,3}", "one of = , : + _ -"),
    r"job\.config\.override_dirname\.exclude_keys\.\d+": Rule(r"[\w.@/+~-]+", "the name of a key"),
    r"runtime\.(version|version_base|cwd|config_sources\..*)": Rule(r"(?s).*", "what Hydra makes of it"),
    r"runtime\.output_dir": BY_HYDRA,
    r"runtime\.choices\.[\w/@.]+": Rule(r"null|\w[\w+-]*(\.[\w+-]+)*(/\w[\w.+-]*)*", "the name of an option"),
    r"verbose(\.\d+)?": Rule(r"true|false|[\w.]{1,100}", "true, false or the names of loggers"),
    r"callbacks\.report\._target_": Rule(r"rerankbench\.commands\.callbacks\.Report", "rerankbench's own"),
}
PLUGINS = "hydra_plugins."
CORE = "hydra._internal.core_plugins."
SUBMITIT = {
    "submitit_folder": Rule(
        r"\$\{hydra\.sweep\.dir\}(/(?!\.\.(/|$))[\w.%-]+)+", f"a folder in ${{hydra.sweep.dir}}; {COMMAND}"
    ),
    "(timeout_min|cpus_per_task|gpus_per_node|tasks_per_node|mem_gb|nodes)": WHOLE,
    "name": LABEL,
    "stderr_to_stdout": SWITCH,
}
LAUNCHERS: dict[str, dict[str, Rule]] = {
    f"{CORE}basic_launcher.BasicLauncher": {},
    f"{PLUGINS}hydra_joblib_launcher.joblib_launcher.JoblibLauncher": {
        "n_jobs": WHOLE,
        "verbose": WHOLE,
        "timeout": NUMBER,
        "backend": Rule("null|loky|threading|multiprocessing", "loky, threading or multiprocessing"),
        "prefer": Rule("null|processes|threads", "processes or threads"),
        "require": Rule("null|sharedmem", "null or sharedmem"),
        # joblib evaluates this text
        "pre_dispatch": Rule(r"all|\d{1,9}|(\d{1,9} ?\* ?)?n_jobs( ?\* ?\d{1,9})?", "all, or 2*n_jobs"),
        "batch_size": Rule(r"auto|\d{1,9}", "auto or a whole number"),
        "temp_folder": NOTHING,
        "max_nbytes": Rule(r"null|\d{1,9}[KMG]?", "a size such as 1M"),
        "mmap_mode": Rule(r"null|r|r\+|w\+|c", "r, r+, w+ or c"),
    },
    f"{PLUGINS}hydra_submitit_launcher.submitit_launcher.LocalLauncher": SUBMITIT,
    f"{PLUGINS}hydra_submitit_launcher.submitit_launcher.SlurmLauncher": SUBMITIT
    | {
        "(partition|qos|comment|constraint|exclude|gres|account|mem_per_gpu|mem_per_cpu)": WORD,
        "(cpus_per_gpu|gpus_per_task|signal_delay_s|max_num_timeout|array_parallelism)": WHOLE,
        r"(additional_parameters\..*|setup(\.\d+)?)": NOTHING,
    },
    f"{PLUGINS}hydra_ray_launcher.ray_launcher.RayLauncher": {
        r"ray\.init\.address": ADDRESS,
        r"ray\.init\.(object_store_memory|num_cpus|num_gpus)": NUMBER,
        r"ray\.init\.include_dashboard": Rule("false|null", f"false; {COMMAND}"),
        r"ray\.init\.(ignore_reinit_error|log_to_driver)": SWITCH,
        r"ray\.remote\.(num_cpus|num_gpus|memory|max_retries|max_calls|resources\.\w+)": NUMBER,
    },
}
SWEPT = Rule(r"(?s).{0,10000}", "a text")  # `targets` and `places` look at the keys
SWEEPERS: dict[str, dict[str, Rule]] = {
    f"{CORE}basic_sweeper.BasicSweeper": {"max_batch_size": WHOLE, r"params\..*": SWEPT},
    f"{PLUGINS}hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper": {
        r"sampler\._target_": Rule(r"optuna\.samplers\.[A-Za-z]+", "one of Optuna's samplers"),
        r"sampler\.(\w+)(\.\w+)*": SCALAR,
        "direction": Rule(r"(Direction\.)?(maximize|minimize)", "maximize"),
        "storage": Rule(
            r"null|sqlite:///\$\{hydra\.sweep\.dir\}/[\w-]+\.db",
            f"sqlite:///${{hydra.sweep.dir}}/NAME.db; {COMMAND}",
        ),
        "study_name": LABEL,
        "(n_trials|n_jobs)": WHOLE,
        "max_failure_rate": NUMBER,
        r"search_space(\..*)?": SWEPT,
        r"params(\..*)?": SWEPT,
        "custom_search_space": NOTHING,
    },
}
# What Hydra or rerankbench itself puts into a folder of results.
OURS = {"result.json", "multirun.yaml", ".hydra", "rerankbench.log"}


def problems(
    hydra: DictConfig, usual: DictConfig, typed: Collection[str], lines: Collection[str]
) -> list[str]:
    """What a stranger's config may not say in Hydra's section, one line each.

    hydra: the section that the chosen options make; usual: the same without strangers' options. typed: the
    keys of values on the command line, which take the place of what the config says; lines: all its words.
    """
    parts, shipped = plain(hydra), plain(usual)
    found = [*needed(parts), *by_the_command_line(parts, lines)]
    for part, node in parts.items():
        if node != shipped.get(part):
            found += [line for key, line in part_problems(part, node) if not is_typed(key, typed)]
    return found or place_problems(hydra, parts, shipped, typed)


def is_typed(key: str, typed: Collection[str]) -> bool:
    """Whether the command line gives this key or the group that it is in."""
    return any(key == one or key.startswith(f"{one}.") for one in typed)


def part_problems(part: str, node: Any) -> Iterator[tuple[str, str]]:
    """(key, complaint) for each value of one part, `hydra.<part>`, that is not known to do no harm."""
    if part in ("job_logging", "hydra_logging"):
        yield from logging_section.strangers(part, node)
    elif part in ("launcher", "sweeper"):
        yield from built_problems(part, node)
    elif part not in ("overrides", "hydra_help", "help"):  # the help is printed by nobody but us
        for full, _, value in leaves("hydra", {part: node}):
            if line := complaint(SECTION, full.removeprefix("hydra."), full, value):
                yield full, line


def built_problems(part: str, node: Any) -> Iterator[tuple[str, str]]:
    """The same for the launcher and the sweeper, whose keys depend on their class."""
    known = LAUNCHERS if part == "launcher" else SWEEPERS
    target = node.get("_target_") if isinstance(node, dict) else None
    if not isinstance(target, str) or target not in known:
        names = ", ".join(one.rpartition(".")[2] for one in known)
        at = f"hydra.{part}._target_"
        yield at, f"{at}={shown(target)}: a config may choose {names}; give hydra/{part}=OPTION yourself"
        return
    for full, _, value in leaves(f"hydra.{part}", node):
        name = full.removeprefix(f"hydra.{part}.")
        if name != "_target_" and (line := complaint(known[target], name, full, value)):
            yield full, line


def complaint(rules: Mapping[str, Rule], name: str, full: str, value: Any) -> str:
    """Why a config may not say this; empty if it may."""
    rule = next((rule for pattern, rule in rules.items() if re.fullmatch(pattern, name)), None)
    if rule is None:
        return f"{full}={shown(value)}: a config cannot set this; take it out, or {COMMAND}"
    if re.fullmatch(rule.pattern, as_text(value)):
        return ""
    return f"{full}={shown(value)}: in a config, this may be {rule.words}"


def needed(parts: Mapping[str, Any]) -> list[str]:
    """Without its callback a sweep ends without a report."""
    callbacks = parts.get("callbacks")
    report = callbacks.get("report") if isinstance(callbacks, dict) else None
    if isinstance(report, dict):
        return []
    return [f"hydra.callbacks.report={shown(report)}: rerankbench needs it; leave it as it is"]


def by_the_command_line(parts: Mapping[str, Any], typed: Collection[str]) -> list[str]:
    """Hydra takes for the command line's what a config lists here."""
    lists = parts["overrides"] if isinstance(parts.get("overrides"), dict) else {}
    given = [str(line) for some in lists.values() for line in (some if isinstance(some, list) else [some])]
    cure = "a config cannot set this; give it on the command line"
    return [f"hydra.overrides: {shown(line)}: {cure}" for line in given if line not in typed]


def place_problems(
    hydra: DictConfig, parts: Mapping[str, Any], shipped: Mapping[str, Any], typed: Collection[str]
) -> list[str]:
    """What is wrong with the folders that a config names, once resolved: outside, or somebody else's."""
    found = []
    for part in ("run", "sweep"):
        key = f"hydra.{part}.dir"
        if is_typed(key, typed) or parts[part] == shipped[part]:
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
