"""Decoder-only rerankers that choose between two answers: Qwen3-Reranker, mxbai-rerank-v2 and their kind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import describe
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.loading import take
from rerankbench.engine.models.prompt_template import CHAT, CHAT_OPENED, has_roles
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.answering import Answering
from rerankbench.rerankers.as_described import as_described
from rerankbench.rerankers.families import knows, option_for
from rerankbench.rerankers.llm import AUTO, KNOWN, last, softcapped, weights_of
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
    AUTO: ClassVar[str] = AUTO

    def folder_problems(self, folder: Path) -> list[str]:
        description = describe(folder)
        name = (description.get("architectures") or ["unknown"])[0]
        if name not in KNOWN or description.get("start_layer") is not None:
            return [
                f"reranker.model={self.model}: holds {name}, which family causal is not known to score "
                f"right; {option_for(folder)} or another folder"
            ]
        if problems := described(folder).problems:
            return [f"reranker.model={self.model}: {line}, which is not supported" for line in problems]
        if self.follows(folder):
            return []
        if self.template == list(QWEN3) and not knows(folder, "<think>"):
            return [
                f"reranker.model={self.model}: holds {name} with a tokenizer that lacks <think>, so it is no "
                f"Qwen3-Reranker; {option_for(folder)}, give the prompt it was trained with by "
                "reranker.template, or another folder"
            ]
        return []

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
        return replace(
            as_described(found, folder),
            query_instruction=self.query_instruction,
            template=CHAT_OPENED if said.opens else CHAT,
            instruction=said.prompt if self.instruction == INSTRUCTION else self.instruction,
            tokens=list(said.answers),
        )

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
        from rerankbench.engine.operators.last_position import narrow

        self.settings = settings
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware)
        self.prepare_prompt(settings.prompt(self.tokenizer, weights.folder), settings.max_length)
        self.prepare_batches(hardware, weights_of(self.model))
        self.layers = (self.model.config.get_text_config().num_hidden_layers,)
        narrow(self.model.model, -1)
        tokens = settings.answers(self.tokenizer, weights.folder)
        head = self.model.get_output_embeddings()
        # Only these rows of the vocabulary (151,669 for Qwen3) are ever asked for.
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
        return logits[:, :1] - logits[:, 1:] if logits.shape[1] == 2 else logits
