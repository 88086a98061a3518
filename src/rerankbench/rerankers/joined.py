"""Models that read a pair as their tokenizer joins it: `[cls] query [sep] document [sep]` and the like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rerankbench.basics.arrays import Ints
from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason
from rerankbench.engine.models.pair_template import PairTemplate
from rerankbench.engine.tokens import Tokens, pad
from rerankbench.rerankers.reranker import PairModel

if TYPE_CHECKING:
    from torch import Tensor


class JoinedModel(PairModel):
    """Tokens of both texts in the tokenizer's own template; what is too long is cut off the document's end.

    `padding` is the id that fills short rows; `typed`: whether the model is told which text a token is of.
    """

    template: PairTemplate
    padding: int
    typed: bool
    max_length: int

    def room(self, query: int) -> int:
        return max(0, self.max_length - self.template.size - query)

    def lengths(self, queries: Ints, documents: Ints) -> Ints:
        return np.minimum(np.maximum(queries + documents + self.template.size, 1), self.max_length)

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, Ints]:
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


def template_of(tokenizer: Any, folder: Path) -> PairTemplate:
    """How the tokenizer joins pairs. Raises UserError where that cannot be followed."""
    try:
        return PairTemplate.of(tokenizer)
    except Exception as error:  # whatever a tokenizer with odd settings raises
        raise UserError(
            f"{folder}: its tokenizer cannot join pairs of texts ({reason(error)}); fetch the model again"
        ) from error


def labelled(logits: Tensor, label: int | None) -> Tensor:
    """Scores [n, 1] out of logits [n, labels]: of one label its own, of several its log-softmax."""
    import torch

    logits = logits.float()
    if logits.shape[1] == 1:
        return logits
    assert label is not None  # asked for where there are several
    return torch.log_softmax(logits, dim=1)[:, label : label + 1]


def try_out(model: JoinedModel, folder: Path, precision: str) -> None:
    """Raise UserError where a model of a kind that is not tested here scores pairs by more than themselves.

    A pair alone, the same pair beside a longer one, and the longest that max_length allows.
    """
    import torch

    from rerankbench.engine.loop import tried

    query, short, long = (model.tokenize_documents([text])[0] for text in PROBE)
    longest = np.resize(long, model.room(len(query))).astype(np.int32)
    batches = [
        model.collate([query] * len(documents), documents)
        for documents in ([short], [short, long], [longest])
    ]
    failing = f"{folder}: scoring with it fails"
    alone, together, _ = tried(model.forward, batches, failing, "reranker.max_length")
    together = together[:1]
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
