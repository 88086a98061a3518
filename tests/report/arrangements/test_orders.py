"""Arrangements against trec_eval: their orders made again, one document after the other, by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytrec_eval

from rerankbench.report import document
from rerankbench.report.arms.runs import find
from rerankbench.report.findings import find_out
from rerankbench.report.settings import Report
from scored_runs import Drawn, drawn, first_scores, scores_like, write_scored

Ranked = list[str]
Row = dict[str, Any]
NAMES = {"small": "score", "large": "score", "deep": "score_24"}


@pytest.fixture(scope="module")
def pool() -> Drawn:
    return drawn(30, 20, seed=1)


@pytest.fixture(scope="module")
def sweep(pool: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No reranking, two rerankers and one of two layers, over lists of 0 to 20 candidates."""
    folder, first = tmp_path_factory.mktemp("sweep"), first_scores(pool, 2)
    write_scored(folder / "0", "none", pool, first)
    write_scored(folder / "1", "small", pool, first, {None: scores_like(pool, 3, 0.5)})
    write_scored(folder / "2", "large", pool, first, {None: scores_like(pool, 4, 1.0)})
    write_scored(
        folder / "3", "deep", pool, first, {8: scores_like(pool, 5, 0.2), 24: scores_like(pool, 6, 0.9)}
    )
    return folder


@pytest.fixture(scope="module")
def arms(sweep: Path) -> list[dict[str, Any]]:
    """The arms of report.json, as any reader of the file sees them."""
    found = json.loads(document.to_json(find_out(find([sweep]), Report())))
    return list(found["arms"])


@pytest.fixture(scope="module")
def tables(sweep: Path) -> dict[str, dict[str, list[Row]]]:
    """Every run's scores.parquet as plain rows, by reranker and query, in first-stage order."""
    found: dict[str, dict[str, list[Row]]] = {}
    for number, name in enumerate(["none", "small", "large", "deep"]):
        for row in pq.read_table(sweep / str(number) / "scores.parquet").to_pylist():
            found.setdefault(name, {}).setdefault(row["query_id"], []).append(row)
    return found


class ByHand:
    """One query's candidates and the textbook's way to order them."""

    def __init__(self, tables: dict[str, dict[str, list[Row]]], query: str) -> None:
        self.rows = {
            name: sorted(by[query], key=lambda r: r["rank"]) for name, by in tables.items() if query in by
        }
        self.first = {row["doc_id"]: row["first_stage_score"] for row in self.rows.get("none", [])}
        self.documents = list(self.first)

    def scores(self, step: dict[str, Any]) -> dict[str, float]:
        column = "score" if step["layer"] is None else f"score_{step['layer']}"
        return {row["doc_id"]: row[column] for row in self.rows.get(step["reranker"], [])}

    def cascade(self, steps: Sequence[dict[str, Any]]) -> Ranked:
        ranked = list(self.documents)
        for step in steps:
            scores, depth = self.scores(step), step["depth"]
            ranked = sorted(ranked[:depth], key=lambda d: -scores[d]) + ranked[depth:]
        return ranked

    def early_exit(self, arm: dict[str, Any]) -> Ranked:
        steps = arm["steps"]
        before = self.cascade(steps[:-1])
        scores = self.scores(steps[-2]) if len(steps) > 1 else self.first
        known = before[: steps[-2]["depth"]] if len(steps) > 1 else before
        if len(known) < 2 or scores[known[0]] - scores[known[1]] > arm["early_exit"]["gap"]:
            return before
        return self.cascade(steps)

    def fusion(self, arm: dict[str, Any]) -> Ranked:
        steps, how = arm["steps"], arm["fusion"]
        top = self.documents[: steps[0]["depth"]]
        parts = ([self.first] if how["with_first_stage"] else []) + [self.scores(step) for step in steps]
        one, two = (BY_METHOD[how["method"]]({d: part[d] for d in top}) for part in parts)
        weight = 0.5 if how["weight"] is None else how["weight"]
        mixed = sorted(top, key=lambda d: -((1 - weight) * one[d] + weight * two[d]))
        return mixed + self.documents[len(top) :]

    def order(self, arm: dict[str, Any]) -> Ranked:
        make: dict[str, Callable[[], Ranked]] = {
            "fusion": lambda: self.fusion(arm),
            "early exit": lambda: self.early_exit(arm),
        }
        return make.get(arm["kind"], lambda: self.cascade(arm["steps"]))()


