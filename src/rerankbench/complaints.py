"""What Hydra and OmegaConf complain about, in one line that names the key, the value and a cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from rerankbench.masking import masked

KINDS = {
    "converted to Integer": "give a whole number",
    "converted to Float": "give a number",
    "not a valid bool": "give true or false",
    "converted to Boolean": "give true or false",
    "is not Optional": "null is not possible here; give a value, or leave it out for the default",
    "Incompatible value 'None'": "null is not possible here; give a value, or leave it out for the default",
    "is not a ListConfig": "give a list, for instance [1,10]",
    "to string": "give a text",
}
# Lines with which Hydra and OmegaConf surround what they have to say.
NOISE = (
    "object_type=",
    "reference_type=",
    "full_key:",
    "Set the env",
    "See https://hydra",
    "Config search path",
    "\t",
)
PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "optuna": "hydra-optuna-sweeper",
}

CLUSTERS = {  # what a launcher says where there is no cluster, and what to do about it
    'Could not detect "srun"': (
        "hydra/launcher=submitit_slurm: there is no srun here; run the command on a login node of a Slurm "
        "cluster, or use hydra/launcher=submitit_local"
    ),
    "Could not find any running Ray instance": (
        "hydra.launcher.ray.init.address=auto: there is no Ray cluster here; start one with "
        "`ray start --head`, or leave the address out for this machine alone"
    ),
    "object_store_memory must not be provided": (
        "hydra.launcher.ray.init.address: a running cluster has its own object store; add "
        "hydra.launcher.ray.init.object_store_memory=null"
    ),
}


def no_cluster(error: BaseException) -> str | None:
    """A launcher's error as one line, where what it needs is not there."""
    return next((line for sign, line in CLUSTERS.items() if sign in str(error)), None)


def plain(error: BaseException) -> str:
    """A complaint as one line, whatever it is about."""
    if (absent := re.match(r"Cannot find primary config '(.+?)'", str(error))) and absent[1] != "config":
        return (
            f"--config-name {absent[1]}: there is no such config; leave it out, or name the folder that has "
            "it with --config-dir"
        )
    parts = [error, *([error.__cause__] if error.__cause__ else [])]
    lines = [line.strip() for part in parts for line in str(part).splitlines()[:6]]
    kept = [line for line in dict.fromkeys(lines) if line and not line.startswith(NOISE)]
    text = masked(" ".join(kept)) or type(error).__name__
    text = text.replace("KeyError raised while resolving interpolation: ", "").replace('"', "")
    return text if len(text) <= 400 else text[:397] + "..."


def wrong_value(key: str, value: object, error: BaseException) -> str:
    """A value that does not fit its key's type."""
    text = str(error)
    cure = next((cure for sign, cure in KINDS.items() if sign in text), "")
    if not cure and "Interpolation" in type(error).__name__:
        cure = f"{plain(error)}; write a value, or refer to a key that exists"
    return f"{key}={shown(value)}: {cure or plain(error)}"


def unknown_key(prefix: str, name: str, value: object, known: Sequence[str]) -> str:
    """A key that is not there, with the one that was meant or all there are."""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {prefix}{close[0]}?" if close else f"known keys: {', '.join(known)}"
    return f"{prefix}{name}={shown(value)}: there is no such key; {hint}"


def unknown_option(group: str, option: str, known: Sequence[str]) -> str:
    """An option that a group does not have."""
    close = difflib.get_close_matches(option, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    if option in PLUGINS:
        hint = f"install it with: pip install {PLUGINS[option]}; "
    return f"{group}={option}: there is no such option; {hint}choose one of {', '.join(known)}"


def unreadable(line: str, meant: Sequence[str] = ()) -> str:
    """A word of the command line that is no setting; `meant`: the settings that choose an option so named."""
    key, equals, value = line.partition("=")
    if line == "help":
        return "help: rerankbench --help shows what there is"
    if meant:
        return f"{line}: this is no setting; did you mean {' or '.join(meant)}?"
    if not equals and not re.fullmatch(r"[+~]*[\w./@:-]+", key):
        return f"{line}: this is no setting; write KEY=VALUE"
    if not equals:
        return f"{line}: a setting needs a value, {line.lstrip('+')}=VALUE"
    if not re.fullmatch(r"[+~]*[\w./@:-]+", key):
        return f"{line}: {key or 'nothing'} cannot be the name of a setting; write KEY=VALUE without spaces"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return f"{line}: the brackets {opening}{closing} do not match"
    return (
        f"{line}: the value cannot be read; put quotes around it that the shell leaves alone: "
        f"\"{key}='{value}'\""
    )


def shown(value: object) -> str:
    """A value as one writes it in a config, cut where it is long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = " ".join(masked(text).split())
    return text if len(text) <= 100 else text[:97] + "..."
