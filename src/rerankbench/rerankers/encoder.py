"""Cross-encoders: bge-reranker-base, -large, -v2-m3, MiniLM, any sequence classifier with one label."""

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


@dataclass(frozen=True)
class Encoder(Reranker):
    """Score = the single logit of `[cls] query [sep] document [sep]`, as the tokenizer joins pairs."""

    family: ClassVar[str] = "encoder"

    def layers(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    def folder_problems(self, description: dict[str, Any]) -> list[str]:
        names = description.get("architectures") or ["unknown"]
        if not names[0].endswith("ForSequenceClassification"):
            return [
                f"reranker.model={self.model}: holds {names[0]}, not a sequence classifier; choose "
                "the option of its family (gemma, minicpm-layerwise, lightweight) or another folder"
            ]
        labels = description.get("num_labels") or 2  # two is the default that config.json leaves out
        if labels != 1:
            return [f"reranker.model={self.model}: has {labels} labels; a reranker needs exactly one"]
        return []

    def load(self, weights: Weights, hardware: Hardware) -> EncoderModel:
        return EncoderModel(self, weights, hardware)


class EncoderModel(PairModel):
    def __init__(self, settings: Encoder, weights: Weights, hardware: Hardware) -> None:
        from FlagEmbedding import FlagReranker

        self.settings = settings
        with reading(weights.folder, hardware.dtype, settings.attention):
            wrapper = FlagReranker(
                str(weights.folder), devices=hardware.device, trust_remote_code=settings.trust_remote_code
            )
        self.model, self.tokenizer = take(wrapper, hardware.device, first_only=True)
        self.layers = (self.model.config.num_hidden_layers,)
        self.template = PairTemplate.of(self.tokenizer)
        self.max_length = settings.max_length

    def room(self, query: int) -> int:
        return max(0, self.max_length - self.template.size - query)

    def lengths(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(queries + documents + self.template.size, self.max_length)

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        longest = self.max_length - self.template.size  # of a query whose query_max_length leaves no document
        parts = [(q[:longest], d[: self.room(len(q))]) for q, d in zip(queries, documents, strict=True)]
        ids = [self.template.join(q, d) for q, d in parts]
        inputs = {"input_ids": pad(ids, self.tokenizer.pad_token_id)}
        inputs["attention_mask"] = pad([np.ones(len(row), np.int32) for row in ids], 0)
        if "token_type_ids" in self.tokenizer.model_input_names:
            inputs["token_type_ids"] = pad([self.template.types(q, d) for q, d in parts], 0)
        return inputs

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.model(**inputs).logits.view(-1, 1).float()


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens that a tokenizer puts before, between and after the two texts of a pair."""

    before: Tokens
    between: Tokens
    after: Tokens
    second_type: int

    @classmethod
    def of(cls, tokenizer: Any) -> PairTemplate:
        """Read the template off a joined pair of two marks that are no token ids."""
        first, second = -1, -2
        joined = tokenizer.build_inputs_with_special_tokens([first], [second])
        types = tokenizer.create_token_type_ids_from_sequences([first], [second])
        i, j = joined.index(first), joined.index(second)
        parts = (joined[:i], joined[i + 1 : j], joined[j + 1 :])
        before, between, after = (np.asarray(part, np.int32) for part in parts)
        return cls(before, between, after, types[j])

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        return np.concatenate([self.before, query, self.between, document, self.after])

    def types(self, query: Tokens, document: Tokens) -> Tokens:
        types = np.zeros(self.size + len(query) + len(document), np.int32)
        types[len(self.before) + len(query) + len(self.between) :] = self.second_type
        return types
