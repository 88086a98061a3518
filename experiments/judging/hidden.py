"""How many judgements find the best arm of a sweep whose judgements are known, but hidden?

    rerankbench -m dataset=files dataset.corpus=... dataset.queries=... reranker=none,minilm ...
    python experiments/judging/hidden.py multirun/DATE/TIME --qrels qrels.tsv

Judging is acted out with the qrels answering as the person. For each number of judgements: the leader,
whether it is the best by the whole pool, how many arms are open. Beside it the plain alternative: pairs of
the pool in random order, unjudged ones counting as not relevant, and how often (of 200 orders) its leader
is the best.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging import qrels
from rerankbench.judging.beliefs import beliefs
from rerankbench.judging.choice import next_places
from rerankbench.judging.forecast import left
from rerankbench.judging.lists import lists
from rerankbench.judging.pool import Pool, pool
from rerankbench.judging.standing import ndcg, standing
from rerankbench.report.arms import runs

CUTOFF, HIGHEST, DELTA, BATCH, ORDERS = 10, 3, 0.01, 5, 200


def means(those: Pool, grades: np.ndarray) -> np.ndarray:
    """The arms' mean nDCG, what is unjudged counting as not relevant."""
    return ndcg(np.maximum(grades, 0)[None].astype(float), those.weights, those.cutoff)[0].mean(axis=1)


def at_random(those: Pool, truth: np.ndarray, count: int, best: int) -> float:
    """How often the leader is the best with `count` pairs of the pool judged at random."""
    places, right = np.argwhere(those.wanted), 0
    for seed in range(ORDERS):
        chosen = np.random.default_rng(seed).permutation(len(places))[:count]
        grades = np.zeros_like(truth)
        grades[tuple(places[chosen].T)] = truth[tuple(places[chosen].T)]
        values = means(those, grades)
        right += values[best] >= values.max() - 1e-12 and count > 0
    return right / ORDERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--qrels", type=Path, required=True)
    words = parser.parse_args()
    found, known = lists(runs.find([words.sweep])), qrels.read(words.qrels).grades
    those = pool(found, CUTOFF, {})
    truth = np.zeros_like(those.grades)
    for query, query_id in enumerate(those.query_ids):
        for column, doc_id in enumerate(those.pairs[query]):
            truth[query, column] = known.get((query_id, doc_id), 0)
    true = means(those, truth)
    best = int(np.argmax(true))
    print(f"pool of {int(those.wanted.sum())} pairs; by all of them:")
    for arm in np.argsort(-true):
        print(f"  {true[arm]:.4f} {found.arms[arm].name}")
    acted_out(those, truth, best, [arm.name for arm in found.arms])


def acted_out(those: Pool, truth: np.ndarray, best: int, names: list[str]) -> None:
    """Judge until all is settled, and print each step."""
    started, whole = time.perf_counter(), those
    print("judged  leader                    right  open  about left  at random")
    while True:
        expected = beliefs(those, HIGHEST)
        at = standing(those, expected, DELTA, HIGHEST)
        places = next_places(at, expected, BATCH)
        name, right = names[at.leader], at.leader == best
        judged = int((those.grades != UNJUDGED).sum())
        random = at_random(whole, truth, judged, best)
        line = f"{judged:6} {name:26} {right!s:6} {len(at.rivals()):4} {left(at, expected)[0]:10}"
        print(f"{line} {random:10.2f}", flush=True)
        if not places:
            break
        grades = those.grades.copy()
        for place in places:
            grades[place] = truth[place]
        those = replace(those, grades=grades)
    print(f"settled after {judged} pairs; computing took {time.perf_counter() - started:.1f} s")
    for share in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        count = round(share * int(whole.wanted.sum()))
        print(f"{count:6} pairs at random find the best in {at_random(whole, truth, count, best):.2f}")


if __name__ == "__main__":
    main()
