"""Cross-encoders: bge-reranker-base, -large, -v2-m3, MiniLM, any sequence classifier with one label."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import shown
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import Weights, describe, sentence_modules
from rerankbench.engine.models.adapters import adapter_identity, adapter_problems, merged
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import parts, reading, take, with_its_tokens
from rerankbench.engine.models.model_config import CHECKED, DECODERS
from rerankbench.engine.models.model_files import own_code_problems
from rerankbench.engine.models.pair_template import PairTemplate
from rerankbench.engine.models.prompt_template import (
    PromptTemplate,
    chat_text,
    has_roles,
    template_problems,
)
from rerankbench.engine.tokens import Tokens, pad
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.llm import weights_of
from rerankbench.rerankers.reranker import LocalReranker, PairModel
from rerankbench.rerankers.templated import TemplatedModel, prompt_of, refuse_no_room

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Encoder(LocalReranker):
    """Score = the single logit of `[cls] query [sep] document [sep]`, as the tokenizer joins pairs.

    label: of a model with several labels, the one that means relevant, from 0: the score is its log-softmax.
    template: a prompt in place of the tokenizer's own pairs, for decoders that were trained with one: a text,
    or a list of texts that are tokenized one by one, with {query}, {document} and {instruction} in them; or
    chat: the tokenizer's own chat template with the roles query and document, which a folder that has one
    is read with unless told otherwise, as sentence-transformers does. The prompt counts in max_length.
    instruction: what stands at {instruction}; with chat, the system's message.
    adapter: a folder of a LoRA adapter, merged into the model as it is loaded.
    """

    label: int | None = None
    template: Any = None
    instruction: str = ""
    adapter: str | None = None

    family: ClassVar[str] = "encoder"

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    def folder_problems(self, folder: Path) -> list[str]:
        config, description = json_object(folder / "config.json"), describe(folder)
        name = (description.get("architectures") or ["unknown"])[0]
        if not name.endswith("ForSequenceClassification"):
            return [
                f"reranker.model={self.model}: holds {name}, not a sequence classifier; {option_for(folder)} "
                "or another folder"
            ]
        labels = description.get("num_labels") or 2  # two is the default that config.json leaves out
        if wrong := self.label_problems(labels):
            return wrong
        if self.template is not None and description["model_type"] not in DECODERS:
            return [
                f"reranker.model={self.model}: holds {name}, which reads pairs as its tokenizer joins them; "
                "leave reranker.template out"
            ]
        if config.get("is_encoder_decoder"):
            return [f"reranker.model={self.model}: holds {name}, an encoder-decoder, which is not supported"]
        if more := sentence_modules.modules_of(folder).besides("Transformer"):
            return [
                f"reranker.model={self.model}: its modules.json computes scores with {', '.join(more)} "
                "besides the model, which is not supported"
            ]
        return own_code_problems(f"reranker.model={self.model}", config, self.trust_remote_code)

    def problems(self) -> list[str]:
        own = [] if self.template in (None, CHAT) else template_problems(self.template)
        return super().problems() + own + adapter_problems(self.adapter)

    @property
    def query_limit(self) -> int:
        return super().query_limit if self.template is None else self.query_max_length or self.max_length

    def label_problems(self, labels: int) -> list[str]:
        if labels == 1 and self.label in (None, 0):
            return []
        if self.label is None:
            return [
                f"reranker.model={self.model}: has {labels} labels; a reranker needs exactly one, or say "
                "which of them means relevant, such as reranker.label=1"
            ]
        if not 0 <= self.label < labels:
            return [
                f"reranker.label={self.label}: {self.model} has labels 0 to {labels - 1}; give one of them"
            ]
        return []

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        if not self.label:
            del found["label"]  # of one label it is the first; of several it is always said
        del found["adapter"]
        if self.adapter is not None:  # what it is, not where it lies
            found["adapter"] = adapter_identity(self.adapter)
        texts = [self.template] if isinstance(self.template, str) else self.template
        found["template"] = texts  # a text is a list of one
        if texts is None:
            del found["template"]
        if self.template != CHAT and not any("{instruction}" in text for text in texts or []):
            del found["instruction"]
        return found

    def fitted(self, folder: Path) -> Self:
        attention = usable(self.attention, folder, AUTO, self.trust_remote_code)
        chats = self.template is None and describe(folder)["model_type"] in DECODERS and has_roles(folder)
        return replace(self, attention=attention, template=CHAT if chats else self.template)

    def open(self, weights: Weights, hardware: Hardware, headers_only: bool = False) -> Any:
        """FlagEmbedding's wrapper around the model; with `headers_only`, without the weights' values."""
        from FlagEmbedding import FlagReranker

        code = self.trust_remote_code
        with reading(weights.folder, hardware.dtype, self.attention, headers_only, code) as place:
            wrapper = FlagReranker(place, devices=hardware.device, trust_remote_code=self.trust_remote_code)
            wrapper.model = merged(wrapper.model, self.adapter)
        return with_its_tokens(wrapper, weights.folder)

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        opened = parts(self.open(weights, hardware, headers_only=True))
        if self.template is not None:
            refuse_no_room(self.prompt(opened[1], weights.folder), self.max_length)
            return
        PairInputs.of(*opened, weights.folder)
        if describe(weights.folder)["model_type"] not in CHECKED:
            on_cpu = replace(hardware, device="cpu")
            try_out(EncoderModel(self, weights, on_cpu), weights.folder, hardware.precision)

    def prompt(self, tokenizer: Any, folder: Path) -> PromptTemplate:
        texts = chat_text(tokenizer, self.instruction) if self.template == CHAT else self.template
        return prompt_of(tokenizer, texts, self.instruction, folder)

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return (EncoderModel if self.template is None else TemplatedClassifier)(self, weights, hardware)


AUTO = "AutoModelForSequenceClassification"
CHAT = "chat"


class EncoderModel(PairModel):
    settings: Encoder

    def __init__(self, settings: Encoder, weights: Weights, hardware: Hardware) -> None:
        self.settings = settings
        wrapper = settings.open(weights, hardware)
        inputs = PairInputs.of(wrapper.model, wrapper.tokenizer, weights.folder)
        self.model, self.tokenizer = take(wrapper, hardware.device, first_only=True)
        self.layers = settings.layers(weights)
        self.template, self.padding, self.typed = inputs.template, inputs.padding, inputs.typed
        self.by_position = inputs.by_position
        self.max_length = settings.max_length

    def room(self, query: int) -> int:
        return max(0, self.max_length - self.template.size - query)

    def lengths(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(np.maximum(queries + documents + self.template.size, 1), self.max_length)

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        longest = self.max_length - self.template.size  # of a query whose query_max_length leaves no document
        pairs = [(q[:longest], d[: self.room(len(q))]) for q, d in zip(queries, documents, strict=True)]
        if not self.template.size:  # two empty texts would be no tokens at all
            alone = np.array([self.padding], np.int32)
            pairs = [(q if len(q) + len(d) else alone, d) for q, d in pairs]
        ids = [self.template.join(q, d) for q, d in pairs]
        inputs = {"input_ids": pad(ids, self.padding)}
        inputs["attention_mask"] = pad([np.ones(len(row), np.int32) for row in ids], 0)
        if self.typed:
            inputs["token_type_ids"] = pad([self.template.types(q, d) for q, d in pairs], 0)
        return inputs

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.by_position:
            return labelled(last_logits(self.model, inputs), self.settings.label)
        return labelled(self.model(**inputs).logits, self.settings.label)


class TemplatedClassifier(TemplatedModel):
    """A decoder with a scoring head, which reads a prompt."""

    settings: Encoder

    def __init__(self, settings: Encoder, weights: Weights, hardware: Hardware) -> None:
        self.settings = settings
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware.device)
        self.prepare_prompt(settings.prompt(self.tokenizer, weights.folder), settings.max_length)
        self.prepare_batches(hardware, weights_of(self.model))
        self.layers = settings.layers(weights)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        ids, lengths = inputs["input_ids"], inputs["lengths"]
        mask = (torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]).long()
        logits = last_logits(self.model, {"input_ids": ids, "attention_mask": mask})
        return labelled(logits, self.settings.label)


def labelled(logits: Tensor, label: int | None) -> Tensor:
    """Scores [n, 1] out of logits [n, labels]: of one label its own, of several its log-softmax."""
    import torch

    logits = logits.float()
    if logits.shape[1] == 1:
        return logits
    assert label is not None  # asked for where there are several
    return torch.log_softmax(logits, dim=1)[:, label : label + 1]


@dataclass(frozen=True)
class PairInputs:
    """What a model takes of a pair: its parts, the id that pads it, and whether it knows types of tokens.

    `by_position`: the model is a decoder whose config names no padding, so that it cannot find the last
    token of a padded row by itself.
    """

    template: PairTemplate
    padding: int
    typed: bool
    by_position: bool

    @classmethod
    def of(cls, model: Any, tokenizer: Any, folder: Path) -> PairInputs:
        """Raises UserError where pairs cannot be given to the model as its tokenizer makes them."""
        try:
            template = PairTemplate.of(tokenizer)
        except Exception as error:  # whatever a tokenizer with odd settings raises
            reason = shown(" ".join(str(error).split()))
            raise UserError(
                f"{folder}: its tokenizer cannot join pairs of texts ({reason}); fetch the model again"
            ) from error
        typed = "token_type_ids" in tokenizer.model_input_names and takes_types(model)
        known = getattr(model.config, "type_vocab_size", None)
        if typed and isinstance(known, int) and 0 < known < template.type_count:
            raise UserError(
                f"{folder}: its tokenizer tells {template.type_count} types of tokens apart, its model knows "
                f"{known}; copy the model's own tokenizer there"
            )
        decoder = hasattr(model, "score")
        declared = model.config.get_text_config().pad_token_id
        rows = model.get_input_embeddings().num_embeddings
        if template.highest >= rows:
            raise UserError(
                f"{folder}: its tokenizer joins pairs by token {template.highest}, its model has {rows:,}; "
                "copy the model's own tokenizer there"
            )
        own = tokenizer.pad_token_id
        spare = own if own is not None and own < rows else 0
        # a decoder looks for the padding that its config names; others are told by the mask
        padding = declared if decoder and declared is not None else spare
        return cls(template, padding, typed, decoder and declared is None)


def takes_types(model: Any) -> bool:
    """Whether the model has a use for token types; transformers ignores what decoders are given of them."""
    return "token_type_ids" in inspect.signature(model.forward).parameters


def last_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Logits [n, labels] of a decoder at the last token of each row."""
    import torch

    hidden = model.base_model(**inputs).last_hidden_state
    rows = torch.arange(len(hidden), device=hidden.device)
    logits: Tensor = model.score(hidden[rows, inputs["attention_mask"].sum(dim=1) - 1])
    return logits


