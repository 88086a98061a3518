"""Whole runs on tiny models, related to each other: what may not change a figure, and in which way it may."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from collections_on_disk import Pairs, Texts, beir
from commands import run

WORDS = [
    "bread",
    "water",
    "river",
    "stone",
    "music",
    "island",
    "winter",
    "garden",
    "copper",
    "engine",
    "letter",
    "market",
]
QUERIES = 8
DOCUMENTS = 40


def made(seed: int) -> tuple[Texts, Texts, Pairs]:
    """Texts of common words, each different, and graded judgements."""
    drawn = random.Random(seed)
    texts = [(f"d{n}", "", f"{' '.join(drawn.choices(WORDS, k=9))} number {n}") for n in range(DOCUMENTS)]
    queries = [(f"q{n}", "", f"{' '.join(drawn.choices(WORDS, k=4))} {n}") for n in range(QUERIES)]
    judged = [(query, f"d{row}", drawn.randint(0, 2)) for query, _, _ in queries
              for row in drawn.sample(range(DOCUMENTS), 8)]  # fmt: skip
    return texts, queries, judged


class Bench:
    """Runs in a folder of their own with a cache of their own: nothing is reused."""

    def __init__(self, models: Path, folder: Path) -> None:
        self.models, self.folder = models, folder
        self.number = itertools.count()

    def run(self, texts: Texts, queries: Texts, judged: Pairs, *words: str) -> Found:
        place = self.folder / str(next(self.number))
        beir(place / "data", texts, queries, judged)
        code = run(
            "dataset=beir", f"dataset.path={place / 'data'}", "tracking=none", "device=cpu", "precision=fp32",
            f"embedder.model={self.models / 'bge-small-en'}", "embedder.pooling=cls", "candidates=20",
            "cutoffs=[1,5,20]", "report.measure=ndcg_at_5", "reranker=base",
            f"reranker.model={self.models / 'base'}", f"cache_dir={place / 'cache'}",
            f"hydra.run.dir={place / 'out'}", *words,
        )  # fmt: skip
        assert code == 0
        return Found(place / "out")


class Found:
    """What a run wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        self.measures: dict[str, dict[str, float]] = self.result["measures"]

    def per_query(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = pq.read_table(self.folder / "per_query.parquet").to_pydict()
        return found

    def scores(self) -> dict[tuple[str, str], float]:
        """The reranker's score of every pair."""
        table = pq.read_table(self.folder / "scores.parquet").to_pylist()
        return {(row["query_id"], row["doc_id"]): row["score"] for row in table if row["score"] is not None}


@pytest.fixture(scope="module")
def bench(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(models, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def usual(bench: Bench) -> Found:
    return bench.run(*made(0))


def assert_same_scores(one: Found, other: Found) -> None:
    first, second = one.scores(), other.scores()
    assert first.keys() == second.keys()
    np.testing.assert_allclose([second[pair] for pair in first], list(first.values()), rtol=0, atol=1e-5)


def test_the_figures_can_tell_orders_apart(usual: Found) -> None:
    """Otherwise nothing below would mean anything."""
    assert usual.measures["reranked"] != usual.measures["first_stage"] != usual.measures["oracle"]
    assert len(set(usual.scores().values())) > 100


def test_the_same_command_twice_gives_identical_figures(bench: Bench, usual: Found) -> None:
    again = bench.run(*made(0))
    assert again.measures == usual.measures
    assert again.result["by_depth"] == usual.result["by_depth"]
    assert again.result["by_cutoff"] == usual.result["by_cutoff"]
    assert again.per_query() == usual.per_query()
    assert again.scores() == usual.scores()


@pytest.mark.parametrize(
    "word",
    ["batch_size=1", "batch_size=7", "batch_tokens=64", "batch_tokens=100000", "threads=1", "threads=2"],
)
def test_how_the_work_is_cut_changes_no_figure(bench: Bench, usual: Found, word: str) -> None:
    other = bench.run(*made(0), word)
    assert other.measures == usual.measures
    assert_same_scores(usual, other)


def test_the_number_of_threads_changes_no_bit(bench: Bench, usual: Found) -> None:
    assert bench.run(*made(0), "threads=3").scores() == usual.scores()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_documents_and_queries_changes_no_figure(bench: Bench, usual: Found, seed: int) -> None:
    texts, queries, judged = ([*part] for part in made(0))
    for part in (texts, queries, judged):
        random.Random(seed).shuffle(part)
    other = bench.run(texts, queries, judged)
    for stage, values in usual.measures.items():
        assert other.measures[stage] == pytest.approx(values, abs=1e-12), stage  # a mean in another order
    assert_same_scores(usual, other)


def test_other_ids_change_no_figure(bench: Bench, usual: Found) -> None:
    texts, queries, judged = made(0)
    turned = random.Random(3).sample(range(DOCUMENTS), DOCUMENTS)
    name = {f"d{n}": f"d{turned[n]}" for n in range(DOCUMENTS)}
    asked = {f"q{n}": f"q{QUERIES - 1 - n}" for n in range(QUERIES)}
    other = bench.run(
        [(name[key], title, text) for key, title, text in texts],
        [(asked[key], title, text) for key, title, text in queries],
        [(asked[query], name[document], grade) for query, document, grade in judged],
    )
    assert other.measures == usual.measures
    renamed = {(asked[query], name[document]): score for (query, document), score in usual.scores().items()}
    found = other.scores()
    assert found.keys() == renamed.keys()
    np.testing.assert_allclose([found[pair] for pair in renamed], list(renamed.values()), rtol=0, atol=1e-5)


ALL_OF_THEM = ("candidates=60", "cutoffs=[1,5,20]")


@pytest.fixture(scope="module")
def before(bench: Bench) -> Found:
    """With every document reranked: below a depth, one that is pushed out may have been above the answer."""
    return bench.run(*made(4), *ALL_OF_THEM)


@pytest.mark.parametrize("text", ["", "bread water river stone music", "bread " * 300, "首都"])
def test_an_irrelevant_document_never_raises_recall(bench: Bench, before: Found, text: str) -> None:
    texts, queries, judged = made(4)
    after = bench.run([*texts, ("intruder", "", text)], queries, judged, *ALL_OF_THEM)
    for stage in ("first_stage", "reranked"):
        for k in (1, 5, 20):
            assert after.measures[stage][f"recall_at_{k}"] <= before.measures[stage][f"recall_at_{k}"]
    best = {name: value for name, value in before.measures["oracle"].items() if "judged" not in name}
    assert {name: after.measures["oracle"][name] for name in best} == best


def test_reranking_by_the_oracle_reaches_the_ceiling(bench: Bench, usual: Found, tmp_path: Path) -> None:
    """The candidates in order of their grades, as a run file of another tool."""
    texts, queries, judged = made(0)
    grades = {(query, document): grade for query, document, grade in judged}
    lines = []
    for query, rows in itertools.groupby(sorted(usual.scores()), key=lambda pair: pair[0]):
        best = sorted(rows, key=lambda pair: -grades.get(pair, 0))
        lines += [f"{query} Q0 {pair[1]} {rank} {-rank} oracle" for rank, pair in enumerate(best, start=1)]
    (tmp_path / "best.trec").write_text("\n".join(lines))
    found = bench.run(
        texts, queries, judged, "first_stage=run", f"first_stage.path={tmp_path / 'best.trec'}", "depth=0"
    )
    ceiling = {name: value for name, value in usual.measures["oracle"].items() if "judged" not in name}
    assert {name: found.measures["first_stage"][name] for name in ceiling} == ceiling
    assert found.measures["oracle"] == found.measures["first_stage"]


def test_depth_zero_is_the_first_stage(bench: Bench, usual: Found) -> None:
    found = bench.run(*made(0), "depth=0")
    assert found.measures["reranked"] == found.measures["first_stage"] == usual.measures["first_stage"]
    assert found.result["pairs"]["scored"] == 0


def test_a_shallower_run_is_a_point_of_the_deeper_ones_curve(bench: Bench, usual: Found) -> None:
    shallow = bench.run(*made(0), "depth=10")
    assert shallow.measures["reranked"] == usual.result["by_depth"]["10"] != usual.measures["reranked"]
    kept = usual.scores()
    assert all(abs(score - kept[pair]) < 1e-5 for pair, score in shallow.scores().items())
