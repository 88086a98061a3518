"""bge-m3's three kinds of vectors out of one pass: dense, lexical weights, and one vector a token.

As FlagEmbedding's BGEM3FlagModel makes them (finetune/embedder/encoder_only/m3/modeling.py of 1.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder, EmbedderModel
from rerankbench.engine.embedders.heads import linear
from rerankbench.engine.embedders.matrices import MatrixModel
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.checkpoint import describe, files_identity
from rerankbench.engine.models.loading import take
from rerankbench.engine.models.references import Weights
from rerankbench.engine.models.torch_file import torch_tensors

if TYPE_CHECKING:
    from torch import Tensor

COLBERT, SPARSE = "colbert_linear.pt", "sparse_linear.pt"
EXTRA = 2  # columns behind a token's vector: its lexical weight, and its id


@dataclass(frozen=True)
class M3Embedder(Embedder):
    """Rows of a text: its dense vector, then those of its tokens but the first, each with weight and id."""

    def folder_problems(self, folder: Path) -> list[str]:
        found = super().folder_problems(folder)
        lacking = [name for name in (COLBERT, SPARSE) if not (folder / name).is_file()]
        if found or not lacking:
            return found
        return [
            f"embedder.model={self.model}: has no {' and no '.join(lacking)}, which make bge-m3's token "
            "vectors and lexical weights; give an embedder that has them"
        ]

    def rehearse(self, weights: Weights, hardware: Hardware) -> None:
        super().rehearse(weights, hardware)
        heads(weights.folder, "cpu")

    def identity(self, weights: Weights, precision: str) -> dict[str, Any]:
        own = files_identity([weights.folder / COLBERT, weights.folder / SPARSE])
        return {**super().identity(weights, precision), "vectors": "m3", "heads": own}

    def load(self, weights: Weights, hardware: Hardware) -> EmbedderModel:
        return M3Model(self, weights, hardware)


def heads(folder: Path, device: str) -> tuple[Any, Any]:
    """(the projection of tokens, what weighs them). Raises UserError where they do not fit the model."""
    width = int(describe(folder)["hidden_size"])
    colbert, sparse = (
        linear(torch_tensors(folder / name), width, folder / name, device) for name in (COLBERT, SPARSE)
    )
    if sparse.out_features != 1:
        raise UserError(f"{folder / SPARSE}: gives {sparse.out_features} numbers for a token, not one weight")
    return colbert, sparse


class M3Model(MatrixModel):
    def __init__(self, settings: M3Embedder, weights: Weights, hardware: Hardware) -> None:
        self.model, self.tokenizer = take(settings.open(weights, hardware), hardware)
        self.settings = settings
        self.prepare()
        self.colbert, self.sparse = heads(weights.folder, hardware.device)
        self.width = max(self.dimensions, self.colbert.out_features)
        self.dimensions = self.width + EXTRA
        special = (getattr(self.tokenizer, f"{name}_token_id") for name in ("cls", "eos", "pad", "unk"))
        self.unweighed = [token for token in special if token is not None]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch
        from torch.nn.functional import normalize, pad

        ids = inputs["input_ids"]
        hidden = self.model(**inputs).last_hidden_state.float()
        dense = normalize(hidden[:, :1], dim=-1)
        tokens = normalize(self.colbert(hidden[:, 1:]), dim=-1)
        vectors = torch.cat([pad(each, (0, self.width - each.shape[-1])) for each in (dense, tokens)], dim=1)
        weights = torch.relu(self.sparse(hidden))
        unweighed = torch.tensor(self.unweighed, device=ids.device)
        weights = weights.masked_fill(torch.isin(ids, unweighed)[:, :, None], 0.0)
        return torch.cat([vectors, weights, ids[:, :, None].float()], dim=2)
