"""What a sentence-transformers folder says of itself: its modules, pooling, prompts and lengths.

https://sbert.net/docs/package_reference/base/modules.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import AGAIN, LARGEST, json_object
from rerankbench.engine.models.model_config import is_whole

# The names of pooling modes, as version 5 writes them, by the flags of earlier versions.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

ENDLESS = 1_000_000  # tokens; tokenizers write larger numbers where there is no limit
GENERAL = "config_sentence_transformers.json"
# What the Transformer module is told: the name of today, and those of its early days.
OWN = "sentence_bert_config.json"
EARLIER = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
KNOWN_PACKAGES = ("sentence_transformers.", "pylate.")
UNSUPPORTED = "which is not supported"
# Options of a module that change neither tokens nor vectors.
HARMLESS = {"add_pooling_layer", "attn_implementation", "dtype", "torch_dtype", "use_safetensors"}
ASKED = {"chat_template": {"add_generation_prompt", "restore_suffix"}, "text": {"max_length", "truncation"}}


@dataclass(frozen=True)
class Modules:
    """The modules of a folder in order, by the last part of their types; none in folders of other kinds.
    A module of another package than those known here goes by its whole type.

    pooling: the modes whose vectors are joined, empty if that is not said. pools_prompts: whether tokens of
    prompts are among those that are pooled. prompts: texts put before others,
    by what they are put before; `default` is what stands before everything. similarity: cosine, dot, ... or
    empty. max_length: in tokens, None if that is not said. problems: what the folder asks for that is not
    done here, and what cannot be read, one line each.
    """

    kinds: tuple[str, ...] = ()
    pooling: tuple[str, ...] = ()
    pools_prompts: bool = True
    prompts: dict[str, str] = field(default_factory=dict)
    default: str = ""
    similarity: str = ""
    max_length: int | None = None
    lower_case: bool = False
    problems: tuple[str, ...] = ()

    def has(self, kind: str) -> bool:
        return kind in self.kinds

    def besides(self, *known: str) -> list[str]:
        """The modules of other kinds than the `known`."""
        return [kind for kind in self.kinds if kind not in known]

    def prompt(self, *names: str) -> str:
        """What stands before texts of the first of these names that there is a prompt for."""
        return next((self.prompts[name] for name in names if self.prompts.get(name)), self.default)


def modules_of(folder: Path) -> Modules:
    """Read from modules.json and what it names. Damage counts as silence, and is among the `problems`."""
    listed = listed_modules(folder)
    general, own = json_object(folder / GENERAL), json_object(told_in(folder))
    prompts = general.get("prompts")
    prompts = {str(key): str(text) for key, text in prompts.items()} if isinstance(prompts, dict) else {}
    longest = own.get("max_seq_length")
    if longest is None and listed:  # where version 5 keeps it
        longest = json_object(folder / "tokenizer_config.json").get("model_max_length")
    lengths = (longest, inside(inside(own, "processing_kwargs"), "text").get("max_length"))
    known = [one for one in lengths if is_whole(one) and 0 < one < ENDLESS]
    problems = [*unread(folder), *misplaced(folder, listed), *asked_problems(own)]
    if general.get("truncate_dim") is not None:
        cut = general["truncate_dim"]
        problems.append(f"its {GENERAL} cuts vectors to {cut} numbers (truncate_dim), {UNSUPPORTED}")
    return Modules(
        tuple(kind_of(entry) for entry in listed),
        *pooling_of(folder),
        prompts,
        prompts.get(str(general.get("default_prompt_name")), ""),
        str(general.get("similarity_fn_name") or ""),
        min(known, default=None),
        own.get("do_lower_case") is True,
        tuple(problems),
    )


def kind_of(entry: Mapping[str, Any]) -> str:
    """The last part of a module's type, or all of it where the module is of a folder's own code."""
    kind = str(entry.get("type", "unknown"))
    return kind.rpartition(".")[2] if kind.startswith(KNOWN_PACKAGES) else kind


def told_in(folder: Path) -> Path:
    """The file with what the Transformer module is told."""
    return next((folder / name for name in (OWN, *EARLIER) if (folder / name).is_file()), folder / OWN)


def inside(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object in a config; empty where it is none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def unread(folder: Path) -> list[str]:
    """Files that a folder's modules are described in, and that are damaged or missing."""
    poolings = [place / "config.json" for place in module_folders(folder, "Pooling")]
    there = [file for file in (folder / GENERAL, told_in(folder)) if file.is_file()]
    odd = [file for file in (*there, *poolings) if not json_object(file) and not is_empty(file)]
    return [
        f"its {file.relative_to(folder)} is {'damaged' if file.is_file() else 'missing'}; {AGAIN}"
        for file in odd
    ]


