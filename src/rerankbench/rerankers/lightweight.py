"""bge-reranker-v2.5-gemma2-lightweight: layerwise, and document tokens merge on the way up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.basics.arrays import Ints
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.flagembedding_code import lightweight_class, token_merger
from rerankbench.engine.models.references import Weights
from rerankbench.engine.tokens import Tokens, sizes
from rerankbench.rerankers.layerwise import Layerwise, causal_mask
from rerankbench.rerankers.llm import PromptedModel, last, softcapped
from rerankbench.rerankers.reranker import PairModel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lightweight(Layerwise):
    """As layerwise; before each of `compress_layers`, `compress_ratio` document tokens become one.

    `head`: FlagEmbedding 1.4.2 scores a single cutoff layer with the first head, whichever layer it is
    (gemma_model.py 646); `first` reproduces that for every layer, `by_layer` uses each layer's own head.
    Attention is eager because sdpa leaves out Gemma 2's softcap on attention logits.
    """

    prompt: str = "Predict whether passage B contains an answer to query A."
    attention: str = "eager"
    compress_layers: list[int] = field(default_factory=lambda: [8])
    compress_ratio: int = 1
    head: str = "first"

    family: ClassVar[str] = "lightweight"
    architecture: ClassVar[str] = "CostWiseGemmaForCausalLM"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.compress_ratio not in (1, 2, 4, 8):
            found.append(f"reranker.compress_ratio={self.compress_ratio}: choose 1 (off), 2, 4 or 8")
        if self.compress_ratio > 1 and not self.compress_layers:
            found.append(
                f"reranker.compress_ratio={self.compress_ratio} does nothing without "
                "reranker.compress_layers; name the layers, for instance [8]"
            )
        if self.head not in ("first", "by_layer"):
            found.append(f"reranker.head={self.head}: choose first (as FlagEmbedding) or by_layer")
        return found

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        parts = super().identity(weights, precision)
        if self.compress_ratio == 1:
            del parts["compress_layers"]
        else:
            parts["compress_layers"] = sorted(set(self.compress_layers))
        return parts

    def available(self, description: dict[str, Any]) -> tuple[int, ...]:
        # 28 and 28 are CostWiseGemmaConfig's defaults: a config.json leaves out what equals them
        start, step = description["start_layer"] or 28, description["layer_sep"] or 28
        return tuple(range(start, description["num_hidden_layers"] + 1, step))

    def kind(self) -> Any:
        return lightweight_class()

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return LightweightModel(self, weights, hardware)


class LightweightModel(PromptedModel):
    settings: Lightweight

    def __init__(self, settings: Lightweight, weights: Weights, hardware: Hardware) -> None:
        import torch
        from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

        from rerankbench.engine.operators.last_position import narrow

        super().__init__(settings, weights, hardware)
        narrow(self.model.model, self.layers[-1] - 1)
        # transformers rotates positions once per model, not per layer; FlagEmbedding's model predates that
        with torch.device(hardware.device):
            self.rotary = Gemma2RotaryEmbedding(config=self.model.config)

    def collate(self, queries: Sequence[Tokens], documents: Sequence[Tokens]) -> dict[str, Ints]:
        before = len(self.before) + len(self.between)
        return {**super().collate(queries, documents), "query_lengths": before + sizes(queries)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """One walk up the layers; merging changes where each row's last token is."""
        import torch

        from rerankbench.engine.operators.last_position import last_positions

        body = self.model.model
        hidden = body.embed_tokens(inputs["input_ids"])
        # the model's own rounding: sqrt(hidden size) in the weights' precision
        hidden = hidden * torch.tensor(body.config.hidden_size**0.5, dtype=hidden.dtype)
        lengths, scores, surroundings = inputs["lengths"], [], self.surroundings(hidden)
        for layer in range(self.layers[-1] + 1):
            if layer in self.layers:
                scores.append(self.score(layer, last(hidden, lengths)))
            if layer == self.layers[-1]:
                break
            if self.merges(layer):
                hidden, lengths = self.merge(hidden, lengths, inputs["query_lengths"])
                surroundings = self.surroundings(hidden)
            with last_positions(lengths):
                output = body.layers[layer](hidden, **surroundings)
            hidden = output[0] if isinstance(output, tuple) else output
        return torch.cat(scores, dim=1)

    def surroundings(self, hidden: Tensor) -> dict[str, Any]:
        """Positions and mask for the current width."""
        import torch

        width = hidden.shape[1]
        positions = torch.arange(width, device=hidden.device)[None]
        return {
            "position_embeddings": self.rotary(hidden, positions),
            "attention_mask": causal_mask(width, self.model) if self.settings.attention == "eager" else None,
            "position_ids": positions,
        }

    def merges(self, layer: int) -> bool:
        return self.settings.compress_ratio > 1 and layer in self.settings.compress_layers and layer != 0

    def merge(self, hidden: Tensor, lengths: Tensor, query_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """FlagEmbedding's weighted mean over neighbouring document tokens; rows get shorter."""
        import torch

        mask = (torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]).long()
        questions = torch.full_like(lengths, len(self.after))
        merged, mask = token_merger()(self.settings.compress_ratio, hidden, mask, query_lengths, questions)
        return merged, mask.sum(dim=1)

    def score(self, layer: int, hidden: Tensor) -> Tensor:
        """Scores [n, 1] from the last positions [n, size] at one layer."""
        config, heads = self.model.config, self.model.lm_head
        own = (layer - config.start_layer) // config.layer_sep
        head = heads[own if self.settings.head == "by_layer" else 0].linear_head
        return softcapped(head(self.model.model.norm(hidden)), config.final_logit_softcapping).float()
