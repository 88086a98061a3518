"""Score once: what is stored is not scored again, whatever is asked for, and by whomever."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny_rerankers
import warm
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.executors.local import Local
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.engine.run_context import RunContext
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scoring import pair_scoring as scoring
from rerankbench.rerankers.scoring.pair_scoring import (
    Scored,
    Tokenized,
    Work,
    distinct_pairs,
    score,
    score_store,
)
from rerankbench.rerankers.scoring.sequences import cut
from tiny_models import SENTENCES

DOCUMENTS = {f"d{number}": text for number, text in enumerate(SENTENCES)}
QUERIES = {
    "q0": "What is the capital of France?",
    "q1": "how many moons does Mars have",
    "q2": "法国的首都是哪里？",
}


def collection(documents: dict[str, str] = DOCUMENTS, queries: dict[str, str] = QUERIES) -> Collection:
    first = next(iter(documents))
    return collection_of(documents, queries, {query: {first: 1} for query in queries})


def candidates(queries: int = 3, depth: int = 8, seed: int = 0) -> NDArray[np.int64]:
    """Rows [queries, depth] without repetition in a query."""
    drawn = np.random.default_rng(seed)
    return np.stack([drawn.permutation(len(DOCUMENTS))[:depth] for _ in range(queries)])


def work_of(
    reranker: Reranker,
    rows: NDArray[np.int64],
    cache: Path,
    of: Collection | None = None,
    **bench: Any,
) -> Work:
    of = of or collection()
    weights = references.resolve(reranker.model, None, cache)
    machine = RunContext(Hardware("cpu", "fp32"), cache, **bench)
    layers = reranker.layers(weights)
    store = score_store(reranker, weights, machine)
    return Work(reranker, weights, layers, machine, of, distinct_pairs(of, rows), store)


def by_ids(work: Work, rows: NDArray[np.int64], scored: Scored) -> dict[tuple[str, str], list[float]]:
    """Scores by query id and document id."""
    spread = work.pairs.spread(scored.values)
    return {
        (work.collection.query_ids[query], work.collection.corpus.ids(rows[query, rank : rank + 1])[0]): list(
            map(float, spread[query, rank])
        )
        for query, rank in zip(*np.nonzero(rows >= 0), strict=True)
    }


@pytest.fixture
def minilm(models: Path) -> Reranker:
    return tiny_rerankers.settings("minilm", models)


@pytest.fixture
def layerwise(models: Path) -> Reranker:
    return tiny_rerankers.settings("minicpm-layerwise", models)


# --- scored and reused ---


def test_scores_are_those_of_the_texts(minilm: Reranker, tmp_path: Path) -> None:
    rows = candidates()
    work = work_of(minilm, rows, tmp_path)
    found = by_ids(work, rows, score(work, Local()))
    assert len(found) == rows.size
    pairs = [(QUERIES[query], DOCUMENTS[document]) for query, document in found]
    alone = tiny_rerankers.scores(work.model, pairs)
    np.testing.assert_allclose(list(found.values()), alone, atol=1e-5)


def test_depth_scores_only_what_is_new(minilm: Reranker, tmp_path: Path) -> None:
    rows, counts, values = candidates(depth=12), [], []
    for depth in (4, 12, 12, 2, 7):
        work = work_of(minilm, rows[:, :depth], tmp_path)
        scored = score(work, Local())
        counts.append(scored.scored)
        values.append(by_ids(work, rows[:, :depth], scored))
    assert counts == [12, 24, 0, 0, 0]
    for some in values:
        assert some.items() <= values[1].items()  # to the last bit


def test_the_model_is_not_loaded_when_nothing_is_missing(
    minilm: Reranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(work_of(minilm, candidates(), tmp_path), Local())
    monkeypatch.setattr(type(minilm), "load", lambda *_: pytest.fail("loaded"))
    again = score(work_of(minilm, candidates(), tmp_path), Local())
    np.testing.assert_array_equal(again.values, first.values)
    assert again.cost == first.cost


def test_a_collection_that_shares_texts_reuses_them(minilm: Reranker, tmp_path: Path) -> None:
    score(work_of(minilm, candidates(depth=len(DOCUMENTS)), tmp_path), Local())
    documents = {"new": "Never seen.", **{f"other {i}": text for i, text in enumerate(SENTENCES[:5])}}
    queries = {"x": "Unseen?", "y": QUERIES["q1"]}
    rows = np.tile(np.arange(6), (2, 1))
    scored = score(work_of(minilm, rows, tmp_path, collection(documents, queries)), Local())
    assert scored.scored == 6 + 1  # all of the new query, and the new document of the known one


def test_other_settings_share_nothing(minilm: Reranker, models: Path, tmp_path: Path) -> None:
    one = score(work_of(minilm, candidates(), tmp_path), Local())
    shorter = dataclasses.replace(minilm, max_length=16)
    other = score(work_of(shorter, candidates(), tmp_path), Local())
    assert other.scored == one.scored == 24
    assert np.abs(other.values - one.values).max() > 0.01
    assert score(work_of(minilm, candidates(), tmp_path, batch_size=2, batch_tokens=50), Local()).scored == 0


def test_layers_come_from_one_pass(layerwise: Any, tmp_path: Path) -> None:
    rows = candidates()
    every = score(work_of(layerwise, rows, tmp_path), Local())
    assert every.values.shape == (24, 5)
    for layers in ([6], [2, 5], [3]):
        some = score(work_of(dataclasses.replace(layerwise, cutoff_layers=layers), rows, tmp_path), Local())
        assert some.scored == 0
        np.testing.assert_array_equal(some.values, every.values[:, [layer - 2 for layer in layers]])


def test_a_new_layer_is_scored_and_old_ones_stay(layerwise: Any, tmp_path: Path) -> None:
    rows = candidates()
    narrow = score(work_of(dataclasses.replace(layerwise, cutoff_layers=[4]), rows, tmp_path), Local())
    wide = score(work_of(dataclasses.replace(layerwise, cutoff_layers=[2, 4]), rows, tmp_path), Local())
    assert (narrow.scored, wide.scored) == (24, 24)
    np.testing.assert_array_equal(wide.values[:, 1], narrow.values[:, 0])
    again = score(work_of(dataclasses.replace(layerwise, cutoff_layers=[2]), rows, tmp_path), Local())
    assert again.scored == 0
    np.testing.assert_array_equal(again.values[:, 0], wide.values[:, 0])


def test_work_that_was_broken_off_goes_on(
    minilm: Reranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = candidates(depth=20)
    whole = score(work_of(minilm, rows, tmp_path / "whole"), Local())
    broken = work_of(minilm, rows, tmp_path / "broken", batch_size=8)
    forward, calls = broken.model.forward, []

    def three_times(inputs: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("pulled the plug")
        return forward(inputs)

    monkeypatch.setattr(broken.model, "forward", three_times)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        score(broken, Local())
    rest = score(work_of(minilm, rows, tmp_path / "broken", batch_size=8), Local())
    assert rest.scored == 60 - 24
    np.testing.assert_allclose(rest.values, whole.values, atol=1e-5)


# --- reuse=false ---


def test_recomputing_tells_what_differs_and_keeps_what_is_stored(
    minilm: Reranker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = candidates(depth=4)
    planted = work_of(minilm, rows, tmp_path)
    true = tiny_rerankers.scores(
        planted.model,
        [
            (planted.collection.query_texts[q], planted.collection.corpus.texts(np.array([d]))[0])
            for q, d in zip(planted.pairs.queries, planted.pairs.documents, strict=True)
        ],
    )
    wrong = true.copy()
    wrong[5] += 1.5
    planted.store.append(planted.pairs.keys[:9], wrong[:9], planted.layers)
    again = score(work_of(minilm, rows, tmp_path, reuse=False), Local())
    assert again.scored == 12
    np.testing.assert_allclose(again.values, true, atol=1e-5)
    (message,) = [line for line in caplog.messages if "recomputed" in line]
    query = planted.collection.query_ids[planted.pairs.queries[5]]
    document = f"d{planted.pairs.documents[5]}"
    assert "recomputed 12 pairs" in message
    assert "the 9 stored ones differ, by at most 1.5 " in message
    assert f"(query {query}, document {document})" in message
    kept = score(work_of(minilm, rows, tmp_path), Local())
    assert kept.scored == 0  # what was not stored before is stored now
    np.testing.assert_allclose(
        kept.values, wrong * (np.arange(12) < 9)[:, None] + true * (np.arange(12) >= 9)[:, None], atol=1e-5
    )
    assert not list(planted.store.folder.glob("again-*"))


def test_recomputing_the_same_is_no_warning(
    minilm: Reranker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = score(work_of(minilm, candidates(), tmp_path), Local())
    again = score(work_of(minilm, candidates(), tmp_path, reuse=False), Local())
    np.testing.assert_array_equal(again.values, first.values)
    assert again.scored == 24
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


# --- the same texts, in any order, under any id ---


def test_the_same_texts_under_other_ids_are_one_pair_and_tie(minilm: Reranker, tmp_path: Path) -> None:
    documents = {"a": "Paris.", "b": "Berlin.", "A": "Paris.", "B": "Berlin."}
    queries = {"one": "capital?", "two": "capital?"}
    rows = np.array([[0, 1, 2, 3], [3, 2, -1, -1]])
    work = work_of(minilm, rows, tmp_path, collection(documents, queries))
    scored = score(work, Local())
    assert scored.scored == len(work.pairs) == 2
    found = by_ids(work, rows, scored)
    assert found["one", "a"] == found["one", "A"] == found["two", "A"]
    assert found["one", "b"] == found["one", "B"] == found["two", "B"]
    assert np.isnan(work.pairs.spread(scored.values)[1, 2:]).all()


@pytest.mark.parametrize("name", ["minilm", "lightweight"])
def test_order_of_documents_and_queries_changes_nothing(name: str, models: Path, tmp_path: Path) -> None:
    rows, drawn = candidates(), np.random.default_rng(3)
    reranker = tiny_rerankers.settings(name, models)
    straight = work_of(reranker, rows, tmp_path / "straight")
    documents, queries = drawn.permutation(len(DOCUMENTS)), drawn.permutation(len(QUERIES))
    turned = collection(
        {id_: DOCUMENTS[id_] for id_ in np.array(list(DOCUMENTS))[documents]},
        {id_: QUERIES[id_] for id_ in np.array(list(QUERIES))[queries]},
    )
    turned_rows = np.argsort(documents)[rows][queries][:, ::-1]
    other = work_of(reranker, turned_rows, tmp_path / "turned", turned)
    one, two = (
        by_ids(straight, rows, score(straight, Local())),
        by_ids(other, turned_rows, score(other, Local())),
    )
    assert one.keys() == two.keys()
    for pair, values in one.items():
        np.testing.assert_allclose(two[pair], values, atol=1e-5)


some_rows = st.integers(1, 6).flatmap(
    lambda depth: st.lists(
        st.lists(st.integers(-1, 5), min_size=depth, max_size=depth), min_size=3, max_size=3
    )
)


@given(some_rows)
@settings(max_examples=60, deadline=None)
def test_pairs_are_the_distinct_texts(lists: list[list[int]]) -> None:
    documents = {"a": "x", "b": "y", "c": "x", "d": "z", "e": "", "f": "y"}
    queries = {"1": "p", "2": "q", "3": "p"}
    of, rows = collection(documents, queries), np.array(lists)
    pairs = distinct_pairs(of, rows)
    texts = list(documents.values())
    wanted = [
        (of.query_texts[query], texts[row]) for query in range(3) for row in rows[query].tolist() if row >= 0
    ]
    listed = [(of.query_texts[q], texts[d]) for q, d in zip(pairs.queries, pairs.documents, strict=True)]
    assert listed == list(dict.fromkeys(wanted))  # each once, in order of first appearance
    assert len(np.unique(pairs.keys)) == len(pairs)
    spread = pairs.spread(np.arange(len(pairs), dtype=np.float32)[:, None])[:, :, 0]
    assert (np.isnan(spread) == (rows < 0)).all()
    assert [listed[int(number)] for number in spread[rows >= 0]] == wanted


# --- tokens ---


def test_each_text_is_tokenized_once(
    minilm: Reranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over several windows, and under several ids."""
    documents = DOCUMENTS | {f"copy of {id_}": text for id_, text in DOCUMENTS.items()}
    rows = np.concatenate([candidates(depth=20), candidates(depth=20, seed=1) + len(DOCUMENTS)], axis=1)
    work = work_of(minilm, rows, tmp_path, collection(documents))
    tokenize, seen = work.model.tokenize, []

    def spy(texts: Sequence[str], *rest: Any) -> Any:
        seen.extend(texts)
        return tokenize(texts, *rest)

    monkeypatch.setattr(work.model, "tokenize", spy)
    monkeypatch.setattr(scoring, "WINDOW", 7)
    score(work, Local())
    assert len(work.pairs) > 14
    listed = {documents[f"d{row % 26}"] for row in rows.ravel()}
    assert sorted(seen) == sorted([*QUERIES.values(), *listed])


