"""Decoder-only rerankers that answer Yes: bge-reranker-v2-gemma and its kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import sentence_modules
from rerankbench.engine.models.checkpoint import architecture, describe
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.adapted import Adapted
from rerankbench.rerankers.families import knows, option_for
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.templated import OneTextModel

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query "
    "by providing a prediction of either 'Yes' or 'No'."
)


# Causal models whose scores are tested against FlagEmbedding's; the first is what its own rerankers are.
OWN = "GemmaForCausalLM"
KNOWN = (
    OWN,
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)


@dataclass(frozen=True)
class Prompted(Adapted):
    """What the decoder-only families have in common: `[bos] A: query \\n B: document \\n prompt`.

    prompt: what the model is asked to predict.
    """

    query_instruction: str = "A: "
    passage_instruction: str = "B: "
    prompt: str = PROMPT

    def length_problems(self, positions: int | None) -> list[str]:
        """The prompt comes on top of max_length; a token of it is a byte at least."""
        besides = len(self.prompt.encode()) + 8
        return super().length_problems(None if positions is None else max(0, positions - besides))

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        with without_values():
            self.open(weights, hardware)


@dataclass(frozen=True)
class LLM(Prompted):
    """Score = the raw logit of "Yes" after `[bos] A: query \\n B: document \\n prompt`.

    `yes`: another answer whose first token is asked for. Given at all, even as "Yes", it says that a model
    which is no Gemma was trained with FlagEmbedding's prompt and answers so; nothing in a folder tells.
    """

    yes: str | None = None

    family: ClassVar[str] = "llm"
    AUTO: ClassVar[str] = "AutoModelForCausalLM"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.yes is not None and not self.yes.strip():
            found.append("reranker.yes is empty: give the answer whose logit is the score, such as Yes")
        return found

    def misfits(self, folder: Path) -> list[str]:
        name = architecture(folder)
        if not name.endswith("ForCausalLM") or describe(folder)["start_layer"] is not None:
            option = option_for(folder)
            return [f"holds {name}, not a plain causal language model; {option} or another folder"]
        if name not in KNOWN:
            known = ", ".join(KNOWN)
            return [f"holds {name}, for which this family is not known to be right; it is for {known}"]
        if name != OWN and self.yes is None:
            return [f"holds {name}{likeness(folder)}; {option_for(folder)}, or, since {CONFIRM}"]
        return []

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        if self.answer == ANSWER:
            del found["yes"]  # a default spelled out is the same setting
        return found

    @property
    def answer(self) -> str:
        return self.yes or ANSWER

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return LLMModel(self, weights, hardware)


ANSWER = "Yes"
CONFIRM = (
    "this family asks for the logit of Yes after FlagEmbedding's prompt: if the model was trained that "
    "way, add reranker.yes=Yes"
)


def likeness(folder: Path) -> str:
    """What a causal model looks like otherwise, as far as its folder shows; with a comma before."""
    if sentence_modules.modules_of(folder).has("LogitScore"):
        return ", a sentence-transformers reranker that compares two answers"
    if knows(folder, "<think>"):
        return ", which looks like a Qwen3-Reranker or a chat model: its tokenizer knows <think>"
    template = "chat_template" in json_object(folder / "tokenizer_config.json")
    if template or (folder / "chat_template.jinja").is_file():
        kind = "a chat model or a reranker with a prompt of its own"
        return f", which looks like {kind}: it has a chat template"
    return ", not Gemma as FlagEmbedding's own"


class PromptedModel(OneTextModel):
    """What the three decoder-only families share: the token sequence, and right padding.

    Padding is on the right and attention is causal, so no real token ever sees padding: no mask is
    needed, and the scores do not depend on how wide the batch is.
    """

    settings: Prompted

    def __init__(self, settings: Prompted, weights: Weights, hardware: Hardware) -> None:
        super().__init__(settings, weights, hardware)
        self.between = self.tokenize(["\n"], "", None)[0]
        self.after = np.concatenate([self.between, self.tokenize([settings.prompt], "", None)[0]])
        bos, padding = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        # Qwen-like tokenizers have no beginning of their own; FlagEmbedding leaves it out for them.
        starts = bos is not None and (bos != padding or settings.family != "llm")
        self.before = np.array([bos] if starts else [], np.int32)
        # max_length bounds query and document together; separator and prompt come on top.
        self.body = settings.max_length + len(self.after) - len(self.before)


class LLMModel(PromptedModel):
    def __init__(self, settings: LLM, weights: Weights, hardware: Hardware) -> None:
        super().__init__(settings, weights, hardware)
        yes = self.tokenizer(settings.answer, add_special_tokens=False)["input_ids"][0]
        self.answers = Answers(self.model, yes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.answers.logits(inputs).view(-1, 1)


class Answers:
    """The logits of some tokens after a text: rows of a vocabulary (256,000 for Gemma) whose rest is never
    asked for."""

    def __init__(self, model: Any, tokens: int | list[int]) -> None:
        from rerankbench.engine.operators.last_position import narrow

        narrow(model.model, -1)
        head = model.get_output_embeddings()
        self.body, self.rows = model.model, head.weight[tokens].float()
        self.bias = head.bias[tokens].float() if head.bias is not None else 0.0
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)

    def logits(self, inputs: dict[str, Tensor]) -> Tensor:
        """[n, tokens], or [n] of a single one. Attention is causal: no real token sees padding behind it."""
        from rerankbench.engine.operators.last_position import last_positions

        with last_positions(inputs["lengths"]):
            hidden = self.body(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        return softcapped(last(hidden, inputs["lengths"]).float() @ self.rows.t() + self.bias, self.softcap)


def last(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states [n, width, size] at the last real token of each row: [n, size]."""
    import torch

    return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]


def softcapped(logits: Tensor, cap: float | None) -> Tensor:
    """Gemma 2's bound on logits (arXiv:2408.00118, section 2)."""
    return logits if cap is None else (logits / cap).tanh() * cap
