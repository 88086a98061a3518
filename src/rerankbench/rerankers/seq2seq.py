"""Encoder-decoder rerankers whose first decoded token says true or false: monoT5."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import architecture
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.answering import Answering
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.templated import TemplatedModel

if TYPE_CHECKING:
    from torch import Tensor

KNOWN = ("T5ForConditionalGeneration", "MT5ForConditionalGeneration")
# arXiv:2003.06713; what does not fit is cut before `Relevant:`, as PyTerrier's monoT5 does
MONO_T5 = ("Query: {query} Document: {document}", "Relevant:</s>")


@dataclass(frozen=True)
class Seq2Seq(Answering):
    """Score = log-probability of `yes` against `no` as the first decoded token. By default monoT5's."""

    max_length: int = 512
    template: Any = field(default_factory=lambda: list(MONO_T5))
    yes: str = "true"
    no: str = "false"
    attention: str = "eager"  # T5 has no other

    family: ClassVar[str] = "seq2seq"
    AUTO: ClassVar[str] = "AutoModelForSeq2SeqLM"

    def misfits(self, folder: Path) -> list[str]:
        if (name := architecture(folder)) in KNOWN:
            return []
        needed, option = " or ".join(KNOWN), option_for(folder)
        return [f"holds {name}, family seq2seq needs {needed}; {option} or another folder"]

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return Seq2SeqModel(self, weights, hardware)


class Seq2SeqModel(TemplatedModel):
    settings: Seq2Seq

    def __init__(self, settings: Seq2Seq, weights: Weights, hardware: Hardware) -> None:
        super().__init__(settings, weights, hardware)
        config = self.model.config
        self.begin = config.decoder_start_token_id
        tokens = settings.answers(self.tokenizer, weights.folder)
        self.rows = self.model.get_output_embeddings().weight[tokens].float()
        # T5 scales what it multiplies with the input's own embeddings
        self.scale = config.d_model**-0.5 if config.tie_word_embeddings else 1.0

    def multiplied(self) -> int:
        return super().multiplied() // 2  # the decoder sees one token

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Log-softmax over the two answers; the rest of the vocabulary is never computed."""
        import torch

        ids, lengths = inputs["input_ids"], inputs["lengths"]
        mask = (torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]).long()
        read = self.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        decoded = self.model.decoder(
            input_ids=torch.full((len(ids), 1), self.begin, device=ids.device),
            encoder_hidden_states=read,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        logits = (decoded[:, 0].float() * self.scale) @ self.rows.T
        return torch.log_softmax(logits, dim=1)[:, :1]
