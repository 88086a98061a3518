"""Models that read one text: a prompt with the query and the document in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.prompt_template import PromptTemplate, prompt_texts
from rerankbench.engine.tokens import Tokens, pad, token_ids
from rerankbench.rerankers.reranker import PairModel

LEAST = 8  # tokens beside the prompt


def prompt_of(tokenizer: Any, template: Any, instruction: str, folder: Path) -> PromptTemplate:
    """The prompt as `tokenizer` makes tokens of it. Raises UserError where it cannot be told apart."""
    texts = prompt_texts(tokenizer, template, instruction)
    try:
        return PromptTemplate.of(tokenizer, texts, instruction)
    except ValueError as error:
        raise UserError(
            f"{folder}: {error}; give reranker.template as a list of texts, each of which is "
            "tokenized by itself, such as ['query: {query}','document: {document}']"
        ) from error


def refuse_no_room(prompt: PromptTemplate, max_length: int) -> None:
    """Raise UserError where the prompt leaves no room for a query and a document."""
    alone = len(prompt.before) + len(prompt.between) + len(prompt.after)
    if alone + LEAST > max_length:
        raise UserError(
            f"reranker.max_length={max_length}: the prompt alone takes {alone} tokens, which count; give at "
            f"least {alone + LEAST}"
        )


class TemplatedModel(PairModel):
    """Tokens of `before query between document after`, right-padded; what is too long is cut off behind.

    The prompt's beginning and end are never cut. What stands between the texts goes with the query: as in
    the models' own recipes, a query that fills all the room leaves neither it nor the document.
    """

    model: Any
    prompt: PromptTemplate
    padding: int
    multiple = 1

    def prepare_prompt(self, prompt: PromptTemplate, max_length: int) -> None:
        self.prompt = prompt
        self.fixed = len(prompt.before) + len(prompt.after)
        self.body = max_length - self.fixed
        refuse_no_room(prompt, max_length)

    def prepare_batches(self, hardware: Hardware, weights: int) -> None:
        """How batches are filled and padded; `weights` that each token is multiplied with."""
        self.enough = hardware.enough_tokens(weights)
        self.multiple = 1 if hardware.device == "cpu" else 8  # as for the other decoders
        rows, own = self.model.get_input_embeddings().num_embeddings, self.tokenizer.pad_token_id
        self.padding = own if own is not None and own < rows else 0

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
        parts = ((row, between) if self.prompt.query_first else (between, row) for row in rows)
        return [np.concatenate(pair)[: self.body] for pair in parts]

    def tokenize_documents(self, texts: Sequence[str]) -> list[Tokens]:
        whole = self.settings.long_documents == "max_passage"
        instructed = [self.settings.passage_instruction + text for text in texts]
        wrapped = [self.prompt.document.around(text) for text in instructed]
        return token_ids(self.tokenizer, wrapped, None if whole else self.settings.max_length, special=False)

    def room(self, query: int) -> int:
        return max(0, self.body - query)

    def lengths(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(queries + documents, self.body) + self.fixed

    def join(self, query: Tokens, document: Tokens) -> Tokens:
        pair = query[: self.body], document[: self.room(len(query))]
        first, second = pair if self.prompt.query_first else pair[::-1]
        return np.concatenate([self.prompt.before, first, second, self.prompt.after])

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        rows = [self.join(q, d) for q, d in zip(queries, documents, strict=True)]
        return {
            "input_ids": pad(rows, self.padding, self.multiple),
            "lengths": np.array([len(row) for row in rows], np.int64),
        }
