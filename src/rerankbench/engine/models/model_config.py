"""What config.json says of a model: whether it can be, how many tokens it reads, and what version 5 wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, TypeGuard

from rerankbench.engine.models.json_files import AGAIN

LAYERS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
# Families with a table of positions: how many of its rows come before that of the first token.
# RoBERTa and its kind start behind the padding token's id.
BEFORE_FIRST = {
    "albert": 0,
    "bert": 0,
    "deberta": 0,
    "deberta-v2": 0,
    "distilbert": 0,
    "electra": 0,
    "mpnet": 2,
}
BEHIND_PADDING = ("camembert", "roberta", "xlm-roberta")
# Families whose positions are computed, so that nothing breaks beyond those they were trained with.
WITHOUT_TABLE = (
    "cost_wise_gemma",
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "minicpm",
    "mistral",
    "modernbert",
    "qwen2",
    "qwen3",
)
# Decoders: what they make of a token has seen those before it alone.
DECODERS = ("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3")
CHECKED = frozenset({*BEFORE_FIRST, *BEHIND_PADDING, *WITHOUT_TABLE})
"""Values of model_type whose scores are tested against other implementations."""

FEW = 100  # layers and the like that need no weights to be believed
LARGE = 20_000_000  # no width, vocabulary or table of positions is larger
DEEP = 50
COUNT = re.compile(r"(?:^|_)(?:layers?|groups?|group_num|experts|labels|blocks)$")
SIZE = re.compile(r"(?:^|_)(?:size|dim|dims|positions|embeddings|heads|factor|window|rank|width)$")
NUMBERED = re.compile(r"^(|.*?\.)(?:layers|layer|h)\.(\d+)\.")
FULL, SLIDING = "full_attention", "sliding_attention"


def layer_count(config: Mapping[str, Any]) -> Any:
    """How many layers the text model has, under whichever name; None where that is not said."""
    for part in (config, text_part(config)):
        for name in LAYERS:
            if part.get(name) is not None:
                return part[name]
    return None


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a multimodal model's config that describes how it reads text."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else {}


def positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model reads; None for one without a table of positions."""
    kind, rows = config.get("model_type"), config.get("max_position_embeddings")
    if (most := alike_positions(config)) is not None:
        return most
    if not is_whole(rows) or kind in WITHOUT_TABLE:
        return None
    if kind in ("deberta", "deberta-v2") and config.get("position_biased_input", True) is False:
        return None  # positions are relative alone
    padding = config.get("pad_token_id")
    behind = (padding if is_whole(padding) else 1) + 1
    return rows - (behind if kind in BEHIND_PADDING else BEFORE_FIRST.get(str(kind), 0))


