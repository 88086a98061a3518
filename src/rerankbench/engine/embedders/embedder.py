"""Embedders: their settings, what a model's folder says of these, and the loaded model that makes vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import checkpoint, references
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import Opened, opened, take, without_values
from rerankbench.engine.models.model_config import CHECKED, DECODERS
from rerankbench.engine.models.model_files import has_code, own_code_problems
from rerankbench.engine.models.model_settings import ModelSettings
from rerankbench.engine.models.sentence_modules import (
    Modules,
    inside,
    is_late_interaction,
    modules_of,
    told_in,
)
from rerankbench.engine.store.rows import arithmetic
from rerankbench.engine.tokens import Tokens, pad, sizes, token_ids

if TYPE_CHECKING:
    from torch import Tensor

    from rerankbench.engine.loop import Window


@dataclass(frozen=True)
class Embedder(ModelSettings):
    """Settings of a bi-encoder whose vectors are compared by inner product; every field is a config key.

    pooling: cls (BGE) or mean (MiniLM, E5).
    normalize: whether vectors have length 1, so that inner products are cosines.
    max_length: most tokens of a document.
    query_max_length: most tokens of a query; null: as max_length.
    """

    pooling: str = "cls"
    normalize: bool = True
    max_length: int = 512
    query_max_length: int | None = None

    GROUP: ClassVar[str] = "embedder"
    FREE: ClassVar[frozenset[str]] = ModelSettings.WHERE | {"query_max_length"}

    def problems(self) -> list[str]:
        """Impossible settings, one line each; reads no weights."""
        return self.model_problems() + self.setting_problems()

    def setting_problems(self) -> list[str]:
        """Impossible values, one line each."""
        found = []
        if self.pooling not in ("cls", "mean"):
            found.append(f"embedder.pooling={self.pooling}: choose cls (BGE) or mean (MiniLM, E5)")
        for name in ("max_length", "query_max_length"):
            value = getattr(self, name)
            if value is not None and value < 4:
                found.append(f"embedder.{name}={value}: give at least 4 tokens")
        return found

    def length_problems(self, positions: int | None) -> list[str]:
        lengths = {f"embedder.{name}": getattr(self, name) for name in ("max_length", "query_max_length")}
        return references.length_problems(lengths, positions)

    def folder_problems(self, folder: Path) -> list[str]:
        config, place = json_object(folder / "config.json"), f"embedder.model={self.model}"
        (name, *_) = checkpoint.describe(folder)["architectures"] or [""]
        if name.endswith("ForSequenceClassification"):
            return [f"{place}: holds {name}, a reranker; give an embedder"]
        if is_late_interaction(folder):
            return [f"{place}: holds a ColBERT, which has a vector for each token; give an embedder"]
        if config.get("is_encoder_decoder"):
            return [f"{place}: holds {name}, an encoder-decoder, which is not supported; give an embedder"]
        if config.get("model_type") in DECODERS and not (self.trust_remote_code and has_code(folder)):
            return [
                f"{place}: holds {name}, a decoder, which embeds by its last token and is not supported; "
                "give an embedder"
            ]
        found = own_code_problems(place, config, self.trust_remote_code)
        return found + contradictions(self, modules_of(folder)) + output_problems(place, folder)

    def notes(self, folder: Path) -> list[str]:
        """What people should know of these settings and the folder, and may have meant."""
        said = modules_of(folder)
        found, most = [], said.max_length
        if most is not None and self.max_length > most:
            found.append(
                f"embedder.max_length={self.max_length}: the folder's own limit is {most} tokens; "
                f"embedder.max_length={most} keeps to it"
            )
        names = [name for name, text in said.prompts.items() if text]
        used = {said.prompts[name] for name in names} & {self.query_instruction, self.passage_instruction}
        if names and not used:
            found.append(
                f"embedder.model={self.model}: its own files have prompts that are not used ("
                f"{', '.join(names)}); embedder.query_instruction and embedder.passage_instruction set them"
            )
        return found

    def fitted(self, folder: Path) -> Self:
        return replace(self, attention=usable(self.attention, folder, AUTO, self.trust_remote_code))

    def open(self, weights: references.Weights, hardware: Hardware) -> Opened:
        """The model and its tokenizer."""
        return opened(weights.folder, hardware, self.attention, self.trust_remote_code, AUTO)

    def load(self, weights: references.Weights, hardware: Hardware) -> EmbedderModel:
        """Read the weights onto the device."""
        return EmbedderModel(self, weights, hardware)

    def rehearse(self, weights: references.Weights, hardware: Hardware) -> None:
        """Raise UserError for whatever would keep the model from being loaded and from embedding right."""
        with without_values():
            tokenizer = self.open(weights, hardware).tokenizer
        if modules_of(weights.folder).lower_case:
            upper, lower = token_ids(tokenizer, ["Some Words", "some words"], None, special=True)
            if upper.tolist() != lower.tolist():
                raise UserError(
                    f"{weights.folder}: sentence_bert_config.json turns texts to lower case, its tokenizer "
                    "does not; that is not supported"
                )
        if checkpoint.describe(weights.folder)["model_type"] not in CHECKED:
            try_out(EmbedderModel(self, weights, replace(hardware, device="cpu")), weights.folder)

    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]:
        """What determines a vector besides its text. Queries and passages differ in their instruction and
        length only, which `for_queries` turns into the settings themselves."""
        settings = {name: value for name, value in asdict(self).items() if name not in self.FREE}
        del settings["query_instruction"]
        return {**arithmetic(precision), "weights": weights.identity, **settings}

    def for_queries(self) -> Self:
        """The settings with which queries are embedded, as if they were passages."""
        longest = self.query_max_length or self.max_length
        return replace(self, passage_instruction=self.query_instruction, max_length=longest)


AUTO = "AutoModel"
# What BGE's English models were trained with before queries, and no other family.
OF_BGE = "Represent this sentence for searching relevant passages:"


def contradictions(settings: Embedder, folder: Modules) -> list[str]:
    """What sentence-transformers files of a folder say otherwise than `settings`, one line for all of it."""
    place, own = f"embedder.model={settings.model}", ("Transformer", "Pooling", "Normalize")
    if more := folder.besides(*own):
        return [f"{place}: its modules.json adds {', '.join(more)} to the model, which is not supported"]
    if list(folder.kinds) != [kind for kind in own if kind in folder.kinds]:
        order = ", ".join(folder.kinds)
        return [f"{place}: its modules.json has {order} in this order, which is not supported"]
    if folder.problems:
        return [f"{place}: {line}" for line in folder.problems]
    if len(folder.pooling) > 1 or {*folder.pooling} - {"cls", "mean"}:
        return [
            f"{place}: it pools by {' and '.join(folder.pooling)}, which is not supported; cls and mean are"
        ]
    if not folder.pools_prompts and (settings.query_instruction or settings.passage_instruction):
        return [f"{place}: it leaves instructions out when it pools, which is not supported"]
    said = otherwise(settings, folder)
    if not said:
        return []
    if folder.max_length is not None and settings.max_length > folder.max_length:
        said["max_length"] = (f"at most {folder.max_length} tokens", folder.max_length)
    differences = ", ".join(
        f"{why} where embedder.{key}={getattr(settings, key)}" for key, (why, _) in said.items()
    )
    cures = " ".join(f"'embedder.{key}={written(value)}'" for key, (_, value) in said.items())
    return [f"{place}: its own files say {differences}; set {cures}"]


def output_problems(place: str, folder: Path) -> list[str]:
    """What is pooled in a folder of sentence-transformers, where it is not what the last layer gives."""
    modality = json_object(told_in(folder)).get("modality_config")
    said = inside(modality, "text") if isinstance(modality, dict) else PLAIN_OUTPUT
    if {**PLAIN_OUTPUT, **said} == PLAIN_OUTPUT and (said or not modality):
        return []
    return [f"{place}: its sentence_bert_config.json reads texts by {modality}, which is not supported"]


PLAIN_OUTPUT = {"method": "forward", "method_output_name": "last_hidden_state"}


def otherwise(settings: Embedder, folder: Modules) -> dict[str, tuple[str, Any]]:
    """(what the folder says, the value to set) by the setting's name, for each that differs."""
    found: dict[str, tuple[str, Any]] = {}
    pooling = folder.pooling[0] if folder.pooling else settings.pooling
    if pooling != settings.pooling:
        found["pooling"] = (f"pooling {pooling}", pooling)
    query, passage = folder.prompt("query"), folder.prompt("document", "passage", "corpus")
    if query and query != settings.query_instruction:
        found["query_instruction"] = (f"query prompt {query!r}", query)
    elif not query and "mean" in folder.pooling and settings.query_instruction.startswith(OF_BGE):
        found["query_instruction"] = ("no query prompt", "")
    if passage and passage != settings.passage_instruction:
        found["passage_instruction"] = (f"document prompt {passage!r}", passage)
    unit = folder.has("Normalize")
    if unit != settings.normalize and (unit or folder.similarity in ("dot", "euclidean", "manhattan")):
        found["normalize"] = ("unit vectors" if unit else "vectors as they are", unit)
    return found


