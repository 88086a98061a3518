"""Trying out a model of a kind that is not tested here, before anything is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import shown

if TYPE_CHECKING:
    from torch import Tensor


def tried(
    forward: Callable[[dict[str, Tensor]], Tensor],
    batches: Sequence[dict[str, NDArray[np.int64]]],
    failing: str,
    length: str,
) -> list[Tensor]:
    """What `forward` gives for batches, on the CPU. Raises UserError, which begins as `failing`.

    length: the key that helps where texts are too long.
    """
    import torch

    from rerankbench.engine.loop import to_device

    try:
        with torch.inference_mode():
            return [forward(to_device(batch, "cpu")) for batch in batches]
    except UserError:
        raise  # which says itself what to do
    except Exception as error:  # whatever a model of any kind may raise
        reason = shown(" ".join(str(error).split()))
        raise UserError(
            f"{failing} ({type(error).__name__}: {reason}); a smaller {length} helps where it has too few "
            "positions"
        ) from error
