"""Cross-encoders: bge-reranker-base, -large, -v2-m3, MiniLM, any sequence classifier with one label."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import architecture, describe
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import take, without_values
from rerankbench.engine.models.model_config import CHECKED, DECODERS
from rerankbench.engine.models.model_files import own_code_problems
from rerankbench.engine.models.pair_template import PairTemplate
from rerankbench.engine.models.prompt_template import has_roles, template_problems
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.joined import JoinedModel, labelled, template_of, try_out
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.templated import Templated, TemplatedModel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Encoder(Templated):
    """Score = the single logit of `[cls] query [sep] document [sep]`, as the tokenizer joins pairs.

    label: of a model with several labels, the one that means relevant, from 0: the score is its log-softmax.
    template: a prompt in place of the tokenizer's own pairs, for decoders that were trained with one: a text,
    or a list of texts that are tokenized one by one, with {query}, {document} and {instruction} in them; or
    chat: the tokenizer's own chat template with the roles query and document, which a folder that has one
    is read with unless told otherwise, as sentence-transformers does. The prompt counts in max_length.
    instruction: what stands at {instruction}; with chat, the system's message.
    """

    label: int | None = None

    family: ClassVar[str] = "encoder"
    AUTO: ClassVar[str] = "AutoModelForSequenceClassification"

    def misfits(self, folder: Path) -> list[str]:
        config, name = json_object(folder / "config.json"), architecture(folder)
        kind = describe(folder)["model_type"]
        if not name.endswith("ForSequenceClassification"):
            return [f"holds {name}, not a sequence classifier; {option_for(folder)} or another folder"]
        if self.template is not None and kind not in DECODERS:
            return [
                f"holds {name}, which reads pairs as its tokenizer joins them; leave reranker.template out"
            ]
        if config.get("is_encoder_decoder") and kind not in ENCODER_DECODERS:
            return [f"holds {name}, an encoder-decoder, which is not supported"]
        if described(folder).answers:
            return [
                "its modules.json has a LogitScore behind a classifier, which has no vocabulary; fetch the "
                "model again"
            ]
        return list(described(folder).problems)

    def folder_problems(self, folder: Path) -> list[str]:
        labels = describe(folder)["num_labels"] or 2  # two is the default that config.json leaves out
        place, config = f"reranker.model={self.model}", json_object(folder / "config.json")
        return (
            super().folder_problems(folder)
            or self.label_problems(labels)
            or own_code_problems(place, config, self.trust_remote_code)
        )

    def problems(self) -> list[str]:
        own = [] if self.template is None else template_problems(self.template)
        return super().problems() + own

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
        if self.template is not None:
            found["scored_at"] = "last token but padding"  # it was the last token, whichever that is
        return found

    def fitted(self, folder: Path) -> Self:
        found = super().fitted(folder)
        if self.template is None and describe(folder)["model_type"] in DECODERS and has_roles(folder):
            instruction = self.instruction or described(folder).prompt
            return replace(found.with_chat(folder), instruction=instruction)
        return found.as_described(folder)

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        with without_values():
            found = self.open(weights, hardware)
        if self.template is not None:
            self.prompt(found.tokenizer, weights.folder)
            return
        PairInputs.of(found.model, found.tokenizer, weights.folder)
        if describe(weights.folder)["model_type"] not in CHECKED:
            on_cpu = replace(hardware, device="cpu")
            try_out(EncoderModel(self, weights, on_cpu), weights.folder, hardware.precision)

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return (EncoderModel if self.template is None else TemplatedClassifier)(self, weights, hardware)


ENCODER_DECODERS = ("t5", "mt5", "umt5")


class EncoderModel(JoinedModel):
    settings: Encoder

    def __init__(self, settings: Encoder, weights: Weights, hardware: Hardware) -> None:
        self.settings = settings
        found = settings.open(weights, hardware)
        inputs = PairInputs.of(found.model, found.tokenizer, weights.folder)
        self.model, self.tokenizer = take(found, hardware, first_only=True)
        self.layers = settings.layers(weights)
        self.template, self.padding, self.typed = inputs.template, inputs.padding, inputs.typed
        self.by_position = inputs.by_position
        self.max_length = settings.max_length

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.model.config.is_encoder_decoder:
            return labelled(decoded_logits(self.model, inputs), self.settings.label)
        if self.by_position:
            return labelled(last_logits(self.model, inputs), self.settings.label)
        return labelled(self.model(**inputs).logits, self.settings.label)


class TemplatedClassifier(TemplatedModel):
    """A decoder with a scoring head, which reads a prompt."""

    settings: Encoder

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        ids, lengths = inputs["input_ids"], inputs["lengths"]
        mask = (torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]).long()
        padding = self.model.config.get_text_config().pad_token_id
        logits = last_logits(self.model, {"input_ids": ids, "attention_mask": mask}, padding)
        return labelled(logits, self.settings.label)


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
        template = template_of(tokenizer, folder)
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
        named = declared is not None and 0 <= declared < rows
        padding = declared if decoder and named else spare
        return cls(template, padding, typed, decoder and not named)


def takes_types(model: Any) -> bool:
    """Whether the model has a use for token types; transformers ignores what decoders are given of them."""
    return "token_type_ids" in inspect.signature(model.forward).parameters


def last_logits(model: Any, inputs: dict[str, Tensor], padding: int | None = None) -> Tensor:
    """Logits [n, labels] of a decoder at the last token of each row.

    padding: a token that does not count, which the model's config names: as in transformers, so that a prompt
    which ends in it is scored by what stands before.
    """
    import torch

    hidden, seen = model.base_model(**inputs).last_hidden_state, inputs["attention_mask"]
    if padding is not None:
        seen = seen * (inputs["input_ids"] != padding)
    places = (seen * torch.arange(seen.shape[1], device=seen.device)).argmax(dim=1)
    logits: Tensor = model.score(hidden[torch.arange(len(hidden), device=hidden.device), places])
    return logits


def decoded_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Logits [n, labels] of T5: it reads a pair, decodes the same tokens, and goes by what the last becomes.

    transformers looks for the end token of each row, and refuses rows whose texts hold one of their own.
    """
    import torch

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    read = model.transformer(
        input_ids=ids, attention_mask=mask, decoder_input_ids=model._shift_right(ids), use_cache=False
    ).last_hidden_state
    rows = torch.arange(len(ids), device=ids.device)
    logits: Tensor = model.classification_head(read[rows, mask.sum(dim=1) - 1])
    return logits
