"""What rerankers that choose between two answers have in common: a prompt and two tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.prompt_template import template_problems
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.templated import Templated


@dataclass(frozen=True)
class Answering(Templated):
    """A prompt that asks for one of two answers.

    template: the prompt, a text or a list of texts that are tokenized one by one, with {query}, {document}
    and {instruction} in them. Special tokens are written as they are, such as <|im_start|>; none is added.
    yes, no: the two answers; each a single token.
    max_length: most tokens in all, the prompt's among them.
    query_max_length: null: as long as it is; a document gets what is left.
    """

    yes: str = "yes"
    no: str = "no"

    def problems(self) -> list[str]:
        found = super().problems() + template_problems(self.template)
        words = {"yes": self.yes, "no": self.no}
        found += [f"reranker.{key} is empty: give an answer" for key, word in words.items() if not word]
        if self.yes and self.yes == self.no:
            found.append(f"reranker.yes and reranker.no are both {self.yes}: give two answers")
        return found

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        with without_values():
            tokenizer = self.open(weights, hardware).tokenizer
        self.prompt(tokenizer, weights.folder)
        self.answers(tokenizer, weights.folder)

    def answers(self, tokenizer: Any, folder: Path) -> list[int]:
        """The tokens of yes and of no, whose logits are compared. Raises UserError unless both are single."""
        words = {"reranker.yes": self.yes, "reranker.no": self.no}
        found = {key: tokenizer(word, add_special_tokens=False)["input_ids"] for key, word in words.items()}
        odd = [
            f"{key}={words[key]}: is {len(ids)} tokens to {folder}; give an answer that is a single token"
            for key, ids in found.items()
            if len(ids) != 1
        ]
        odd += [
            f"{key}={words[key]}: is unknown to {folder}; give an answer that is a token of it"
            for key, ids in found.items()
            if ids == [tokenizer.unk_token_id]
        ]
        if odd:
            raise UserError(odd)
        return [ids[0] for ids in found.values()]
