"""ColBERT: one vector for each token of a text, projected behind the encoder (arXiv:2004.12832, 2112.01488).

A query is `[CLS] marker tokens [SEP]`, filled up with [MASK] to its full length; a document is the same with
a marker of its own, and the vectors of punctuation are left out. Folders of Stanford's ColBERT
(artifact.metadata, `linear.weight` among the weights) and of PyLate (Dense modules) say how they do it.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
from rerankbench.engine.embedders.heads import linear, safe_tensors
from rerankbench.engine.embedders.matrices import MatrixModel
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import architecture, describe, files_identity, tensors, weight_files
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.model_config import DECODERS
from rerankbench.engine.models.model_files import own_code_problems
from rerankbench.engine.models.references import Weights
from rerankbench.engine.models.sentence_modules import module_folders, modules_of
from rerankbench.engine.tokens import Tokens, pad, sizes, token_ids

if TYPE_CHECKING:
    from torch import Tensor

    from rerankbench.engine.loop import Window

LINEAR = "linear.weight"
IDENTITY = "torch.nn.modules.linear.Identity"
QUERY_LENGTH, DOCUMENT_LENGTH = 32, 180  # where a folder does not say; PyLate's defaults


@dataclass(frozen=True)
class ColbertEmbedder(Embedder):
    """Settings of a ColBERT; None: as the folder says, which `fitted` fills in.

    as_queries: whether texts are embedded as queries. The lengths include markers and special tokens.
    """

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_expansion: bool | None = None
    attend_to_expansion_tokens: bool | None = None
    skiplist_words: list[str] | None = None
    as_queries: bool = False

    FREE: ClassVar[frozenset[str]] = Embedder.FREE | {"pooling", "normalize"}
    OF_QUERIES: ClassVar[tuple[str, ...]] = ("query_prefix", "query_expansion", "attend_to_expansion_tokens")
    OF_DOCUMENTS: ClassVar[tuple[str, ...]] = ("document_prefix", "skiplist_words")

    def folder_problems(self, folder: Path) -> list[str]:
        place, config = f"embedder.model={self.model}", json_object(folder / "config.json")
        name = architecture(folder)
        if name.endswith("ForSequenceClassification") or config.get("model_type") in DECODERS:
            return [f"{place}: holds {name}, which is not a ColBERT; give an embedder"]
        if more := modules_of(folder).besides("Transformer", "Dense"):
            added = ", ".join(more)
            return [f"{place}: its modules.json has {added}, so it is not a ColBERT; give an embedder"]
        if problems := modules_of(folder).problems:
            return [f"{place}: {line}" for line in problems]
        if not module_folders(folder, "Dense") and LINEAR not in tensors(folder):
            return [
                f"{place}: has no projection of its tokens, {LINEAR} or a Dense module, so it is not a "
                "ColBERT; give an embedder like that"
            ]
        return own_code_problems(place, config, self.trust_remote_code) + dense_problems(place, folder)

    def fitted(self, folder: Path) -> Self:
        said, prompt = said_by(folder), modules_of(folder).prompt
        own = said | {name: getattr(self, name) for name in said if getattr(self, name) is not None}
        own["query_instruction"] = self.query_instruction or prompt("query")
        own["passage_instruction"] = self.passage_instruction or prompt("document")
        own["attend_to_expansion_tokens"] = own["attend_to_expansion_tokens"] and own["query_expansion"]
        own["max_length"] = self.max_length or said["max_length"]  # a reranker leaves it open by 0
        return replace(self, attention=super().fitted(folder).attention, **own)

    def for_queries(self) -> Self:
        return replace(super().for_queries(), as_queries=True)

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        with without_values():
            tokenizer = self.open(weights, hardware).tokenizer
        for prefix in (self.query_prefix, self.document_prefix):
            marker(tokenizer, prefix, weights.folder)
        if self.query_expansion and tokenizer.mask_token_id is None:
            raise UserError(
                f"{weights.folder}: its tokenizer has no mask token for queries to be filled up with; set "
                "reranker.query_expansion=false where the model was trained without"
            )
        projections(weights.folder, "cpu")

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        """As an embedder's, without what concerns texts of the other kind."""
        found = super().identity(weights, precision)
        for name in self.OF_DOCUMENTS if self.as_queries else self.OF_QUERIES:
            del found[name]
        files = [file / "model.safetensors" for file in module_folders(weights.folder, "Dense")]
        return {**found, "vectors": "colbert", "heads": files_identity(files)}

    def load(self, weights: Weights, hardware: Hardware) -> EmbedderModel:
        return ColbertModel(self, weights, hardware)


# What files call settings that have another name here.
PYLATE, STANFORD = "config_sentence_transformers.json", "artifact.metadata"
CALLED = {
    PYLATE: {
        "max_length": "document_length",
        "query_max_length": "query_length",
        "query_expansion": "do_query_expansion",
    },
    STANFORD: {
        "max_length": "doc_maxlen",
        "query_max_length": "query_maxlen",
        "query_prefix": "query_token_id",
        "document_prefix": "doc_token_id",
        "attend_to_expansion_tokens": "attend_to_mask_tokens",
    },
}
PREFIXES = {PYLATE: ("[Q] ", "[D] "), STANFORD: ("[unused0]", "[unused1]")}


