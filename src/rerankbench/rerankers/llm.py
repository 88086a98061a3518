"""Decoder-only rerankers that answer Yes: bge-reranker-v2-gemma and its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rerankbench.hardware import Hardware
from rerankbench.models import Weights
from rerankbench.rerankers.reranker import PairModel, Reranker, pad
from rerankbench.rerankers.weights import reading, take
from rerankbench.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query "
    "by providing a prediction of either 'Yes' or 'No'."
)


@dataclass(frozen=True)
class LLM(Reranker):
    """Score = the raw logit of "Yes" after `[bos] A: query \\n B: document \\n prompt`.

    prompt: what the model is asked to predict.
    """

    query_instruction: str = "A: "
    passage_instruction: str = "B: "
    prompt: str = PROMPT

    family: ClassVar[str] = "llm"

    def layers(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    def folder_problems(self, description: dict[str, Any]) -> list[str]:
        names = description.get("architectures") or ["unknown"]
        if names[0].endswith("ForCausalLM") and description.get("start_layer") is None:
            return []
        return [
            f"reranker.model={self.model}: holds {names[0]}, not a plain causal language model; choose the "
            "option of its family (base, minicpm-layerwise, lightweight) or another folder"
        ]

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return LLMModel(self, weights, hardware)


class PromptedModel(PairModel):
    """What the three decoder-only families share: the token sequence, and right padding.

    Padding is on the right and attention is causal, so no real token ever sees padding: no mask is
    needed, and the scores do not depend on how wide the batch is.
    """

    settings: LLM
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
        self.padding = padding if padding is not None else 0
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
        from FlagEmbedding import FlagLLMReranker

        from rerankbench.last_position import narrow

        self.settings = settings
        with reading(weights.folder, hardware.dtype, settings.attention):
            wrapper = FlagLLMReranker(
                str(weights.folder), devices=hardware.device, trust_remote_code=settings.trust_remote_code
            )
        yes = wrapper.yes_loc
        self.model, self.tokenizer = take(wrapper, hardware.device)
        self.prepare(hardware)
        self.layers = (self.model.config.num_hidden_layers,)
        narrow(self.model.model, -1)
        head = self.model.get_output_embeddings()
        # Only this row of the vocabulary (256,000 for Gemma) is ever asked for.
        self.yes = head.weight[yes].float()
        self.bias = head.bias[yes].float() if head.bias is not None else 0.0
        self.softcap: float | None = getattr(self.model.config, "final_logit_softcapping", None)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        from rerankbench.last_position import last_positions

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
