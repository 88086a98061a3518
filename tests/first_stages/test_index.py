"""Indexes: exact search that streams, and approximate ones that are kept and say what they miss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.vectors import Vectors
from rerankbench.engine.store.rows import read_array, write_array
from rerankbench.first_stages import index as index_module
from rerankbench.first_stages.index import Exact, Index, recall, recall_notes, search

# Codes of four bits: FAISS needs ten seconds to train the usual eight.
FACTORIES = ["IVF8,Flat", "HNSW8", "IVF8,PQ8x4", "IVF8,PQ8x4,RFlat", "PQ8x4"]


def vectors_in(folder: Path, rows: int = 2000, dimensions: int = 16, block: int = 300) -> Vectors:
    """Unit vectors in memory-mapped blocks, some of them twice."""
    drawn = np.random.default_rng(rows).normal(size=(rows, dimensions)).astype(np.float32)
    drawn[::7] = drawn[0]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    blocks = []
    for number, start in enumerate(range(0, rows, block)):
        write_array(folder, f"block{number}", drawn[start : start + block])
        found = read_array(folder, f"block{number}")
        assert found is not None
        blocks.append(found)
    return Vectors(tuple(blocks))


def brute_force(
    vectors: NDArray[Any], queries: NDArray[Any], depth: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every product, sorted by score and then by row."""
    products = queries @ vectors.T
    rows = np.broadcast_to(np.arange(len(vectors)), products.shape)
    order = np.lexsort((rows, -products))[:, :depth]
    return order, np.take_along_axis(products, order, 1)


@given(
    st.integers(1, 90),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(0, 9),
)
@settings(deadline=None, max_examples=150)
def test_streamed_search_is_brute_force(
    rows: int, queries: int, depth: int, part: int, batch: int, seed: int
) -> None:
    """Whole numbers: products are exact and many are equal."""
    drawn = np.random.default_rng(seed)
    vectors = drawn.integers(-2, 3, (rows, 3)).astype(np.float32)
    asked = drawn.integers(-2, 3, (queries, 3)).astype(np.float32)
    before, index_module.ROWS = index_module.ROWS, part
    try:
        blocks = Vectors(tuple(np.array_split(vectors, min(3, rows))))
        found, scores = search(Exact(blocks), asked, depth, batch=batch)
    finally:
        index_module.ROWS = before
    some = min(rows, depth)
    expected = brute_force(vectors, asked, depth)
    np.testing.assert_array_equal(found[:, :some], expected[0])
    np.testing.assert_array_equal(scores[:, :some], expected[1])
    assert (found[:, some:] == -1).all()
    assert (scores[:, some:] == -np.inf).all()


