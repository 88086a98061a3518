"""What Hydra and OmegaConf complain about, in one line that names the key, the value and a cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from rerankbench.basics.errors import Problem
from rerankbench.basics.masking import masked

KINDS = {
    "converted to Integer": "give a whole number",
    "converted to Float": "give a number",
    "not a valid bool": "give true or false",
    "converted to Boolean": "give true or false",
    "is not Optional": "null is not possible here; give a value, or leave it out for the default",
    "Incompatible value 'None'": "null is not possible here; give a value, or leave it out for the default",
    "is not a ListConfig": "give a list, for instance [1,10]",
    "with ListConfig": "give a list, for instance [1,10]",
    "to string": "give a text",
    "is not a subclass of": "it must be a group of keys; leave it out, or give its keys one by one",
    "Cannot assign": "it must be a group of keys; leave it out, or give its keys one by one",
    "input '${": "the reference has no end; write ${KEY}, or a value",
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

KEY_VARIABLE = "key_variable"
SECRET_NAME = re.compile(r"(?i)key|token$|secret|password|bearer|authorization")

LISTED = 200  # characters of options that one line lists
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


ONE_OF = re.compile(r"expected one of \[(.+?)\]")


def no_cluster(error: BaseException) -> str | None:
    """A launcher's error as one line, where what it needs is not there."""
    return next((line for sign, line in CLUSTERS.items() if sign in str(error)), None)


def one_line(error: BaseException) -> Problem:
    """What Hydra or OmegaConf says, as one line, whatever it is about."""
    if (absent := re.match(r"Cannot find primary config '(.+?)'", str(error))) and absent[1] != "config":
        return Problem(
            f"--config-name {absent[1]}: there is no such config; leave it out, or name the folder that has "
            "it with --config-dir"
        )
    parts = [error, *([error.__cause__] if error.__cause__ else [])]
    lines = [line.strip() for part in parts for line in str(part).splitlines()[:6]]
    kept = [line for line in dict.fromkeys(lines) if line and not line.startswith(NOISE)]
    text = masked(" ".join(kept)) or type(error).__name__
    text = text.replace("KeyError raised while resolving interpolation: ", "").replace('"', "")
    return Problem(text if len(text) <= 400 else text[:397] + "...")


def wrong_value(key: str, value: object, error: BaseException, text: bool = False) -> Problem:
    """A value that does not fit its key's type; `text`: the key holds texts."""
    said = next((cure for sign, cure in KINDS.items() if sign in str(error)), "")
    if not said and "Interpolation" in type(error).__name__:
        said = f"{one_line(error)}; write a value, or refer to a key that exists"
    if one := ONE_OF.search(str(error)):
        said = f"give one of {one[1]}"
    setting, cure = f"{key}={shown(value)}", ""
    if value is None and text:
        cure = f"{key}='null'"
        said = f'{said}; for the word itself write "{cure}"'
    return Problem(f"{setting}: {said or one_line(error)}", key, "type", setting, cure)


def closest(name: str, known: Sequence[str]) -> str:
    """The one of these that was probably meant; empty where none is like it."""
    return next(iter(difflib.get_close_matches(name, known, 1)), "")


def unknown_key(prefix: str, name: str, value: object, known: Sequence[str]) -> Problem:
    """A key that is not there, with the one that was meant or all there are."""
    if SECRET_NAME.search(name):
        setting = f"{prefix}{name}=***"
        hint = f"; keys come from the environment: name the variable by {prefix}{KEY_VARIABLE}=NAME"
        line = f"{setting}: there is no such key{hint * (KEY_VARIABLE in known)}"
        return Problem(line, f"{prefix}{name}", "key", setting)
    close = closest(name, known)
    hint = f"known keys: {', '.join(known)}" if known else "it has no keys"
    hint = f"did you mean {prefix}{close}?" if close else hint
    setting = f"{prefix}{name}={shown(value)}"
    cure = f"{prefix}{close}={shown(value)}" if close else ""
    return Problem(f"{setting}: there is no such key; {hint}", f"{prefix}{name}", "key", setting, cure)


def unknown_option(group: str, option: str, known: Sequence[str]) -> Problem:
    """An option that a group does not have."""
    close = closest(option, known)
    hint = f"did you mean {close}? " if close else ""
    if option in PLUGINS:
        hint = f"install it with: pip install {PLUGINS[option]}; "
    setting, cure = f"{group}={option}", f"{group}={close}" if close else ""
    listed = f"choose one of {', '.join(known)}"
    if len(listed) > LISTED and not group.startswith(("hydra/", "schema/")):
        listed = f"rerankbench --help {group} lists all {len(known)}"
    line = f"{setting}: there is no such option; {hint}{listed}"
    return Problem(line, group, "option", setting, cure)


def sweep_alone(line: str, key: str, lists: bool = False) -> Problem:
    """Several values of a key in a command that runs one job; `lists`: the key holds a list."""
    value = line.partition("=")[2]
    brackets = f", or brackets for a list: {key}=[{value}]" if lists and "(" not in value else ""
    return Problem(f"{line}: several values need -m for a sweep{brackets}", key, "sweep", line, f"-m {line}")


def not_taken_away(word: str) -> Problem:
    """A key without which there is no experiment."""
    key = word.lstrip("~").partition("=")[0]
    line = f"{word}: {key} cannot be taken away; give it a value, {key}=VALUE"
    return Problem(line, key, "syntax", word)


def unreadable(line: str, meant: Sequence[str] = ()) -> Problem:
    """A word of the command line that is no setting; `meant`: the settings that choose an option so named."""
    key, equals, value = line.partition("=")
    name = key.lstrip("+")
    if line == "help":
        said = "help: rerankbench --help shows what there is"
        return Problem(said, "", "syntax", line, "--help")
    if meant:
        said, cure = f"this is not a setting; did you mean {' or '.join(meant)}?", meant[-1]
    elif not re.fullmatch(r"[+~]*[\w./@:-]+", key):
        said, cure = f"{key or 'nothing'} cannot be the name of a setting; write KEY=VALUE without spaces", ""
        said = said if equals else "this is not a setting; write KEY=VALUE"
    elif not equals:
        said, cure = f"a setting needs a value, {name}=VALUE", ""
    else:
        said, cure = unreadable_value(key, value)
    return Problem(f"{line}: {said}", name, "syntax", line, cure)


def unreadable_value(key: str, value: str) -> tuple[str, str]:
    """Why Hydra cannot read a value that is no text, and the setting that was probably meant."""
    for opening, closing in ("[]", "{}", "()"):
        if lacking := value.count(opening) - value.count(closing):
            cure = f"{key}={value}{closing * lacking}" if lacking > 0 else ""
            return f"the brackets {opening}{closing} do not match" + f"; write {cure}" * bool(cure), cure
    if value.startswith("("):
        cure = f"{key}=[{value.strip('()')}]"
    else:
        cure = f"{key}={value.lstrip('=')}" if value.startswith("=") else ""
    return "the value cannot be read" + (
        f"; write {cure}" if cure else "; see --cfg job for how others look"
    ), cure


def as_text(value: object) -> str:
    """A value as one writes it in a config."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """A value as one writes it in a config, cut where it is long."""
    text = " ".join(masked(as_text(value)).split())
    return text if len(text) <= 100 else text[:97] + "..."