def is_empty(file: Path) -> bool:
    """Whether a file is an object with nothing in it."""
    return file.is_file() and file.stat().st_size < FEW and b"".join(file.read_bytes().split()) == b"{}"


FEW = 100  # bytes


def misplaced(folder: Path, listed: list[dict[str, Any]]) -> list[str]:
    """Modules in places that are not looked at."""
    found = []
    for entry in listed:
        path = str(entry.get("path", ""))
        if kind_of(entry) == "Transformer" and path not in ("", "."):
            found.append(
                f"its modules.json has the model in {path!r}; save it again with sentence-transformers, "
                "which puts the model beside modules.json"
            )
        elif not is_below(path):
            found.append(f"its modules.json names {path!r}, which is outside the folder; {AGAIN}")
    return found


def is_below(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def asked_problems(own: Mapping[str, Any]) -> list[str]:
    """Options of how texts are tokenized and the model is built that are not followed here."""
    asked = inside(own, "processing_kwargs")
    odd = [
        f"{group}.{name}"
        for group, options in asked.items()
        for name in (options if isinstance(options, dict) else [])
        if name not in ASKED.get(group, set()) and name != "padding"
    ]
    odd += ["chat_template.restore_suffix"] * (inside(asked, "chat_template").get("restore_suffix") is False)
    groups = [f"{group}_{end}" for group in ("model", "tokenizer", "processor", "config") for end in ENDS]
    odd += [f"{group}.{name}" for group in groups for name in inside(own, group) if name not in HARMLESS]
    if not odd:
        return []
    return [f"its {OWN} sets {', '.join(odd)} beyond what is followed here, which is not supported"]


ENDS = ("args", "kwargs")


def is_late_interaction(folder: Path) -> bool:
    """Whether a folder says that its model has a vector for each token: PyLate's, or Stanford's ColBERT."""
    names = json_object(folder / "config.json").get("architectures") or [""]
    found = modules_of(folder)
    stanford = (folder / "artifact.metadata").is_file() or names[0] in ("HF_ColBERT", "ColBERT")
    return stanford or (found.has("Dense") and not found.has("Pooling"))


def pooling_of(folder: Path) -> tuple[tuple[str, ...], bool]:
    """The modes of the folder's pooling module, and whether it pools prompts."""
    places = module_folders(folder, "Pooling")
    if not places:
        return (), True
    config = json_object(places[0] / "config.json")
    mode, prompts = config.get("pooling_mode"), config.get("include_prompt") is not False
    if isinstance(mode, (str, list)):
        return (mode,) if isinstance(mode, str) else tuple(map(str, mode)), prompts
    flagged = tuple(name for flag, name in FLAGS.items() if config.get(flag) is True)
    return flagged or ("mean",), prompts  # what it does unless told otherwise


def listed_modules(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in json_list(folder / "modules.json") if isinstance(entry, dict)]


def module_folders(folder: Path, kind: str) -> list[Path]:
    """The folders of the modules of a kind, in order; a path that leads out of the folder is not followed."""
    paths = [str(one.get("path", "")) for one in listed_modules(folder) if kind_of(one) == kind]
    return [folder / path for path in paths if is_below(path)]


def json_list(file: Path) -> list[Any]:
    """A file's list; one entry of an unknown kind where the file is damaged, none where there is no file."""
    if not file.is_file() or file.stat().st_size > LARGEST:
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    return content if isinstance(content, list) else [{"type": "something unreadable"}]
