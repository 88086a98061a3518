"""What a first stage may use: what all stages share, with the embedder and the index of dense retrieval."""

from __future__ import annotations

from dataclasses import dataclass, field

from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.run_context import RunContext
from rerankbench.first_stages.index import Index


@dataclass(frozen=True)
class SearchContext(RunContext):
    """`embedder` and `index` matter to those first stages only that embed."""

    embedder: Embedder = field(default_factory=Embedder)
    index: Index = field(default_factory=Index)
