"""No warnings of the store while a test damages it a hundred times; other tests look at them again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_store() -> Iterator[None]:
    log = logging.getLogger("rerankbench.engine.store.rows")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False
