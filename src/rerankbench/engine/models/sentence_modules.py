"""What a sentence-transformers folder says of itself: its modules, pooling, prompts and lengths.

https://sbert.net/docs/package_reference/base/modules.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import LARGEST, json_object

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


@dataclass(frozen=True)
class Modules:
    """The modules of a folder in order, by the last part of their types; none in folders of other kinds.

    pooling: the modes whose vectors are joined, empty if that is not said. pools_prompts: whether tokens of
    prompts are among those that are pooled. prompts: texts put before others,
    by what they are put before; `default` is what stands before everything. similarity: cosine, dot, ... or
    empty. max_length: in tokens, None if that is not said.
    """

    kinds: tuple[str, ...] = ()
    pooling: tuple[str, ...] = ()
    pools_prompts: bool = True
    prompts: dict[str, str] = field(default_factory=dict)
    default: str = ""
    similarity: str = ""
    max_length: int | None = None
    lower_case: bool = False

    def has(self, kind: str) -> bool:
        return kind in self.kinds

    def besides(self, *known: str) -> list[str]:
        """The modules of other kinds than the `known`."""
        return [kind for kind in self.kinds if kind not in known]

    def prompt(self, *names: str) -> str:
        """What stands before texts of the first of these names that there is a prompt for."""
        return next((self.prompts[name] for name in names if self.prompts.get(name)), self.default)


def modules_of(folder: Path) -> Modules:
    """Read from modules.json and what it names; damage counts as silence, except in modules.json itself."""
    listed = listed_modules(folder)
    kinds = tuple(str(entry.get("type", "unknown")).rpartition(".")[2] for entry in listed)
    general = json_object(folder / "config_sentence_transformers.json")
    own = json_object(folder / "sentence_bert_config.json")
    prompts = general.get("prompts")
    prompts = {str(key): str(text) for key, text in prompts.items()} if isinstance(prompts, dict) else {}
    longest = own.get("max_seq_length")
    if longest is None and listed:  # where version 5 keeps it
        longest = json_object(folder / "tokenizer_config.json").get("model_max_length")
    return Modules(
        kinds,
        *pooling_of(folder),
        prompts,
        prompts.get(str(general.get("default_prompt_name")), ""),
        str(general.get("similarity_fn_name") or ""),
        longest if isinstance(longest, int) and longest < ENDLESS else None,
        own.get("do_lower_case") is True,
    )


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
    return tuple(name for flag, name in FLAGS.items() if config.get(flag) is True), prompts


def listed_modules(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in json_list(folder / "modules.json") if isinstance(entry, dict)]


def module_folders(folder: Path, kind: str) -> list[Path]:
    """The folders of the modules of a kind, in order; a path that leads out of the folder is not followed."""
    entries = [one for one in listed_modules(folder) if str(one.get("type")).endswith(f".{kind}")]
    return [folder / path for path in (str(one.get("path")) for one in entries) if Path(path).name == path]


def json_list(file: Path) -> list[Any]:
    """A file's list; one entry of an unknown kind where the file is damaged, none where there is no file."""
    if not file.is_file() or file.stat().st_size > LARGEST:
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    return content if isinstance(content, list) else [{"type": "something unreadable"}]