def alike_positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens that are rotated alike whatever stands beside them; None where all are.

    Scalings of some kinds look at the longest text of a batch, so that a longer one changes all the others.
    """
    part = {**config, **text_part(config)}
    rope = part.get("rope_parameters") or part.get("rope_scaling")
    if not isinstance(rope, dict):
        return None
    kind, rows = rope.get("rope_type", rope.get("type")), part.get("max_position_embeddings")
    before = rope.get("original_max_position_embeddings") or part.get("original_max_position_embeddings")
    found = {"dynamic": rows, "longrope": before or rows}.get(str(kind))
    return found - found % 8 if is_whole(found) else None  # rows may be padded up to a multiple of 8


def is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def problems(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """Why a model cannot be what its config.json says, given its tensors by name; one line each."""
    found = odd_values(config)
    if found:
        return found
    found = [
        *quantized(config),
        *odd_numbers(tensors),
        *(absurd(config, len(tensors)) or other_depth(config, tensors)),
    ]
    return found + version_problems(config)


def odd_values(config: Mapping[str, Any]) -> list[str]:
    """Values that cannot be, among those that are read here."""
    found = []
    least = dict.fromkeys(LAYERS, 1) | {"start_layer": 0, "layer_sep": 1, "hidden_size": 1}
    for name, low in (least | {"num_labels": 0}).items():
        value = config.get(name)
        if value is not None and (not is_whole(value) or value < low):
            found.append(f"{name} is {value!r}, not a whole number from {low}")
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        found.append(f"model_type is {kind!r}, not a name")
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        found.append(f"architectures is {names!r}, not a list of names")
    for name in ("id2label", "auto_map", "text_config"):
        if not isinstance(config.get(name) or {}, dict):
            found.append(f"{name} is {config[name]!r}, not an object")
    padding = config.get("pad_token_id")
    if padding is not None and (not is_whole(padding) or padding < -1):
        found.append(f"pad_token_id is {padding!r}, not a whole number")
    if not found and (most := positions(config)) is not None and most < 1:
        rows = f"max_position_embeddings is {config['max_position_embeddings']}"
        found.append(f"{rows} and pad_token_id {padding}, which leaves no position for a token")
    return [f"{line}; {AGAIN}" for line in found]


def quantized(config: Mapping[str, Any]) -> list[str]:
    settings = config.get("quantization_config") or config.get("compression_config")
    if not settings:
        return []
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    what = method or "quantization_config"
    return [f"the weights are quantized ({what}), which is not read here; give a folder with plain weights"]


def odd_numbers(tensors: Mapping[str, Any]) -> list[str]:
    """Weights in a form that only means something together with scales, which nothing applies here."""
    odd = sorted(
        name for name, one in tensors.items() if name.endswith(".weight") and one.dtype not in PLAIN_NUMBERS
    )
    if not odd:
        return []
    return [
        f"the weights are quantized ({odd[0]} is {tensors[odd[0]].dtype}), which is not read here; give a "
        "folder with plain weights"
    ]


PLAIN_NUMBERS = ("F64", "F32", "F16", "BF16")


def absurd(config: Mapping[str, Any], tensors: int) -> list[str]:
    """Numbers that no model has, or that these weights cannot fill: building it would take for ever."""
    found = []
    for name, value in numbers(config):
        leaf = name.rpartition(".")[2]
        if COUNT.search(leaf) and value > max(FEW, tensors):
            found.append(f"{name} is {value}, but the weights are {tensors:,} tensors in all; {AGAIN}")
        elif SIZE.search(leaf) and value > LARGE:
            found.append(f"{name} is {value}, more than any model has; {AGAIN}")
    return found


def numbers(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a config and of the configs in it, by their place."""
    for name, value in config.items():
        if isinstance(value, dict) and path.count(".") < DEEP:
            yield from numbers(value, f"{path}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{path}{name}", value


def other_depth(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    """Whether the weights are of another number of layers; asked of models that are one stack of layers."""
    said = layer_count(config)
    highest: dict[str, int] = {}
    for name in tensors:
        if match := NUMBERED.match(name):
            highest[match[1]] = max(highest.get(match[1], 0), int(match[2]) + 1)
    if config.get("model_type") not in CHECKED or said is None or len(highest) != 1:
        return []
    (held,) = highest.values()
    return [f"it has {said} layers, but the weights are of {held}; {AGAIN}"] if held != said else []


@cache
def reads_version_5() -> bool:
    """Whether it is version 5 of transformers, or a later one, that is installed; imports nothing."""
    return int(version("transformers").partition(".")[0]) >= 5


def version_problems(config: Mapping[str, Any]) -> list[str]:
    """What transformers 5 wrote and version 4 would read otherwise, without a word."""
    if reads_version_5():
        return []
    kind = config.get("model_type")
    fifth = str(config.get("transformers_version", "")).startswith("5")
    kinds = (kind, text_part(config).get("model_type"))
    if fifth and not config.get("auto_map") and CHECKED.isdisjoint(kinds):
        return [f"transformers 5 wrote it, and what it means by {kind} is not known here; {OLDER}"]
    try:
        older_rope(config)
    except ValueError as error:
        return [f"{error}; {OLDER}"]
    return []


OLDER = "save the model with transformers 4, or give another one"


def older_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `rope_parameters` that transformers 5 writes in the words of version 4; empty where there are none.

    Raises ValueError where they cannot be said so. For a multimodal model these are values of `text_config`.
    """
    part = text_part(config) if text_part(config).get("model_type") else config
    rope, kind = part.get("rope_parameters"), str(part.get("model_type"))
    if rope is None:
        return {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_parameters is {rope!r}, not an object")
    if kind in ("modernbert", "gemma3_text"):
        return by_layer_type(part, rope, kind)
    if kind not in WITHOUT_TABLE or FULL in rope or SLIDING in rope:
        raise ValueError(f"rope_parameters of transformers 5 are not known for model_type {kind}")
    theta, scaling = one_rope(rope)
    return {"rope_theta": theta, "rope_scaling": scaling}


def by_layer_type(part: Mapping[str, Any], rope: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Of models that rotate differently in layers that see everything and in those that see a window."""
    if not all(isinstance(rope.get(name), dict) for name in (FULL, SLIDING)):
        raise ValueError(f"rope_parameters lack {FULL} or {SLIDING}")
    (theta, scaling), (local, other) = one_rope(rope[FULL]), one_rope(rope[SLIDING])
    if other is not None or (scaling is not None and kind == "modernbert"):
        raise ValueError("rope_parameters scale positions in a way that transformers 4 cannot")
    if kind == "gemma3_text":
        return {"rope_theta": theta, "rope_local_base_freq": local, "rope_scaling": scaling}
    every = every_nth(part.get("layer_types"), part)
    return {"global_rope_theta": theta, "local_rope_theta": local, "global_attn_every_n_layers": every}


def one_rope(rope: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """(base, scaling or None) out of one object of version 5."""
    theta = rope.get("rope_theta")
    if isinstance(theta, bool) or not isinstance(theta, (int, float)):
        raise ValueError(f"rope_parameters have {theta!r} for rope_theta, not a number")
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ValueError("rope_parameters rotate a part of each head only, which is not known here")
    rest = {
        name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")
    }
    return theta, None if rest in ({}, {"rope_type": "default"}) else rest


def every_nth(kinds: Any, part: Mapping[str, Any]) -> int:
    """The period in which layers see everything, from layer 0 on."""
    if kinds is None:
        return int(part.get("global_attn_every_n_layers", 3))
    whole = [place for place, kind in enumerate(kinds) if kind == FULL] if isinstance(kinds, list) else []
    period = whole[1] - whole[0] if len(whole) > 1 else len(kinds)
    if whole != list(range(0, len(kinds), period)):
        raise ValueError("layer_types are in an order that transformers 4 cannot express")
    return period
