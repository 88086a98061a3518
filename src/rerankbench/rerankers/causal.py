"""Decoder-only rerankers that choose between two answers: Qwen3-Reranker, mxbai-rerank-v2 and their kind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.basics.errors import UserError
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import Weights, describe
from rerankbench.engine.models.attention import usable
from rerankbench.engine.models.loading import reading, take, with_its_tokens
from rerankbench.engine.models.prompt_template import PromptTemplate, template_problems
from rerankbench.rerankers.families import knows, option_for
from rerankbench.rerankers.llm import AUTO, KNOWN, last, softcapped, weights_of
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.rerankers.templated import TemplatedModel, prompt_of, refuse_no_room

if TYPE_CHECKING:
    from torch import Tensor

# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
QWEN3 = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)


@dataclass(frozen=True)
class Causal(Reranker):
    """Score = the logit of `yes` minus that of `no` after the prompt: their log-odds. By default Qwen3's.

    template: the prompt, a text or a list of texts that are tokenized one by one, with {query}, {document}
    and {instruction} in them. Special tokens are written as they are, such as <|im_start|>; none is added.
    yes, no: the two answers; each a single token.
    instruction: what stands at {instruction}.
    max_length: most tokens in all, the prompt's among them, as on Qwen3-Reranker's card.
    query_max_length: null: as long as it is; a document gets what is left.
    """

    max_length: int = 8192
    template: Any = field(default_factory=lambda: list(QWEN3))
    yes: str = "yes"
    no: str = "no"
    instruction: str = "Given a web search query, retrieve relevant passages that answer the query"

    family: ClassVar[str] = "causal"

    def layers(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (int(description["num_hidden_layers"]),)

    @property
    def query_limit(self) -> int:
        return self.query_max_length or self.max_length

    def problems(self) -> list[str]:
        found = super().problems() + template_problems(self.template)
        answers = {"yes": self.yes, "no": self.no}
        found += [f"reranker.{key} is empty: give an answer" for key, word in answers.items() if not word]
        if self.yes and self.yes == self.no:
            found.append(f"reranker.yes and reranker.no are both {self.yes}: give two answers")
        return found

    def length_problems(self, positions: int | None) -> list[str]:
        """Positions of these models are computed; what has a table of them is of another family."""
        return super().length_problems(None)

    def folder_problems(self, folder: Path) -> list[str]:
        description = describe(folder)
        name = (description.get("architectures") or ["unknown"])[0]
        if name not in KNOWN or description.get("start_layer") is not None:
            return [
                f"reranker.model={self.model}: holds {name}, which family causal is not known to score "
                f"right; {option_for(folder)} or another folder"
            ]
        if self.template == list(QWEN3) and not knows(folder, "<think>"):
            return [
                f"reranker.model={self.model}: holds {name} with a tokenizer that lacks <think>, so it is no "
                f"Qwen3-Reranker; {option_for(folder)}, give the prompt it was trained with by "
                "reranker.template, or another folder"
            ]
        return []

    def fitted(self, folder: Path) -> Self:
        return replace(self, attention=usable(self.attention, folder, AUTO, self.trust_remote_code))

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        texts = [self.template] if isinstance(self.template, str) else list(self.template)
        found["template"] = texts  # a text is a list of one
        if not any("{instruction}" in text for text in texts):
            del found["instruction"]
        return found

    def open(self, weights: Weights, hardware: Hardware, headers_only: bool = False) -> Any:
        """The model and its tokenizer; with `headers_only`, without the weights' values."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        code = self.trust_remote_code
        with reading(weights.folder, hardware.dtype, self.attention, headers_only, code) as place:
            tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=code)
            model = AutoModelForCausalLM.from_pretrained(place, trust_remote_code=code)
        return with_its_tokens(SimpleNamespace(model=model, tokenizer=tokenizer), weights.folder)

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        opened = self.open(weights, hardware, headers_only=True)
        refuse_no_room(self.prompt(opened.tokenizer, weights.folder), self.max_length)
        answers(opened.tokenizer, {"reranker.yes": self.yes, "reranker.no": self.no}, weights.folder)

    def prompt(self, tokenizer: Any, folder: Path) -> PromptTemplate:
        return prompt_of(tokenizer, self.template, self.instruction, folder)

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return CausalModel(self, weights, hardware)


def answers(tokenizer: Any, words: dict[str, str], folder: Path) -> list[int]:
    """The token of each word, by the key that gives it. Raises UserError unless they are single tokens."""
    found = {key: tokenizer(word, add_special_tokens=False)["input_ids"] for key, word in words.items()}
    odd = [
        f"{key}={words[key]}: is {len(ids)} tokens to {folder}; give an answer that is a single token"
        for key, ids in found.items()
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id
    ]
    if odd:
        raise UserError(odd)
    return [ids[0] for ids in found.values()]


class CausalModel(TemplatedModel):
    settings: Causal

    def __init__(self, settings: Causal, weights: Weights, hardware: Hardware) -> None:
        from rerankbench.engine.operators.last_position import narrow

        self.settings = settings
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware.device)
        self.prepare_prompt(settings.prompt(self.tokenizer, weights.folder), settings.max_length)
        self.enough = hardware.enough_tokens(weights_of(self.model))
        self.multiple = 1 if hardware.device == "cpu" else 8  # as for the other decoders
        rows = self.model.get_input_embeddings().num_embeddings
        own = self.tokenizer.pad_token_id
        self.padding = own if own is not None and own < rows else 0
        self.layers = (self.model.config.get_text_config().num_hidden_layers,)
        narrow(self.model.model, -1)
        words = {"reranker.yes": settings.yes, "reranker.no": settings.no}
        tokens = answers(self.tokenizer, words, weights.folder)
        head = self.model.get_output_embeddings()
        # Only these two rows of the vocabulary (151,669 for Qwen3) are ever asked for.
        self.rows = head.weight[tokens].float()
        self.bias = head.bias[tokens].float() if head.bias is not None else 0.0
        self.softcap: float | None = getattr(self.model.config, "final_logit_softcapping", None)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        from rerankbench.engine.operators.last_position import last_positions

        # Padding is on the right and attention is causal: no real token ever sees it.
        with last_positions(inputs["lengths"]):
            hidden = self.model.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        logits = last(hidden, inputs["lengths"]).float() @ self.rows.T + self.bias
        logits = softcapped(logits, self.softcap)
        return logits[:, :1] - logits[:, 1:]
