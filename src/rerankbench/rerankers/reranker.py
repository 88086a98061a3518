"""What every reranker is: settings that people configure, and something loaded that scores pairs.

A family is one file in this folder, or in an installed package: a `Reranker` (its settings, cheap to make and
to check) and what it loads. All that scoring needs is a `Scorer`: texts in, scores out. A model on this
machine builds on `LocalReranker` and loads a `PairModel`, whose tokens let pairs that it cannot tell apart be
scored once, and batches be filled by tokens. Families are found under `family`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.basics.arrays import Ints
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import checkpoint, references
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.json_files import json_object
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.model_settings import ModelSettings
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.rows import arithmetic
from rerankbench.engine.tokens import Tokens, token_ids
from rerankbench.rerankers.scorer import Scorer

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What a reranker is, found out before it scores.

    `identity` names it whatever its path: two origins with one identity give the same scores. `label` is what
    people should see; `parameters` how many it has, None where nobody can count them.
    """

    identity: str
    label: str
    parameters: int | None = None


@dataclass(frozen=True)
class Reranker(ABC):
    """Settings of a reranker; every field is a config key and, unless `FREE` names it, changes scores.

    The `origin` that the methods take is what the reranker's own `origin` found: an `Origin`, or the
    `references.Weights` of a model on this machine.

    parameters_m: millions of parameters, for the axis of charts; 0: as counted.
    """

    parameters_m: float = field(default=0.0, kw_only=True)

    family: ClassVar[str]
    # Fields that change no score: parameters_m only labels an axis.
    FREE: ClassVar[frozenset[str]] = frozenset({"parameters_m"})

    def problems(self) -> list[str]:
        """Impossible settings, one line each; quick, and asks nobody."""
        return []

    @abstractmethod
    def origin(self, cache_dir: Path) -> Origin | references.Weights:
        """What is going to score, fetched if need be. Raises UserError where it cannot be had."""

    def resolved(self, cache_dir: Path) -> tuple[Self, Origin | references.Weights]:
        """These settings as their origin can follow them, and the origin. Raises UserError."""
        return self, self.origin(cache_dir)

    def layers(self, origin: Any) -> tuple[int, ...]:
        """The layers that score in one pass, ascending; one where there is no choice."""
        return (0,)

    def identity(self, origin: Any, precision: str) -> dict[str, Any]:
        """Everything besides the two texts that determines a score, as plain values.

        Override it to leave out `precision` where this machine's arithmetic has no part in the scores.
        """
        own = {"family": self.family, **arithmetic(precision)}
        return {**own, "origin": origin.identity, **self.settings()}

    def operators(self, origin: Any, hardware: Hardware) -> dict[str, str]:
        """What `identity` gains on this hardware, where a model is computed by other operators than usual."""
        return {}

    def settings(self) -> dict[str, Any]:
        """The fields that may change scores."""
        return {name: value for name, value in asdict(self).items() if name not in self.FREE}

    def rehearse(self, origin: Any, hardware: Hardware) -> None:  # noqa: B027
        """Raise UserError for whatever would keep it from being loaded and from scoring right."""

    @abstractmethod
    def load(self, origin: Any, hardware: Hardware) -> Scorer | PairModel:
        """Get ready to score on the device."""

    def deployed(self, origin: Any, context: RunContext) -> Scorer | PairModel:
        """Ready to score as in a service, with what the context has stored of its documents."""
        return self.load(origin, context.hardware)

    @property
    def title(self) -> str | None:
        """What its arm is called; None: as the option that was chosen."""
        return None

    @property
    def paid(self) -> bool:
        """Whether asking for scores costs money: then nothing is asked only to time it."""
        return False

    @property
    def keeps(self) -> bool:
        """Whether `identity` says all that determines a score, so that scores may be stored."""
        return True

    def bill(self, queries: Sequence[str], documents: Sequence[str]) -> str:
        """What scoring these pairs, `queries[i]` with `documents[i]`, would cost; empty where unknown."""
        return ""

    def price(self, queries: Sequence[str], documents: Sequence[str]) -> float | None:
        """Money for scoring these pairs, which stand query by query; None where none is known."""
        return None

    @property
    def served(self) -> dict[str, Any]:
        """How a server is asked that computes the scores, as plain values; empty where this machine does."""
        return {}