def written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, (bool, int)):
        return str(value).lower()
    return value if value.isalnum() else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class EmbedderModel:
    """A loaded embedder; vectors depend on each text alone."""

    def __init__(self, settings: Embedder, weights: references.Weights, hardware: Hardware) -> None:
        first_only = settings.pooling == "cls"
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware, first_only)
        self.settings = settings
        self.prepare()

    def prepare(self) -> None:
        """Note what pads sequences, and how many numbers the model has for a token."""
        own, rows = self.tokenizer.pad_token_id, self.model.config.get_text_config().vocab_size
        self.padding: int = own if own is not None and own < rows else 0  # masked, so any token will do
        self.dimensions: int = self.model.config.get_text_config().hidden_size

    def tokenize(self, texts: Sequence[str], settings: Embedder) -> list[Tokens]:
        texts = [settings.passage_instruction + text for text in texts]
        return token_ids(self.tokenizer, texts, settings.max_length, special=True)

    def window(self, texts: list[Tokens], settings: Embedder) -> Window:
        """Some token sequences, prepared for the loop."""
        return TextWindow(texts, self.padding)

    def read(self, texts: Sequence[str], settings: Embedder) -> Window:
        """Some texts, prepared for the loop."""
        return self.window(self.tokenize(texts, settings), settings)

    def matrix(self, values: Floats, text: Tokens, settings: Embedder) -> Floats:
        """The vectors of one text [vectors, dimensions] out of what `forward` gave for it."""
        return values[None].copy()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Vectors float32 [n, dimensions] of padded `input_ids` with their `attention_mask`."""
        import torch

        mask = inputs["attention_mask"]
        hidden = self.model(**inputs).last_hidden_state.float()
        if self.settings.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.settings.normalize else pooled


def try_out(model: EmbedderModel, folder: Path) -> None:
    """Raise UserError where a model of a kind that is not tested here makes vectors of more than their text.

    A text alone, the same beside a longer one, and the longest that max_length allows.
    """
    import torch

    from rerankbench.engine.loop import tried

    words = "it is this", "this is a longer text of several words, which is put beside a short one " * 400
    short, longest = model.tokenize(words, model.settings)
    batches = [[short], [short, np.resize(longest, 16)], [longest]]
    windows = [model.window(texts, model.settings) for texts in batches]
    alone, together, _ = tried(
        model.forward,
        [window.collate(np.arange(len(window.lengths))) for window in windows],
        f"{folder}: embedding with it fails",
        "embedder.max_length",
    )
    together = together[:1]
    if not torch.isfinite(alone).all() or (alone - together).norm() > 0.05 * alone.norm():
        raise UserError(f"{folder}: its vector of a text depends on the texts beside it; it is not supported")


@dataclass(frozen=True)
class TextWindow:
    """Some texts as token sequences."""

    texts: list[Tokens]
    padding: int

    @cached_property
    def lengths(self) -> Ints:
        return sizes(self.texts)

    def collate(self, index: Ints) -> dict[str, Ints]:
        rows = [self.texts[i] for i in index]
        return {
            "input_ids": pad(rows, self.padding),
            "attention_mask": pad([np.ones(len(row), np.int32) for row in rows], 0),
        }