def test_tokens_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "CACHED_TOKENS", 50)
    asked: list[int] = []

    def tokenize(texts: Sequence[str]) -> list[Any]:
        asked.extend(map(int, texts))
        return [np.full(int(text), int(text), np.int32) for text in texts]

    held = Tokenized(lambda rows: [str(row) for row in rows], tokenize)
    for rows in ([10, 20, 10], [20, 10], [30], [45, 44], [10]):
        found = held(np.array(rows))
        assert {row: len(ids) for row, ids in found.items()} == {row: row for row in rows}
        assert held.tokens == sum(map(len, held.held.values())) <= 50
    assert asked == [10, 20, 30, 44, 45, 10]


@given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 9))
def test_windows_cover_a_document(size: int, room: int, overlap: int) -> None:
    document = np.arange(size, dtype=np.int32)
    parts = cut(document, room, overlap)
    assert all(len(part) <= room for part in parts)
    if not room or not size:
        assert [len(part) for part in parts] == [0]
        return
    assert set(np.concatenate(parts)) == set(range(size))
    shared = [len(set(one) & set(two)) for one, two in itertools.pairwise(parts)]
    assert shared == [min(overlap, room // 2)] * (len(parts) - 1)
    assert len(parts) == 1 or not set(parts[-1]) <= set(parts[-2])  # the last one adds something


# --- processes ---


def score_here(models: Path, cache: Path, barrier: Any, queue: Any) -> None:
    work = work_of(tiny_rerankers.settings("minilm", models), candidates(depth=20), cache)
    barrier.wait(60)
    scored = score(work, Local())
    queue.put((scored.scored, scored.values.tobytes()))


def test_two_processes_score_each_pair_once(models: Path, tmp_path: Path) -> None:
    context = warm.server()
    barrier, queue = context.Barrier(2), context.Queue()
    both = [context.Process(target=score_here, args=(models, tmp_path, barrier, queue)) for _ in range(2)]
    for process in both:
        process.start()
    (one, values), (two, same) = queue.get(timeout=90), queue.get(timeout=90)
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert sorted([one, two]) == [0, 60]
    assert values == same
