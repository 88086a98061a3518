"""Decoder-only rerankers that choose between two answers: Qwen3-Reranker, mxbai-rerank-v2 and their kind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import architecture, describe
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.prompt_template import has_roles
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.answering import Answering
from rerankbench.rerankers.families import knows, option_for
from rerankbench.rerankers.llm import KNOWN, Answers
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.templated import TemplatedModel

if TYPE_CHECKING:
    from torch import Tensor

# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
QWEN3 = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass(frozen=True)
class Causal(Answering):
    """Score = the logit of `yes` minus that of `no` after the prompt: their log-odds. By default Qwen3's.

    max_length: most tokens in all, the prompt's among them, as on Qwen3-Reranker's card.
    tokens: in place of yes and no, the numbers of their tokens, as sentence-transformers' LogitScore names
    them; of one alone, the score is its logit.
    """

    max_length: int = 8192
    template: Any = field(default_factory=lambda: list(QWEN3))
    instruction: str = INSTRUCTION
    tokens: list[int] | None = None

    family: ClassVar[str] = "causal"
    AUTO: ClassVar[str] = "AutoModelForCausalLM"

    def misfits(self, folder: Path) -> list[str]:
        name = architecture(folder)
        if name not in KNOWN or describe(folder)["start_layer"] is not None:
            return [
                f"holds {name}, which family causal is not known to score correctly; {option_for(folder)} or "
                "another folder"
            ]
        if problems := described(folder).problems:
            return list(problems)
        if self.follows(folder) or self.template != list(QWEN3) or knows(folder, "<think>"):
            return []
        return [
            f"holds {name} with a tokenizer that lacks <think>, so it is not a Qwen3-Reranker; "
            f"{option_for(folder)}, give the prompt it was trained with by reranker.template, or another "
            "folder"
        ]

    def problems(self) -> list[str]:
        wrong = self.tokens is not None and (len(self.tokens) not in (1, 2) or min(self.tokens) < 0)
        told = f"reranker.tokens={self.tokens}: give the token of yes and that of no, or that of yes alone"
        return super().problems() + [told] * wrong

    def follows(self, folder: Path) -> bool:
        """Whether the folder says itself how it scores, and the settings leave that to it."""
        own = self.template == list(QWEN3) and self.tokens is None and (self.yes, self.no) == ("yes", "no")
        return own and bool(described(folder).answers) and has_roles(folder)

    def fitted(self, folder: Path) -> Self:
        found = super().fitted(folder)
        if not self.follows(folder):
            return found
        said = described(folder)
        instruction = said.prompt if self.instruction == INSTRUCTION else self.instruction
        return replace(found.with_chat(folder), instruction=instruction, tokens=list(said.answers))

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, precision)
        for unused in ("tokens",) if self.tokens is None else ("yes", "no"):
            del found[unused]
        return found

    def answers(self, tokenizer: Any, folder: Path) -> list[int]:
        return super().answers(tokenizer, folder) if self.tokens is None else self.tokens

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return CausalModel(self, weights, hardware)


class CausalModel(TemplatedModel):
    settings: Causal

    def __init__(self, settings: Causal, weights: Weights, hardware: Hardware) -> None:
        super().__init__(settings, weights, hardware)
        self.answers = Answers(self.model, settings.answers(self.tokenizer, weights.folder))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        logits = self.answers.logits(inputs)
        return logits[:, :1] - logits[:, 1:] if logits.shape[1] == 2 else logits
