"""What all stages of one experiment share: the machine, the memory it may use, and where results are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.engine.executors.executor import Executor
from rerankbench.engine.executors.local import Local
from rerankbench.engine.hardware import Hardware

if TYPE_CHECKING:
    from rerankbench.engine.loop import Budget


@dataclass(frozen=True)
class RunContext:
    """`batch_size` and `batch_tokens` bound one forward pass; None leaves the tokens to the hardware."""

    hardware: Hardware
    cache_dir: Path
    batch_size: int = 512
    batch_tokens: int | None = None
    seed: int = 0
    reuse: bool = True
    executor: Executor = field(default_factory=Local)

    def budget(self, enough: int | None = None) -> Budget:
        """For a model that `enough` tokens keep busy."""
        from rerankbench.engine.loop import Budget

        return Budget(self.batch_size, self.batch_tokens or self.hardware.batch_tokens, enough)