@dataclass(frozen=True)
class LocalReranker(ModelSettings, Reranker):
    """Settings of a reranker that is a model on this machine and reads tokens.

    model: a folder, a hub id such as BAAI/bge-reranker-base, or wheel:NAME of a packaged model.
    max_length: most tokens of a query and a document together.
    query_max_length: most tokens of the query; null: three quarters of max_length.
    long_documents: truncate (score the beginning) or max_passage (score overlapping windows, keep the best).
    window_overlap: tokens that neighbouring windows share, with max_passage.
    """

    max_length: int = 512
    query_max_length: int | None = None
    long_documents: str = "truncate"
    window_overlap: int = 64

    GROUP: ClassVar[str] = "reranker"
    FREE: ClassVar[frozenset[str]] = Reranker.FREE | ModelSettings.WHERE

    @abstractmethod
    def load(self, weights: references.Weights, hardware: Hardware) -> PairModel:
        """Read the weights onto the device."""

    def weightless(self, weights: references.Weights, precision: Any) -> PairModel:
        """The model on torch's meta device, where tensors have a shape and no memory: it cannot score.

        Who hands work to other machines needs to know which pairs are the same to the model, but not the
        model.
        """
        with without_values():
            return self.load(weights, Hardware("meta", precision))

    def as_described(self, folder: Path) -> Self:
        """With what a sentence-transformers folder says of itself, as far as these settings leave it open:
        no longer than the folder reads, and with the prompt that it puts before queries."""
        said = described(folder)
        found = replace(self, query_instruction=self.query_instruction or said.prompt)
        if said.max_length is None or said.max_length >= self.max_length:
            return found
        log.info("%s: max_length=%d, as its folder says", folder.name, said.max_length)
        return replace(found, max_length=said.max_length)

    def layers(self, weights: references.Weights) -> tuple[int, ...]:
        return self.layers_in(checkpoint.describe(weights.folder))

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        """The layers that score in one pass, ascending, by what `checkpoint.describe` says of the folder."""
        return (int(description["num_hidden_layers"]),)

    def problems(self) -> list[str]:
        """Impossible settings, one line each; reads no weights."""
        found = self.model_problems()
        if self.max_length < 8:
            found.append(f"reranker.max_length={self.max_length}: give at least 8 tokens")
        if self.query_max_length is not None and not 0 < self.query_max_length < self.max_length:
            found.append(
                f"reranker.query_max_length={self.query_max_length}: choose between 1 and "
                f"max_length - 1 = {self.max_length - 1}, or leave it out for three quarters of max_length"
            )
        if self.attention not in ("sdpa", "eager", "flash_attention_2"):
            found.append(f"reranker.attention={self.attention}: choose one of sdpa, eager, flash_attention_2")
        if self.long_documents not in ("truncate", "max_passage"):
            found.append(
                f"reranker.long_documents={self.long_documents}: choose truncate (score the beginning) or "
                "max_passage (score overlapping windows, keep the best)"
            )
        if self.long_documents == "max_passage" and not 0 <= self.window_overlap <= self.max_length // 4:
            found.append(
                f"reranker.window_overlap={self.window_overlap}: choose between 0 and a quarter of "
                f"max_length = {self.max_length // 4}"
            )
        return found

    def cut_problems(self, folder: Path) -> list[str]:
        """One line for a tokenizer that cuts long texts at their beginning, where documents are cut here."""
        side = json_object(folder / "tokenizer_config.json").get("truncation_side", "right")
        if side != "left" or self.long_documents != "truncate":
            return []
        return [
            f"reranker.model={self.model}: its tokenizer_config.json cuts long texts at their beginning, "
            "which is not supported; take truncation_side out of it to cut them at their end, or set "
            "reranker.long_documents=max_passage"
        ]

    def length_problems(self, positions: int | None) -> list[str]:
        return references.length_problems({"reranker.max_length": self.max_length}, positions)

    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]:
        settings = self.settings()
        settings["query_max_length"] = self.query_limit  # a default spelled out is the same setting
        if self.long_documents == "truncate":
            del settings["window_overlap"]
        own = {"family": self.family, **arithmetic(precision)}
        return {**own, "weights": weights.identity, **settings}

    @property
    def query_limit(self) -> int:
        """Tokens a query may have: three quarters of max_length unless set, as in FlagEmbedding."""
        return self.query_max_length or self.max_length * 3 // 4


class PairModel(ABC):
    """A loaded reranker. Scores depend on each pair alone, never on what else is in the batch."""

    layers: tuple[int, ...]
    tokenizer: Any
    enough: int | None = None  # tokens that keep the device busy, where padding costs as much as tokens do

    @abstractmethod
    def room(self, query: int) -> int:
        """Tokens that are left for a document beside a query of `query` tokens."""

    @abstractmethod
    def lengths(self, queries: Ints, documents: Ints) -> Ints:
        """Tokens of whole sequences, given the token counts of their parts."""

    @abstractmethod
    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, Ints]:
        """Right-padded arrays for one forward pass: input_ids [n, width] and what else the family needs."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Scores float32 [n, len(layers)]."""

    def tokenize_queries(self, texts: Sequence[str]) -> list[Tokens]:
        return self.tokenize(texts, self.settings.query_instruction, self.settings.query_limit)

    def tokenize_documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of documents; whole ones when windows are going to be cut from them."""
        whole = self.settings.long_documents == "max_passage"
        limit = None if whole else self.settings.max_length
        return self.tokenize(texts, self.settings.passage_instruction, limit)

    def tokenize(self, texts: Sequence[str], instruction: str, limit: int | None) -> list[Tokens]:
        return token_ids(self.tokenizer, [instruction + text for text in texts], limit, special=False)

    settings: LocalReranker
