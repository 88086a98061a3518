"""Orders of candidates, all of them read from one array of scores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]

USUAL_DEPTHS = (10, 20, 50, 100, 200, 500, 1000)


def rerank(scores: NDArray[np.floating], depth: int) -> Order:
    """Positions [queries, candidates] best first: the first `depth` by score, the others below as they were.

    Equal scores keep first-stage order; NaN (padding) goes last within the reranked part.
    """
    head = np.where(np.isnan(scores[:, :depth]), -np.inf, scores[:, :depth])
    order = np.argsort(-head, axis=1, kind="stable")
    rest = np.broadcast_to(
        np.arange(order.shape[1], scores.shape[1]), (len(scores), scores.shape[1] - order.shape[1])
    )
    return np.concatenate([order, rest], axis=1)


def rerank_again(order: Order, scores: NDArray[np.floating], depth: int) -> Order:
    """The first `depth` of an order [queries, ranks] reordered by scores [queries, candidates].

    Equal scores keep the order given, NaN goes last within the reordered part, what lies below stays.
    """
    head = order[:, :depth]
    found = np.take_along_axis(scores, head, axis=1)
    new = np.argsort(-np.where(np.isnan(found), -np.inf, found), axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(head, new, axis=1), order[:, depth:]], axis=1)


def first_stage(shape: tuple[int, int]) -> Order:
    """Positions [queries, candidates] in first-stage order."""
    return np.broadcast_to(np.arange(shape[1]), shape)


def oracle(grades: NDArray[np.int32], depth: int) -> Order:
    """The best order that reranking the first `depth` candidates could reach."""
    return rerank(np.maximum(grades, 0).astype(np.float32), depth)


def take(values: NDArray[np.generic], order: Order) -> NDArray[np.generic]:
    """Values [queries, candidates] in another order."""
    return np.take_along_axis(values, order, axis=1)


def depths_up_to(depth: int, extra: Iterable[int] = ()) -> list[int]:
    """The depths that curves show: the usual ones below `depth`, and `depth` itself."""
    return sorted({d for d in (*USUAL_DEPTHS, *extra) if d < depth} | {depth})
