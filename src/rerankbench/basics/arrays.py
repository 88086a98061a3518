"""Arrays by what is in them, under one name each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
"""Numbers of rows, places, lengths and counts."""

Floats = NDArray[np.float32]
"""Scores and vectors."""

Flags = NDArray[np.bool_]
"""Which of some things are meant."""

Digests = NDArray[np.bytes_]
"""Hashes of texts, or of their tokens."""