def min_max(scores: dict[str, float]) -> dict[str, float]:
    low, high = min(scores.values(), default=0), max(scores.values(), default=0)
    return {d: (s - low) / (high - low) if high > low else 0.0 for d, s in scores.items()}


def z(scores: dict[str, float]) -> dict[str, float]:
    if len(set(scores.values())) < 2:
        return dict.fromkeys(scores, 0.0)
    mean = math.fsum(scores.values()) / len(scores)
    spread = math.sqrt(math.fsum((s - mean) ** 2 for s in scores.values()) / len(scores))
    return {d: (s - mean) / spread for d, s in scores.items()}


def reciprocal(scores: dict[str, float]) -> dict[str, float]:
    return {d: 1 / (60 + rank) for rank, d in enumerate(sorted(scores, key=lambda d: -scores[d]), start=1)}


BY_METHOD = {"min-max": min_max, "z": z, "reciprocal ranks": reciprocal}


def trec_eval(ranked: dict[str, Ranked], pool: Drawn) -> float:
    """nDCG@10 over all judged queries; one without results counts 0."""
    runs = {q: {d: float(len(docs) - i) for i, d in enumerate(docs)} for q, docs in ranked.items() if docs}
    found = pytrec_eval.RelevanceEvaluator(pool.qrels(), {"ndcg_cut.10"}).evaluate(runs)
    return math.fsum(each["ndcg_cut_10"] for each in found.values()) / len(pool.ids)


def by_hand(arm: dict[str, Any], tables: dict[str, dict[str, list[Row]]], pool: Drawn) -> float:
    return trec_eval({query: ByHand(tables, query).order(arm) for query in pool.ids}, pool)


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("cascade", 2), ("cascade", 3), ("fusion", 1), ("fusion", 2), ("early exit", 1), ("early exit", 2)],
)
def test_values_are_trec_evals_of_orders_made_by_hand(
    kind: str, steps: int, arms: list[dict[str, Any]], tables: dict[str, dict[str, list[Row]]], pool: Drawn
) -> None:
    some = [arm for arm in arms if arm["kind"] == kind and len(arm["steps"]) == steps]
    assert len(some) >= 5
    for arm in some[:: max(1, len(some) // 12)]:
        assert arm["measures"]["ndcg_at_10"] == pytest.approx(by_hand(arm, tables, pool), abs=1e-9), arm[
            "name"
        ]


def test_every_arm_has_its_steps_and_plain_ones_have_one(arms: list[dict[str, Any]]) -> None:
    assert all(step.keys() == {"reranker", "depth", "layer"} for arm in arms for step in arm["steps"])
    plain = [arm for arm in arms if arm["kind"] == "plain"]
    assert {len(arm["steps"]) for arm in plain} == {1}
    steps = {arm["name"]: arm["steps"][0] for arm in plain}
    assert steps["small@10"] == {"reranker": "small", "depth": 10, "layer": None}
    assert steps["deep@20 layer 8"] == {"reranker": "deep", "depth": 20, "layer": 8}
    assert steps["no reranking"] == {"reranker": "none", "depth": 0, "layer": None}
    for arm in arms:
        if arm["kind"] == "cascade":
            depths = [step["depth"] for step in arm["steps"]]
            assert depths == sorted(set(depths), reverse=True)
    assert len({arm["name"] for arm in arms}) == len(arms)


def test_the_share_that_leaves_early_is_counted(
    arms: list[dict[str, Any]], tables: dict[str, dict[str, list[Row]]], pool: Drawn
) -> None:
    for arm in [arm for arm in arms if arm["kind"] == "early exit"][::7]:
        left = 0
        for query in pool.ids:
            hand, steps = ByHand(tables, query), arm["steps"]
            scores = hand.scores(steps[-2]) if len(steps) > 1 else hand.first
            top = hand.cascade(steps[:-1])[:2]
            left += len(top) < 2 or scores[top[0]] - scores[top[1]] > arm["early_exit"]["gap"]
        assert arm["early_exit"]["share"] == pytest.approx(left / len(pool.ids))
        assert arm["early_exit"]["after_step"] == len(arm["steps"]) - 1
