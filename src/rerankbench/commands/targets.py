"""What Hydra may build out of a config, since configs come from strangers too.

Hydra calls whatever a `_target_` names, Python's logging whatever a `()` names, and a launcher may run
commands. Every composed config is looked through before anything is built of it: only launchers and sweepers,
rerankbench's own callbacks, and formatters and handlers that write to a stream or a file may be named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rerankbench.basics.complaints import shown
from rerankbench.commands import logging_section

# The parts of `hydra` that it builds things of; the rest is plain values.
BUILT = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
LOGGING = ("job_logging", "hydra_logging")
PLUGINS = re.compile(r"(hydra_plugins|hydra\._internal\.core_plugins)(\.\w+)+")  # Hydra asks for these too
CALLBACKS = re.compile(r"rerankbench\.commands\.callbacks\.Report")
SAMPLERS = re.compile(r"optuna\.samplers\.[A-Za-z]+")
# What is a text for certain: other resolvers, or a dict as an argument, could make a `_target_` at run time.
TEXT = re.compile(r"\$\{(now:|oc\.env:|hydra[.:](job|run|sweep|runtime)\.\w+)[^${]*\}")
# Keys of launchers that run commands or fetch code where a job starts.
COMMANDS = ("setup", "setup_commands", "runtime_env", "srun_args", "additional_parameters", "python")
CODE = "a config cannot name code to run"


def problems(hydra: DictConfig) -> list[str]:
    """What the `hydra` part of a config may not build, one line each; builds and imports nothing."""
    parts = plain(hydra)
    found = [line for part in BUILT for line in part_problems(part, parts.get(part))]
    for kind in ("params", "search_space"):
        swept = (parts["sweeper"] or {}).get(kind) if isinstance(parts["sweeper"], dict) else None
        found += [
            f"hydra.sweeper.{kind}: {shown(key)} cannot be swept; sweep over rerankbench's own keys"
            for key in (swept if isinstance(swept, dict) else ())
            if not re.fullmatch(r"[+~]*(?!hydra\b)[\w./]+", str(key))
        ]
    found += [
        f"hydra.job.env_copy: there is no {name} in the environment; leave it out"
        for name in parts["job"]["env_copy"]
        if name not in os.environ
    ]
    verbose = parts["verbose"] if isinstance(parts["verbose"], list) else [parts["verbose"]]
    if not all(isinstance(name, bool | str) for name in verbose):
        found.append(f"hydra.verbose={shown(parts['verbose'])}: give true, false or the names of loggers")
    return found or [line for part in LOGGING for _, line in logging_section.wrong(part, parts.get(part))]


def command_problems(hydra: DictConfig) -> list[str]:
    """What only the command line may set, since it decides which programs run: one line each."""
    parts = plain(hydra)
    found = [
        f"hydra.job.env_set.{name}: a config cannot set environment variables; set it in the shell"
        for name in parts["job"]["env_set"]
    ]
    for full, _, value in leaves("hydra.launcher", parts["launcher"]):
        at = next((name for name in full.split(".")[2:] if name in COMMANDS), None)
        if value is not None and at:
            found.append(f"{full}={shown(value)}: {CODE}; give {at} on the command line")
    return found


def plain(hydra: DictConfig) -> dict[str, Any]:
    """The config as written, nothing of it resolved."""
    return OmegaConf.to_container(hydra, resolve=False)  # type: ignore[return-value]


def part_problems(part: str, node: Any) -> list[str]:
    """The complaints about one part."""
    if not isinstance(node, dict):
        needed = part in ("launcher", "sweeper") or node not in (None, "???")
        return [f"hydra.{part}={shown(node)}: it must be a group of keys; leave it out"] if needed else []
    found = [
        f"{full}={shown(value)}: {complaint}"
        for full, key, value in leaves(f"hydra.{part}", node)
        if (complaint := leaf_problem(part, full, key, value))
    ]
    if part in ("launcher", "sweeper") and not isinstance(node.get("_target_"), str):
        found.append(f"hydra.{part}._target_ is needed; choose an option, hydra/{part}=basic")
    return found


def leaves(path: str, node: Any) -> Iterator[tuple[str, str, Any]]:
    """(full key, its last part, value) of every value below `node` that is neither a group nor a list."""
    items = node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ())
    for key, value in items:
        if isinstance(value, dict | list):
            yield from leaves(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", str(key), value


def leaf_problem(part: str, full: str, key: str, value: Any) -> str:
    """Why a value may not stand there; empty if it may."""
    text = value if isinstance(value, str) else ""
    if key == "_target_":
        return "" if target_allowed(part, full, text) else f"{CODE}; take it out"
    if key == "custom_search_space" and value is not None:
        return f"{CODE}; take it out"
    if "${" in text and "${" in TEXT.sub("", text):
        return "it may only refer to now:, oc.env: and hydra.job, run, sweep or runtime here"
    if part in LOGGING and "://" in text and text not in logging_section.STREAMS:
        return f"{CODE}; write {' or '.join(logging_section.STREAMS)}"  # logging imports what follows ext://
    return ""


def target_allowed(part: str, full: str, target: str) -> bool:
    """Whether the class that a `_target_` names may be built there."""
    if part == "callbacks":
        return bool(CALLBACKS.fullmatch(target))
    if full == f"hydra.{part}._target_":
        return bool(PLUGINS.fullmatch(target))
    return part == "sweeper" and bool(SAMPLERS.fullmatch(target))
