"""Decoder-only rerankers that answer Yes: bge-reranker-v2-gemma and its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import sentence_modules
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.checkpoint import describe
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import take, without_values
from rerankbench.engine.models.references import Weights
from rerankbench.engine.tokens import Tokens, pad
from rerankbench.rerankers.adapted import Adapted
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.reranker import PairModel

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

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    def problems(self) -> list[str]:
        found = super().problems()
        if self.yes is not None and not self.yes.strip():
            found.append("reranker.yes is empty: give the answer whose logit is the score, such as Yes")
        return found

    def folder_problems(self, folder: Path) -> list[str]:
        description = describe(folder)
        name = (description.get("architectures") or ["unknown"])[0]
        if not name.endswith("ForCausalLM") or description.get("start_layer") is not None:
            return [
                f"reranker.model={self.model}: holds {name}, not a plain causal language model; "
                f"{option_for(folder)} or another folder"
            ]
        if name not in KNOWN:
            return [
                f"reranker.model={self.model}: holds {name}, which this family is not known to score right; "
                f"those it is are {', '.join(KNOWN)}"
            ]
        if name != OWN and self.yes is None:
            return [
                f"reranker.model={self.model}: holds {name}{likeness(folder)}; {option_for(folder)}, or, "
                f"since {CONFIRM}"
            ]
        return []

    def fitted(self, folder: Path) -> Self:
        return replace(self, attention=usable(self.attention, folder, AUTO, self.trust_remote_code))

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        if self.answer == ANSWER:
            del found["yes"]  # a default spelled out is the same setting
        return found

    @property
    def answer(self) -> str:
        return self.yes or ANSWER

    def kind(self) -> str:
        return AUTO

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return LLMModel(self, weights, hardware)


ANSWER = "Yes"
AUTO = "AutoModelForCausalLM"
CONFIRM = (
    "this family asks for the logit of Yes after FlagEmbedding's prompt: if the model was trained so, say it "
    "with reranker.yes=Yes"
)


def likeness(folder: Path) -> str:
    """What a causal model looks like otherwise, as far as its folder shows; with a comma before."""
    if sentence_modules.modules_of(folder).has("LogitScore"):
        return ", a sentence-transformers reranker that compares two answers"
    settings = folder / "tokenizer_config.json", folder / "chat_template.jinja", folder / "tokenizer.json"
    files = (file.read_bytes() for file in settings if file.is_file())
    if any(b"<think>" in content for content in files):
        return ", which looks like a Qwen3-Reranker or a chat model: its tokenizer knows <think>"
    if "chat_template" in json_object(folder / "tokenizer_config.json") or settings[1].is_file():
        return (
            ", which looks like a chat model or a reranker with a prompt of its own: it has a chat template"
        )
    return ", not Gemma as FlagEmbedding's own"


class PromptedModel(PairModel):
    """What the three decoder-only families share: the token sequence, and right padding.

    Padding is on the right and attention is causal, so no real token ever sees padding: no mask is
    needed, and the scores do not depend on how wide the batch is.
    """

    settings: Prompted
    model: Any

    def prepare(self, hardware: Hardware) -> None:
        """Tokenize the fixed parts; call once `model`, `tokenizer` and `settings` are set."""
        self.enough = hardware.enough_tokens(weights_of(self.model))
        # GPUs multiply widths that are no multiple of 8 several times more slowly
        self.multiple = 1 if hardware.device == "cpu" else 8
        self.separator = self.tokenize(["\n"], "", None)[0]
        self.question = np.concatenate([self.separator, self.tokenize([self.settings.prompt], "", None)[0]])
        bos, padding = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        # Qwen-like tokenizers have no beginning of their own; FlagEmbedding leaves it out for them.
        starts = bos is not None and (bos != padding or self.settings.family != "llm")
        self.start = np.array([bos] if starts else [], np.int32)
        rows = self.model.get_input_embeddings().num_embeddings
        self.padding = padding if padding is not None and padding < rows else 0
        # max_length bounds query and document together; separator and prompt come on top.
        self.limit = self.settings.max_length + len(self.question)

    def room(self, query: int) -> int:
        return max(0, self.limit - len(self.start) - query - len(self.separator))

    def lengths(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
        pair = len(self.start) + queries + len(self.separator) + documents
        return np.minimum(pair, self.limit) + len(self.question)

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        pair = np.concatenate([self.start, query, self.separator, document])
        return np.concatenate([pair[: self.limit], self.question])

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        rows = [self.join(q, d) for q, d in zip(queries, documents, strict=True)]
        before = len(self.start) + len(self.separator)
        return {
            "input_ids": pad(rows, self.padding, self.multiple),
            "lengths": np.array([len(row) for row in rows], np.int64),
            "query_lengths": np.array([before + len(q) for q in queries], np.int64),
        }


class LLMModel(PromptedModel):
    def __init__(self, settings: LLM, weights: Weights, hardware: Hardware) -> None:
        from rerankbench.engine.operators.last_position import narrow

        self.settings = settings
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware)
        self.prepare(hardware)
        self.layers = (self.model.config.num_hidden_layers,)
        narrow(self.model.model, -1)
        head = self.model.get_output_embeddings()
        yes = self.tokenizer(settings.answer, add_special_tokens=False)["input_ids"][0]
        # Only this row of the vocabulary (256,000 for Gemma) is ever asked for.
        self.yes = head.weight[yes].float()
        self.bias = head.bias[yes].float() if head.bias is not None else 0.0
        self.softcap: float | None = getattr(self.model.config, "final_logit_softcapping", None)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        from rerankbench.engine.operators.last_position import last_positions

        with last_positions(inputs["lengths"]):
            hidden = self.model.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        logits = last(hidden, inputs["lengths"]).float() @ self.yes + self.bias
        return softcapped(logits, self.softcap).view(-1, 1)


def weights_of(model: Any) -> int:
    """Weights that every token is multiplied with."""
    import torch

    linear = (module for module in model.base_model.modules() if isinstance(module, torch.nn.Linear))
    return sum(module.in_features * module.out_features for module in linear)


def last(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states [n, width, size] at the last real token of each row: [n, size]."""
    import torch

    return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]


def softcapped(logits: Tensor, cap: float | None) -> Tensor:
    """Gemma 2's bound on logits (arXiv:2408.00118, section 2)."""
    return logits if cap is None else (logits / cap).tanh() * cap