def try_out(model: EncoderModel, folder: Path, precision: str) -> None:
    """Raise UserError where a model of a kind that is not tested here scores pairs by more than themselves.

    A pair alone, the same pair beside a longer one, and the longest that max_length allows.
    """
    import torch

    from rerankbench.engine.loop import to_device

    query, short, long = (model.tokenize_documents([text])[0] for text in PROBE)
    longest = np.resize(long, model.room(len(query))).astype(np.int32)
    with torch.inference_mode():
        try:
            alone = model.forward(to_device(model.collate([query], [short]), "cpu"))
            together = model.forward(to_device(model.collate([query] * 2, [short, long]), "cpu"))[:1]
            model.forward(to_device(model.collate([query], [longest]), "cpu"))
        except Exception as error:  # whatever a model of any kind may raise
            reason = shown(" ".join(str(error).split()))
            raise UserError(
                f"{folder}: scoring with it fails ({type(error).__name__}: {reason}); a smaller "
                "reranker.max_length helps where it has too few positions"
            ) from error
    slack = 1e-3 if precision == "fp32" else 0.1
    if not torch.isfinite(alone).all() or (alone - together).abs().max() > slack * (1 + alone.abs().max()):
        raise UserError(
            f"{folder}: its scores of a pair depend on the pairs beside it; this kind is not supported"
        )


PROBE = (
    "what is it",
    "it is this",
    "this is a longer text of several words, which is put beside a short one",
)