def said_by(folder: Path) -> dict[str, Any]:
    """What a folder says of how its model reads texts, by the names of settings.

    PyLate's words where they are, else Stanford's; what is damaged counts as not said.
    """
    file = PYLATE if modules_of(folder).kinds else STANFORD
    query_prefix, document_prefix = PREFIXES[file]
    usual = {
        "query_prefix": query_prefix,
        "document_prefix": document_prefix,
        "max_length": DOCUMENT_LENGTH,
        "query_max_length": QUERY_LENGTH,
        "query_expansion": True,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
    }
    words = json_object(folder / file)
    found = {name: words.get(CALLED[file].get(name, name)) for name in usual}
    if words.get("mask_punctuation") is False:
        found["skiplist_words"] = []
    return usual | {name: value for name, value in found.items() if type(value) is type(usual[name])}


def dense_problems(place: str, folder: Path) -> list[str]:
    """What is in Dense modules besides a plain product."""
    for part in module_folders(folder, "Dense"):
        config = json_object(part / "config.json")
        if not (part / "model.safetensors").is_file():
            return [f"{place}: {part.name} has no model.safetensors; fetch the model again, or convert it"]
        if config.get("activation_function", IDENTITY) != IDENTITY or config.get("use_residual"):
            return [f"{place}: {part.name} does more than multiply, which is not supported"]
    return []


def projections(folder: Path, device: str) -> list[Any]:
    """The linear layers that make token vectors, in order. Raises UserError where they do not fit."""
    width, found = int(describe(folder)["hidden_size"]), []
    for part in module_folders(folder, "Dense"):
        held = safe_tensors(part / "model.safetensors", [LINEAR, "linear.bias"])
        own = {name.removeprefix("linear."): value for name, value in held.items()}
        found.append(linear(own, width, part, device))
        width = found[-1].out_features
    if found:
        return found
    parts_held = [safe_tensors(file, [LINEAR]) for file in weight_files(folder)]
    weight = next((one[LINEAR] for one in parts_held if one), None)
    return [linear({} if weight is None else {"weight": weight}, width, folder, device)]


def marker(tokenizer: Any, prefix: str | None, folder: Path) -> int | None:
    """The token of a prefix, None where there is none. Raises UserError for one that is no token."""
    if not prefix:
        return None
    token = tokenizer.convert_tokens_to_ids(prefix)
    if token is None or token == tokenizer.unk_token_id:
        raise UserError(
            f"{folder}: its tokenizer has no token {prefix!r} to mark texts with; set "
            "reranker.query_prefix and reranker.document_prefix to those that the model was trained with"
        )
    return int(token)


class ColbertModel(MatrixModel):
    settings: ColbertEmbedder

    def __init__(self, settings: ColbertEmbedder, weights: Weights, hardware: Hardware) -> None:
        found = settings.open(weights, hardware)
        model, self.tokenizer = found.model, found.tokenizer
        # padded, as transformers runs it: expansion tokens are not attended to, and yet have vectors
        self.model = model.to(hardware.device).eval()
        self.settings, self.folder = settings, weights.folder
        self.prepare()
        self.layers = projections(weights.folder, hardware.device)
        self.dimensions = self.layers[-1].out_features
        own = self.tokenizer.mask_token_id
        self.mask: int = own if own is not None else self.tokenizer.eos_token_id
        skipped = self.tokenizer.convert_tokens_to_ids(settings.skiplist_words or [])
        self.skipped = np.array([token for token in skipped if token is not None], np.int64)

    def tokenize(self, texts: Any, settings: Embedder) -> list[Tokens]:
        """Tokens of texts with the marker behind the first; expansion follows where batches are made."""
        assert isinstance(settings, ColbertEmbedder)
        prefix = settings.query_prefix if settings.as_queries else settings.document_prefix
        token = marker(self.tokenizer, prefix, self.folder)
        instructed = [settings.passage_instruction + text for text in texts]
        limit = settings.max_length - (token is not None)
        found = token_ids(self.tokenizer, instructed, limit, special=True)
        if token is None:
            return found
        return [np.concatenate([ids[:1], [token], ids[1:]]).astype(np.int32) for ids in found]

    def window(self, texts: list[Tokens], settings: Embedder) -> Window:
        assert isinstance(settings, ColbertEmbedder)
        if not (settings.as_queries and settings.query_expansion):
            return Filled(texts, 0, self.mask, True)
        return Filled(texts, settings.max_length, self.mask, bool(settings.attend_to_expansion_tokens))

    def matrix(self, values: Floats, text: Tokens, settings: Embedder) -> Floats:
        assert isinstance(settings, ColbertEmbedder)
        if settings.as_queries:
            longest = settings.max_length if settings.query_expansion else len(text)
            return values[:longest].copy()
        return values[: len(text)][~np.isin(text, self.skipped)]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        from torch.nn.functional import normalize

        hidden = self.model(**inputs).last_hidden_state.float()
        for layer in self.layers:
            hidden = layer(hidden)
        return normalize(hidden, dim=-1)


@dataclass(frozen=True)
class Filled:
    """Some texts as token sequences, filled up with `mask` to `longest` tokens, `attended` to or not."""

    texts: list[Tokens]
    longest: int
    mask: int
    attended: bool

    @cached_property
    def lengths(self) -> Ints:
        return np.maximum(sizes(self.texts), self.longest)

    def collate(self, index: Ints) -> dict[str, Ints]:
        rows = [self.texts[i] for i in index]
        more = [max(0, self.longest - len(row)) for row in rows]
        filled = [np.pad(row, (0, n), constant_values=self.mask) for row, n in zip(rows, more, strict=True)]
        seen = filled if self.attended else rows
        width = max(map(len, filled))
        marks = np.array([[1] * len(row) + [0] * (width - len(row)) for row in seen], np.int64)
        return {"input_ids": pad(filled, self.mask), "attention_mask": marks}
