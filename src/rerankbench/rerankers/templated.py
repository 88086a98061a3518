"""Models that read one text: a prompt with the query and the document in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from rerankbench.basics.arrays import Ints
from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.loading import take
from rerankbench.engine.models.prompt_template import CHAT, CHAT_OPENED, CHATS, PromptTemplate, prompt_texts
from rerankbench.engine.models.references import Weights
from rerankbench.engine.tokens import Tokens, pad, sizes, token_ids
from rerankbench.rerankers.adapted import Adapted
from rerankbench.rerankers.reranker import PairModel

LEAST = 8  # tokens beside the prompt


@dataclass(frozen=True)
class Templated(Adapted):
    """Settings of a model that may read a prompt.

    template: the prompt, a text or a list of texts that are tokenized one by one, with {query}, {document}
    and {instruction} in them; null: none, where pairs are read without.
    instruction: what stands at {instruction}.
    """

    template: Any = None
    instruction: str = ""

    @property
    def query_limit(self) -> int:
        return super().query_limit if self.template is None else self.query_max_length or self.max_length

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        texts = [self.template] if isinstance(self.template, str) else self.template
        found["template"] = texts  # a text is a list of one
        if texts is None:
            del found["template"]
        if self.template not in CHATS and not any("{instruction}" in text for text in texts or []):
            del found["instruction"]
        return found

    def with_chat(self, folder: Path) -> Self:
        """With the folder's own chat template as the prompt, and what else the folder says of itself."""
        template = CHAT_OPENED if described(folder).opens else CHAT
        return replace(self.as_described(folder), template=template, query_instruction=self.query_instruction)

    def prompt(self, tokenizer: Any, folder: Path) -> PromptTemplate:
        """The prompt as `tokenizer` makes tokens of it.

        Raises UserError where it cannot be told apart, or leaves no room for a query and a document.
        """
        texts = prompt_texts(tokenizer, self.template, self.instruction)
        try:
            found = PromptTemplate.of(tokenizer, texts, self.instruction)
        except ValueError as error:
            raise UserError(
                f"{folder}: {error}; give reranker.template as a list of texts, each of which is "
                "tokenized by itself, such as ['query: {query}','document: {document}']"
            ) from error
        alone = len(found.before) + len(found.between) + len(found.after)
        if alone + LEAST > self.max_length:
            raise UserError(
                f"reranker.max_length={self.max_length}: the prompt alone takes {alone} tokens, which count; "
                f"give at least {alone + LEAST}"
            )
        return found


class OneTextModel(PairModel):
    """Tokens of `before query between document after`, right-padded; what is too long is cut off behind.

    `body`: tokens that fit between `before` and `after`, which are never cut. A query that fills all of it
    leaves neither `between` nor the document.
    """

    settings: Adapted
    before: Tokens
    between: Tokens
    after: Tokens
    body: int
    query_first = True

    def __init__(self, settings: Adapted, weights: Weights, hardware: Hardware) -> None:
        self.settings = settings
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware)
        self.layers = settings.layers(weights)
        self.enough = hardware.enough_tokens(self.multiplied())
        # GPUs multiply widths that are no multiple of 8 several times more slowly
        self.multiple = 1 if hardware.device == "cpu" else 8
        rows, own = self.model.get_input_embeddings().num_embeddings, self.tokenizer.pad_token_id
        self.padding = own if own is not None and own < rows else 0

    def multiplied(self) -> int:
        """Weights that every token is multiplied with."""
        import torch

        linear = (one for one in self.model.base_model.modules() if isinstance(one, torch.nn.Linear))
        return sum(one.in_features * one.out_features for one in linear)

    def room(self, query: int) -> int:
        return max(0, self.body - query - len(self.between))

    def lengths(self, queries: Ints, documents: Ints) -> Ints:
        pair = np.minimum(queries + len(self.between) + documents, self.body)
        return len(self.before) + pair + len(self.after)

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        pair = np.concatenate([query, self.between])[: self.body], document[: self.room(len(query))]
        return np.concatenate([self.before, *(pair if self.query_first else pair[::-1]), self.after])

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, Ints]:
        rows = [self.join(q, d) for q, d in zip(queries, documents, strict=True)]
        return {"input_ids": pad(rows, self.padding, self.multiple), "lengths": sizes(rows)}


class TemplatedModel(OneTextModel):
    """A prompt's tokens around both texts; what stands between these belongs to the query."""

    settings: Templated
    between = np.empty(0, np.int32)

    def __init__(self, settings: Templated, weights: Weights, hardware: Hardware) -> None:
        super().__init__(settings, weights, hardware)
        self.prompt = settings.prompt(self.tokenizer, weights.folder)
        self.before, self.after = self.prompt.before, self.prompt.after
        self.query_first = self.prompt.query_first
        self.body = settings.max_length - len(self.before) - len(self.after)

    def tokenize_queries(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each query and of what the prompt has between it and the document."""
        slot, limit = self.prompt.query, self.settings.query_limit
        instructed = [self.settings.query_instruction + text for text in texts]
        rows = token_ids(self.tokenizer, [slot.around(text) for text in instructed], None, special=False)
        for place, row in enumerate(rows):
            if len(row) > limit:  # of the query alone: what stands behind it stays
                cut, end = token_ids(
                    self.tokenizer, [slot.lead + instructed[place], slot.trail], None, special=False
                )
                rows[place] = np.concatenate([cut[:limit], end])
        between = self.prompt.between
        parts = ((row, between) if self.query_first else (between, row) for row in rows)
        return [np.concatenate(pair)[: self.body] for pair in parts]

    def tokenize_documents(self, texts: Sequence[str]) -> list[Tokens]:
        whole = self.settings.long_documents == "max_passage"
        instructed = [self.settings.passage_instruction + text for text in texts]
        wrapped = [self.prompt.document.around(text) for text in instructed]
        return token_ids(self.tokenizer, wrapped, None if whole else self.settings.max_length, special=False)