def test_recall_counts_the_exact_neighbours_that_were_found(tmp_path: Path) -> None:
    vectors = vectors_in(tmp_path)
    queries = vectors.array()[1:31]
    exact, _ = search(Exact(vectors), queries, 10)
    assert recall(exact, queries, vectors, seed=0) == 1
    half = exact.copy()
    half[:, ::2] = -1
    assert recall(half, queries, vectors, seed=0) == 5 / 10
    assert recall_notes({"recall_at_10": 0.95}) == ()
    (note,) = recall_notes({"recall_at_10": 0.9499})
    assert "recall_at_10 against exact search is 0.950" in note
    assert "index.search" in note


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_is_built_once_and_read_as_it_was(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, index = vectors_in(tmp_path / "vectors"), Index(factory)
    built = search(index.build(vectors, 0), vectors.array()[:40], 10)
    first = search(index.ready(vectors, 0, tmp_path), vectors.array()[:40], 10)
    monkeypatch.setattr(Index, "build", lambda *_: pytest.fail("built again"))
    second = search(index.ready(vectors, 0, tmp_path), vectors.array()[:40], 10)
    for found in (first, second):
        np.testing.assert_array_equal(found[0], built[0])
        np.testing.assert_array_equal(found[1], built[1])
    (file,) = (tmp_path / "indexes").glob("*.faiss")
    assert json.loads(file.with_suffix(".json").read_text())["label"] == factory
    assert not list((tmp_path / "indexes").glob("*.tmp"))


def test_what_determines_an_index_tells_indexes_apart(tmp_path: Path) -> None:
    one, other = vectors_in(tmp_path / "one"), vectors_in(tmp_path / "other", rows=1990)
    for index, vectors, seed in [
        (Index("IVF8,Flat"), one, 0), (Index("IVF8,Flat"), other, 0), (Index("IVF8,Flat"), one, 1),
        (Index("IVF4,Flat"), one, 0), (Index("IVF8,Flat", train_rows=500), one, 0),
        (Index("IVF8,Flat", "nprobe=4"), one, 0),  # is the first one, searched harder
    ]:  # fmt: skip
        index.ready(vectors, seed, tmp_path)
    assert len(list((tmp_path / "indexes").glob("*.faiss"))) == 5


def test_how_hard_a_kept_index_searches_can_change(tmp_path: Path) -> None:
    vectors = vectors_in(tmp_path / "vectors")
    queries = vectors.array()[1:60]
    shares = [
        recall(
            search(Index("IVF8,Flat", f"nprobe={probes}").ready(vectors, 0, tmp_path), queries, 10)[0],
            queries,
            vectors,
            0,
        )
        for probes in (1, 4, 8)
    ]
    assert shares[0] < shares[1] <= shares[2] == 1


def test_a_damaged_index_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors, index = vectors_in(tmp_path / "vectors"), Index("IVF8,Flat")
    expected = search(index.ready(vectors, 0, tmp_path), vectors.array()[:20], 5)
    (file,) = (tmp_path / "indexes").glob("*.faiss")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()  # it is mapped: others keep what they mapped
    file.write_bytes(data)
    again = search(index.ready(vectors, 0, tmp_path), vectors.array()[:20], 5)
    np.testing.assert_array_equal(again[0], expected[0])
    assert "set aside" in caplog.text


def test_too_few_vectors_are_the_users_matter(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Index("IVF1024,Flat").build(vectors_in(tmp_path, rows=100), 0)
    (line,) = caught.value.problems
    assert line.startswith(
        "index.factory=IVF1024,Flat: FAISS cannot train it on 100 vectors of 16 dimensions"
    )
    with pytest.raises(UserError, match="16 dimensions"):
        Index("PQ5").build(vectors_in(tmp_path / "more"), 0)


def test_the_recall_of_candidates_is_kept_with_them(models: Path, tmp_path: Path) -> None:
    """A stage that reads stored candidates knows, and says, what the one that found them measured."""
    from rerankbench.collections.sources.in_memory import collection_of
    from rerankbench.engine.embedders.embedder import Embedder
    from rerankbench.engine.hardware import Hardware
    from rerankbench.first_stages.dense import Dense
    from rerankbench.first_stages.hybrid import Hybrid
    from rerankbench.first_stages.search_context import SearchContext
    from tiny_models import SENTENCES

    documents = {f"d{n}": f"{SENTENCES[n % len(SENTENCES)]} {n}" for n in range(120)}
    collection = collection_of(documents, {f"q{n}": SENTENCES[n] for n in range(8)}, {"q0": {"d0": 1}})
    machine, embedder = Hardware("cpu", "fp32"), Embedder(model=str(models / "bge-small-en"))
    bench = SearchContext(machine, tmp_path, embedder=embedder, index=Index("IVF16,Flat", "nprobe=1"))
    found, key = Dense().retrieve(collection, 20, bench)
    again, same = Dense().retrieve(collection, 20, bench)
    exact, _ = Dense().retrieve(collection, 20, SearchContext(machine, tmp_path, embedder=embedder))
    shares = [len(set(a) & set(b)) / 20 for a, b in zip(found.rows, exact.rows, strict=True)]
    assert found.index == {"recall_at_20": pytest.approx(np.mean(shares))}
    assert 0 < found.index["recall_at_20"] < 0.95
    assert (again.index, again.notes, same) == (found.index, found.notes, key)
    assert len(found.notes) == 1
    assert (exact.index, exact.notes) == ({}, ())
    assert Hybrid(pool=20).retrieve(collection, 20, bench)[0].index == found.index
