"""What a folder that sentence-transformers wrote says of how its cross-encoder scores.

Its `CrossEncoder` is a chain of modules: a Transformer alone for classifiers, with a LogitScore behind it for
causal models (https://sbert.net/docs/package_reference/cross_encoder/modules.html). On top comes an
activation. Those that are known here ascend everywhere, so that the order of scores is that of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.model_config import is_whole
from rerankbench.engine.models.sentence_modules import (
    ENDLESS,
    GENERAL,
    UNSUPPORTED,
    inside,
    module_folders,
    modules_of,
    told_in,
)

TRANSFORMER, LOGIT_SCORE = "Transformer", "LogitScore"
ASCENDING = ("Identity", "Sigmoid", "LogSigmoid", "Tanh", "Softplus", "Softsign")
ACTIVATION = "sbert_ce_default_activation_function"  # where versions before 4 keep it


@dataclass(frozen=True)
class CrossEncoderFolder:
    """`answers`: the tokens of yes and no whose logits are compared; of yes alone, its logit is the score.

    max_length: in tokens, None where the folder says nothing. prompt: what stands before each query, or is
    the system's message of a chat. opens: whether the chat template is asked to open the answer. problems:
    what the folder asks for that is not done here, one line each.
    """

    answers: tuple[int, ...] = ()
    max_length: int | None = None
    prompt: str = ""
    opens: bool = False
    problems: tuple[str, ...] = ()


def described(folder: Path) -> CrossEncoderFolder:
    """What the folder says; nothing, where it is of no CrossEncoder. Damage counts as silence."""
    config, general = (json_object(folder / name) for name in ("config.json", GENERAL))
    inner = inside(config, "sentence_transformers")
    modules = modules_of(folder)
    if not (modules.kinds or inner or ACTIVATION in config or general.get("model_type") == "CrossEncoder"):
        return CrossEncoderFolder()
    chat = inside(inside(json_object(told_in(folder)), "processing_kwargs"), "chat_template")
    activation = general.get("activation_fn") or inner.get("activation_fn") or config.get(ACTIVATION)
    found = [*chain_problems(modules.besides(TRANSFORMER, LOGIT_SCORE)), *activation_problems(activation)]
    found += modules.problems
    own_limit = json_object(folder / "tokenizer_config.json").get("model_max_length")
    lengths = (modules.max_length, own_limit)
    known = [one for one in lengths if is_whole(one) and 0 < one < ENDLESS]
    return CrossEncoderFolder(
        answers_of(folder),
        min(known, default=None),
        modules.default,
        chat.get("add_generation_prompt") is True,
        tuple(found),
    )


def chain_problems(others: list[str]) -> list[str]:
    if not others:
        return []
    return [f"its modules.json computes scores with {', '.join(others)} besides the model, {UNSUPPORTED}"]


def activation_problems(activation: Any) -> list[str]:
    """One line for an activation that would order scores otherwise than the logits."""
    name = str(activation).rpartition(".")[2]
    if activation is None or (str(activation).startswith("torch.nn.") and name in ASCENDING):
        return []
    return [
        f"its activation_fn is {activation}, which may order scores otherwise than the logits, which are "
        "what is stored here; take it out of the folder to go by the logits"
    ]


def answers_of(folder: Path) -> tuple[int, ...]:
    """The tokens that a LogitScore module names; empty where there is none, or none that can be read."""
    places = module_folders(folder, LOGIT_SCORE)
    config = json_object(places[0] / "config.json") if places else {}
    named = [config.get("true_token_id"), config.get("false_token_id")]
    found = [one for one in named if is_whole(one) and one >= 0]
    return tuple(found) if is_whole(named[0]) else ()
