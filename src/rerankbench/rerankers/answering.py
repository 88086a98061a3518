"""What rerankers that choose between two answers have in common: a prompt and two tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.loading import without_values
from rerankbench.engine.models.prompt_template import CHATS, PromptTemplate, template_problems
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.adapted import Adapted
from rerankbench.rerankers.templated import prompt_of, refuse_no_room


@dataclass(frozen=True)
class Answering(Adapted):
    """A prompt that asks for one of two answers.

    template: the prompt, a text or a list of texts that are tokenized one by one, with {query}, {document}
    and {instruction} in them. Special tokens are written as they are, such as <|im_start|>; none is added.
    yes, no: the two answers; each a single token.
    instruction: what stands at {instruction}.
    max_length: most tokens in all, the prompt's among them.
    query_max_length: null: as long as it is; a document gets what is left.
    """

    template: Any = "{query} {document}"
    yes: str = "yes"
    no: str = "no"
    instruction: str = ""

    AUTO: ClassVar[str]
    """The class of transformers that loads the model."""

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    @property
    def query_limit(self) -> int:
        return self.query_max_length or self.max_length

    def problems(self) -> list[str]:
        found = super().problems() + template_problems(self.template)
        words = {"yes": self.yes, "no": self.no}
        found += [f"reranker.{key} is empty: give an answer" for key, word in words.items() if not word]
        if self.yes and self.yes == self.no:
            found.append(f"reranker.yes and reranker.no are both {self.yes}: give two answers")
        return found

    def length_problems(self, positions: int | None) -> list[str]:
        """Positions of these models are computed; what has a table of them is of another family."""
        return super().length_problems(None)

    def fitted(self, folder: Path) -> Self:
        return replace(self, attention=usable(self.attention, folder, self.AUTO, self.trust_remote_code))

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        texts = [self.template] if isinstance(self.template, str) else list(self.template)
        found["template"] = texts  # a text is a list of one
        if self.template not in CHATS and not any("{instruction}" in text for text in texts):
            del found["instruction"]
        return found

    def kind(self) -> str:
        return self.AUTO

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        with without_values():
            tokenizer = self.open(weights, hardware).tokenizer
        refuse_no_room(self.prompt(tokenizer, weights.folder), self.max_length)
        self.answers(tokenizer, weights.folder)

    def answers(self, tokenizer: Any, folder: Path) -> list[int]:
        """The tokens whose logits are compared. Raises UserError unless the answers are single tokens."""
        return answer_tokens(tokenizer, self, folder)

    def prompt(self, tokenizer: Any, folder: Path) -> PromptTemplate:
        return prompt_of(tokenizer, self.template, self.instruction, folder)


def answer_tokens(tokenizer: Any, settings: Answering, folder: Path) -> list[int]:
    """The tokens of yes and of no. Raises UserError unless both are single tokens."""
    words = {"reranker.yes": settings.yes, "reranker.no": settings.no}
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
