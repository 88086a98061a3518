"""Pools of a few documents, drawn at random, some of them judged."""

from __future__ import annotations

import numpy as np

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.pool import Pool


def small_pool(seed: int, arms: int = 2, queries: int = 1, documents: int = 5, judged: float = 0.5) -> Pool:
    """Lists of three ranks each."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((arms, queries, documents))
    for arm in range(arms):
        for query in range(queries):
            weights[arm, query, rng.permutation(documents)[:3]] = 1 / np.log2(np.arange(2, 5))
    known = rng.random((queries, documents)) < judged
    grades = np.where(known, rng.integers(0, 4, known.shape), UNJUDGED).astype(np.int32)
    pairs = tuple(tuple(f"d{d}" for d in range(documents)) for _ in range(queries))
    ids = tuple(f"q{q}" for q in range(queries))
    return Pool(3, ids, pairs, weights, grades, weights.max(axis=0) > 0, tuple(range(arms)))
