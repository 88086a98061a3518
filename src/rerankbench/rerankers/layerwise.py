"""bge-reranker-v2-minicpm-layerwise: a scoring head on every layer, all answered in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import architecture, describe
from rerankbench.engine.models.flagembedding_code import layerwise_class
from rerankbench.engine.models.references import Weights
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.llm import Prompted, PromptedModel, last
from rerankbench.rerankers.reranker import PairModel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layerwise(Prompted):
    """Score at layer L = the head of L on the normed hidden state that enters layer L, last position.

    `cutoff_layers`: `all`, or a list; scores at a layer do not depend on which others are asked for.
    """

    cutoff_layers: Any = "all"

    family: ClassVar[str] = "layerwise"
    architecture: ClassVar[str] = "LayerWiseMiniCPMForCausalLM"
    FREE: ClassVar[frozenset[str]] = Prompted.FREE | {"cutoff_layers"}

    def problems(self) -> list[str]:
        return super().problems() + cutoff_problems(self.cutoff_layers)

    def misfits(self, folder: Path) -> list[str]:
        if (name := architecture(folder)) == self.architecture:
            return []
        option = option_for(folder)
        return [f"holds {name}, family {self.family} needs {self.architecture}; {option} or another folder"]

    def folder_problems(self, folder: Path) -> list[str]:
        found = super().folder_problems(folder)
        if found or cutoff_problems(self.cutoff_layers):
            return found  # the latter are reported as such
        try:
            self.layers_in(describe(folder))
        except ValueError as error:
            return [str(error)]
        return []

    def available(self, description: dict[str, Any]) -> tuple[int, ...]:
        """Layers that have a head, ascending."""
        start = description["start_layer"] or 8  # LayerWiseMiniCPMConfig's default, left out of config.json
        return tuple(range(start, description["num_hidden_layers"] + 1))

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return chosen(self.cutoff_layers, self.available(description))

    def kind(self) -> Any:
        return layerwise_class()

    def fitted(self, folder: Path) -> Self:
        return self

    def load(self, weights: Weights, hardware: Hardware) -> PairModel:
        return LayerwiseModel(self, weights, hardware)


class LayerwiseModel(PromptedModel):
    settings: Layerwise

    def __init__(self, settings: Layerwise, weights: Weights, hardware: Hardware) -> None:
        from rerankbench.engine.operators.last_position import narrow

        super().__init__(settings, weights, hardware)
        narrow(self.model.model, self.layers[-1] - 1)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """One walk up the layers; only the last position of each row is normed and scored."""
        import torch

        from rerankbench.engine.operators.last_position import last_positions

        body, ids, lengths = self.model.model, inputs["input_ids"], inputs["lengths"]
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        mask = None if self.settings.attention == "sdpa" else causal_mask(ids.shape[1], body)
        hidden = body.embed_tokens(ids) * body.config.scale_emb
        scores = []
        for layer in range(self.layers[-1] + 1):
            if layer in self.layers:
                scores.append(self.head(layer)(body.norm(last(hidden, lengths))).float())
            if layer < self.layers[-1]:
                with last_positions(lengths):
                    hidden = body.layers[layer](hidden, attention_mask=mask, position_ids=positions)[0]
        return torch.cat(scores, dim=1)

    def head(self, layer: int) -> Any:
        heads = self.model.lm_head
        chosen_head = heads[layer - self.model.config.start_layer] if self.model.config.head_multi else heads
        return chosen_head.linear_head


def causal_mask(width: int, model: Any) -> Tensor:
    """Additive mask [1, 1, width, width] that hides the future, for attention that does not by itself."""
    import torch

    lowest = torch.finfo(model.dtype).min
    return torch.full((1, 1, width, width), lowest, dtype=model.dtype, device=model.device).triu(1)


def cutoff_problems(cutoff_layers: Any) -> list[str]:
    """What is wrong with `reranker.cutoff_layers`, before the model's own layers are known."""
    if cutoff_layers == "all":
        return []
    whole = isinstance(cutoff_layers, list) and cutoff_layers and all(type(x) is int for x in cutoff_layers)
    if not whole:
        return [
            f"reranker.cutoff_layers={cutoff_layers}: give `all` or a list of layer numbers such as [8,16,28]"
        ]
    repeated = sorted({layer for layer in cutoff_layers if cutoff_layers.count(layer) > 1})
    return [f"reranker.cutoff_layers={cutoff_layers}: layer {repeated[0]} is named twice"] if repeated else []


def chosen(cutoff_layers: Any, available: tuple[int, ...]) -> tuple[int, ...]:
    """The asked layers in ascending order (FlagEmbedding applies heads by position in the list).

    Raises ValueError, naming the layers there are, for one without a head.
    """
    if cutoff_layers == "all":
        return available
    missing = [layer for layer in cutoff_layers if layer not in available]
    if missing:
        raise ValueError(
            f"reranker.cutoff_layers={list(cutoff_layers)}: this model has no scoring head at layer "
            f"{missing[0]}; choose from {available[0]} to {available[-1]}"
        )
    return tuple(sorted(cutoff_layers))
