"""Which implementation of attention a model can use, where the one asked for would fail or be wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.model_config import text_part
from rerankbench.engine.models.model_files import under_its_hash

log = logging.getLogger(__name__)

# transformers is not asked about these, so that a run whose scores are stored need not load it.
WITH_SDPA = (
    "bert",
    "gemma",
    "mistral",
    "llama",
    "minicpm",
    "modernbert",
    "qwen2",
    "qwen3",
    "roberta",
    "xlm-roberta",
)


def usable(asked: str, folder: Path, auto: str, code: bool = False) -> str:
    """`asked`, or eager where `asked` is sdpa and the model in `folder` has no such implementation.

    That is so too where attention logits are capped (arXiv:2408.00118): sdpa would leave the cap out.

    auto: the class of transformers that finds the model's class, such as AutoModel. code: whether the
    folder's own Python files may be run.
    """
    config = json_object(folder / "config.json")
    if asked != "sdpa":
        return asked
    capped = any(part.get("attn_logit_softcapping") for part in (config, text_part(config)))
    if not capped and (config.get("model_type") in WITH_SDPA or has_sdpa(folder, auto, code)):
        return asked
    log.info("%s: attention=eager, since sdpa is not implemented for it", folder.name)
    return "eager"


def has_sdpa(folder: Path, auto: str, code: bool) -> bool:
    """Whether the model's class has it; True where that cannot be found out, so that loading says why."""
    try:
        found = model_class(folder, auto, code)
    except Exception:  # whatever a broken config makes transformers raise; loading it tells
        return True
    return bool(getattr(found, "_supports_sdpa", True))


def model_class(folder: Path, auto: str, code: bool) -> Any:
    """The class that transformers would load the model with."""
    import transformers
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    with under_its_hash(folder, code) as place:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=code)
        own = getattr(config, "auto_map", None) or {}
        if code and auto in own:
            return get_class_from_dynamic_module(own[auto], str(place))
    return getattr(transformers, auto)._model_mapping[type(config)]
