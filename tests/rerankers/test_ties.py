"""What a model sees as the same text gets the same score and the same vector, to the last bit.

What is the same is told by the arrays that a model is given for a pair alone; that scores tie must hold in
every cut of the work, in every order, and beside what earlier runs stored.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny_rerankers
from collections_on_disk import beir
from commands import run
from folded_texts import VARIANTS, texts
from numbered_texts import collection
from rerankbench import api
from rerankbench.collections.collection import Collection
from rerankbench.engine.embedders import vectors as vectors_module
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.embedders.vector_ties import Copies
from rerankbench.engine.embedders.vectors import Vectors
from rerankbench.engine.executors.local import Local
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import references
from rerankbench.engine.run_context import RunContext
from rerankbench.experiment import estimate, latency
from rerankbench.first_stages.dense import Dense
from rerankbench.first_stages.index import Exact, Index, search
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers.reranker import PairModel, Reranker
from rerankbench.rerankers.scoring import sequences
from rerankbench.rerankers.scoring.pair_scoring import Work, distinct_pairs, score, score_store
from tiny_models import ALL, SENTENCES

NAMES = ("minilm", "base", "gemma", "minicpm-layerwise", "lightweight")
SHORT = {"max_length": 40}
WINDOWS = {"max_length": 40, "long_documents": "max_passage", "window_overlap": 5}
FOUND_BY_CHANCE = settings(
    deadline=None, max_examples=5, derandomize=True, suppress_health_check=list(HealthCheck)
)
CPU = Hardware("cpu", "fp32")


@cache
def loaded(name: str, models: Path, cache_dir: Path, **options: Any) -> tuple[Reranker, PairModel]:
    reranker = tiny_rerankers.settings(name, models, **options)
    return reranker, tiny_rerankers.load(reranker, cache_dir)


@dataclasses.dataclass(frozen=True)
class LoadedWork(Work):
    """Work whose model is at hand."""

    @property
    def loaded(self) -> tuple[PairModel, float]:  # type: ignore[override]
        return self.held, 0.0

    held: Any = None


def work_of(
    name: str, models: Path, hashes: Path, of: Collection, cache_dir: Path, limits: Any, **bench: Any
) -> Work:
    """Every query with every document."""
    reranker, model = loaded(name, models, hashes, **limits)
    weights = references.resolve(reranker.model, None, hashes)
    machine = RunContext(CPU, cache_dir, **bench)
    rows = np.tile(np.arange(len(of.corpus)), (len(of.query_ids), 1))
    store = score_store(reranker, weights, machine)
    pairs = distinct_pairs(of, rows)
    return LoadedWork(reranker, weights, model.layers, machine, of, pairs, store, held=model)


def inputs_of(model: PairModel, query: str, document: str) -> list[tuple[Any, ...]]:
    """All that the model is given for a pair that is alone: one or more sequences."""
    window = tiny_rerankers.window_of(model, [(query, document)])
    alone = [window.collate(np.array([number])) for number in range(len(window.lengths))]
    return [tuple((key, part[key].tobytes()) for key in sorted(part)) for part in alone]


def assert_ties(work: Work, values: NDArray[np.float32]) -> int:
    """Pairs with equal inputs have equal scores; returns how many have the inputs of another one."""
    seen: dict[Any, bytes] = {}
    for number, (query, document) in enumerate(zip(work.pairs.queries, work.pairs.documents, strict=True)):
        text = work.collection.corpus.texts(np.array([document]))[0]
        inputs = tuple(inputs_of(work.model, work.collection.query_texts[query], text))
        assert seen.setdefault(inputs, values[number].tobytes()) == values[number].tobytes()
    return len(work.pairs) - len(seen)


@pytest.mark.parametrize("limits", [SHORT, WINDOWS], ids=["truncated", "windows"])
@pytest.mark.parametrize("name", NAMES)
@FOUND_BY_CHANCE
@example(
    queries=["two moons", "Two Moons"],
    documents=list(dict.fromkeys(f("The tide follows the moon") for f in VARIANTS.values())),
    size=3,
)
@given(queries=texts, documents=texts, size=st.integers(1, 9))
def test_equal_inputs_have_equal_scores(
    name: str, limits: dict[str, Any], queries: list[str], documents: list[str], size: int,
    models: Path, hashes: Path, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    import torch

    folder = tmp_path_factory.mktemp("ties")
    everything, turned = collection(queries, documents), collection(queries[::-1], documents[::-1])
    for number, (of, threads, bench) in enumerate([
        (everything, 1, {"batch_size": size}), (everything, 2, {"batch_tokens": 50 * size}), (turned, 1, {}),
    ]):  # fmt: skip
        torch.set_num_threads(threads)
        work = work_of(name, models, hashes, of, folder / str(number), limits, **bench)
        scored = score(work, Local())
        folded = assert_ties(work, scored.values)
        assert scored.scored <= len(work.pairs) - folded
    half = collection(queries[:1], documents[: (len(documents) + 1) // 2])
    score(work_of(name, models, hashes, half, folder / "later", limits, batch_size=size), Local())
    later = work_of(name, models, hashes, everything, folder / "later", limits)
    assert_ties(later, score(later, Local()).values)
    again = work_of(name, models, hashes, everything, folder / "later", limits, reuse=False)
    assert_ties(again, score(again, Local()).values)


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("minilm", ["upper", "without accents", "control characters", "zero width", "lines", "longer"]),
        ("base", ["wider spaces", "spaces around", "full width", "decomposed", "longer"]),
        ("gemma", ["longer"]),
        ("minicpm-layerwise", ["longer"]),
        ("lightweight", ["longer"]),
    ],
)
def test_these_variants_are_one_to_the_model_and_scored_once(
    name: str, variants: list[str], models: Path, hashes: Path, tmp_path: Path
) -> None:
    """Otherwise the properties here would be tests of nothing."""
    text = "The tidé follows the moon "
    text = (text * 20).strip() if "longer" in variants else text
    documents = [text, *(VARIANTS[variant](text) for variant in variants)]
    work = work_of(name, models, hashes, collection(["the moon"], documents), tmp_path, SHORT)
    scored = score(work, Local())
    assert (scored.scored, len(work.pairs)) == (1, len(documents))
    assert len({row.tobytes() for row in scored.values}) == 1


@pytest.mark.parametrize("name", ["minilm", "base"])
def test_queries_that_share_all_that_fits_are_one(
    name: str, models: Path, hashes: Path, tmp_path: Path
) -> None:
    """A query limit that leaves a document no room: the query itself is cut by what the model takes."""
    queries = [f"{'moon ' * 36}{end}" for end in ("one two three", "one two else")]
    limits = {"max_length": 40, "query_max_length": 39}
    work = work_of(name, models, hashes, collection(queries, ["Mars", "tide"]), tmp_path, limits)
    scored = score(work, Local())
    assert scored.scored == len({tuple(inputs_of(work.model, query, "Mars")) for query in queries}) == 1
    assert_ties(work, scored.values)


def test_documents_tie_by_the_window_that_they_share(models: Path, hashes: Path, tmp_path: Path) -> None:
    """Two documents of several windows whose best one is the same have one score, wherever it is computed."""
    windows = [" ".join([word] * 40) for word in ("moon", "tide", "Mars", "heart", "light", "sea")]
    documents = [f"{windows[0]} {windows[0]} {other}" for other in windows]
    for size in (1, 2, 5):
        of = collection(["moon"], documents)
        work = work_of("minilm", models, hashes, of, tmp_path / str(size), WINDOWS, batch_size=size)
        values = score(work, Local()).values[:, 0]
        parts = work.preparer.sequences(np.arange(len(work.pairs)))
        stored, _ = work.store.lookup(parts["key"], sequences.columns(work.layers))
        by_key: dict[bytes, set[bytes]] = {}
        for key, value in zip(parts["key"].tolist(), stored, strict=True):
            by_key.setdefault(key, set()).add(value.tobytes())
        assert len(by_key) < len(parts)
        assert all(len(found) == 1 for found in by_key.values())
        best = [max(stored[parts["pair"] == pair, 0]) for pair in range(len(values))]
        np.testing.assert_array_equal(values, best)


@pytest.mark.parametrize("name", [*ALL])
def test_a_model_without_weights_reads_pairs_as_the_loaded_one(name: str, models: Path, hashes: Path) -> None:
    reranker, model = loaded(name, models, hashes, **WINDOWS)
    weights = references.resolve(reranker.model, None, hashes)
    reader = reranker.weightless(weights, "fp32")
    assert {parameter.device.type for parameter in reader.model.parameters()} == {"meta"}  # type: ignore[attr-defined]
    pairs = [(SENTENCES[n % 5], " ".join(SENTENCES[n : n + n % 7])) for n in range(20)]
    found = []
    for one in (model, reader):
        queries, documents = zip(*pairs, strict=True)
        asked = dict(enumerate(one.tokenize_queries(queries)))
        listed = dict(enumerate(one.tokenize_documents(documents)))
        rows = np.arange(len(pairs))
        found.append(sequences.sequences_of(one, lambda _, a=asked: a, lambda _, d=listed: d, rows, rows))  # type: ignore[misc]
    np.testing.assert_array_equal(found[0], found[1])
    assert len(found[0]) > len(pairs)


# --- broken off, forecast, asked directly ---


def test_what_was_broken_off_is_handed_to_all_texts(
    models: Path, hashes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [text for sentence in SENTENCES[:10] for text in (sentence, sentence.upper(), f" {sentence}")]
    of = collection(SENTENCES[:2], documents)
    whole = score(work_of("minilm", models, hashes, of, tmp_path / "whole", SHORT, batch_size=4), Local())
    broken = work_of("minilm", models, hashes, of, tmp_path / "broken", SHORT, batch_size=4)
    forward, calls = broken.model.forward, []

    def some_times(inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(inputs)

    with monkeypatch.context() as patch:
        patch.setattr(broken.model, "forward", some_times)
        with pytest.raises(KeyboardInterrupt):
            score(broken, Local())
    left = estimate.scoring_step(broken)
    assert (left.missing, left.alike) == (20 - 12, 60 - 8)
    rest = work_of("minilm", models, hashes, of, tmp_path / "broken", SHORT, batch_size=4)
    scored = score(rest, Local())
    assert (whole.scored, scored.scored) == (20, 8)
    np.testing.assert_array_equal(scored.values, whole.values)
    assert estimate.scoring_step(rest).missing == 0


def test_a_forecast_counts_what_will_be_scored(models: Path, hashes: Path, tmp_path: Path) -> None:
    of = collection(["moons"], ["Mars", "MARS", "Phobos", "Berlin"])
    work = work_of("minilm", models, hashes, of, tmp_path, SHORT)
    step = estimate.scoring_step(work)
    assert "3 pairs to compute (0 of 4 pairs stored, 1 the same tokens as others)" in step.line()
    assert score(work, Local()).scored == step.missing == 3
    assert estimate.scoring_step(work).line() == "4 of 4 pairs stored: nothing to do"


@pytest.mark.parametrize("name", NAMES)
def test_scores_asked_for_directly_tie(name: str, models: Path, hashes: Path) -> None:
    reranker, model = loaded(name, models, hashes, **WINDOWS)
    weights = references.resolve(reranker.model, None, hashes)
    held = api.Reranker(reranker, weights, CPU)
    held.__dict__["model"] = model
    documents = [change(text) for text in SENTENCES[:4] for change in VARIANTS.values()]
    bench = RunContext(CPU, hashes, batch_size=3)
    for values in (held.score("the moon", documents), latency.rerank(model, "the moon", documents, bench)):
        seen: dict[Any, bytes] = {}
        for text, row in zip(documents, values, strict=True):
            inputs = tuple(inputs_of(model, "the moon", text))
            assert seen.setdefault(inputs, row.tobytes()) == row.tobytes()
        assert len(seen) < len(documents)
    places = [ranked.position for ranked in held.rank("the moon", ["Mars", "Mars", "tide", "Mars"])]
    assert [place for place in places if place != 2] == [0, 1, 3]
    assert held.score("the moon", []).shape == (0, len(model.layers))


# --- vectors ---


def embedding_of(models: Path, cache_dir: Path, **settings: Any) -> Embedding:
    own = Embedder(model=str(models / "bge-small-en"), **settings)
    bench = RunContext(CPU, cache_dir, batch_size=3)
    return Embedding(own, CPU, cache_dir, bench.budget())


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_texts_that_are_one_sequence_have_one_vector_in_every_block(
    pooling: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "BLOCK", 8)
    listed = [change(text) for change in VARIANTS.values() for text in SENTENCES[:6]]
    work = embedding_of(models, tmp_path, pooling=pooling, max_length=24)
    tokens = [ids.tobytes() for ids in work.model.tokenize(listed, work.settings)]
    assert len(set(tokens)) < len(tokens) / 2
    for attempt in (work, embedding_of(models, tmp_path, pooling=pooling, max_length=24)):
        vectors = attempt.passages(lambda rows: [listed[row] for row in rows], len(listed))
        assert len(vectors.blocks) > 5
        seen: dict[bytes, bytes] = {}
        for ids, vector in zip(tokens, vectors.array(), strict=True):
            assert seen.setdefault(ids, vector.tobytes()) == vector.tobytes()
    assert attempt.meter.sequences == 0  # what was mended is not computed again
    for file in tmp_path.rglob("*.tokens-*.npy"):
        file.unlink()
    vectors = embedding_of(models, tmp_path, pooling=pooling, max_length=24).passages(
        lambda rows: [listed[row] for row in rows], len(listed)
    )
    assert [seen[ids] for ids in tokens] == [vector.tobytes() for vector in vectors.array()]


@pytest.mark.parametrize("index", [Index(), Index("IVF4,Flat", "nprobe=4"), Index("HNSW8"), Index("PQ8x4")])
def test_documents_and_queries_that_are_one_tie_in_every_index(
    index: Index, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "BLOCK", 64)
    base = [f"{SENTENCES[n % 12]} {n}" for n in range(290)]
    documents = [change(text) for change in (str, str.upper, str.title) for text in base]
    of = collection(["the moons of mars", "The Moons of MARS", "river", "capital"], documents)
    embedder = Embedder(model=str(models / "bge-small-en"))
    for depth in (5, 31, 40):
        bench = SearchContext(CPU, tmp_path, embedder=embedder, index=index, batch_size=7)
        found, _ = Dense().retrieve(of, depth, bench)
        np.testing.assert_array_equal(found.rows[0], found.rows[1])
        np.testing.assert_array_equal(found.scores[0], found.scores[1])
        for rows, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
            assert list(zip([-score for score in scores], rows, strict=True)) == sorted(
                zip([-score for score in scores], rows, strict=True)
            )
            for first, value in zip(rows, scores, strict=True):
                alike = [row for row in range(first % 290, len(documents), 290) if row in rows]
                assert {scores[rows.index(row)] for row in alike} == {value}
                assert alike == sorted(range(first % 290, len(documents), 290))[: len(alike)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 70), st.integers(1, 12), st.integers(0, 99))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_copies_are_put_back_beside_their_first(
    rows: int, blocks: int, depth: int, kinds: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed)
    pool = drawn.integers(-3, 4, (kinds, 5)).astype(np.float32)
    listed = pool[drawn.integers(0, kinds, rows)]
    vectors = Vectors(tuple(part for part in np.array_split(listed, blocks) if len(part)))
    expected = [int(np.flatnonzero((listed == vector).all(axis=1))[0]) for vector in listed]
    assert Copies.among(vectors.blocks).first.tolist() == expected
    queries = drawn.integers(-2, 3, (4, 5)).astype(np.float32)
    products = queries @ listed.T
    found, scores = search(Exact(vectors), queries, depth)
    some = min(rows, depth)
    order = np.lexsort((np.broadcast_to(np.arange(rows), products.shape), -products))[:, :some]
    np.testing.assert_array_equal(found[:, :some], order)
    np.testing.assert_array_equal(scores[:, :some], np.take_along_axis(products, order, 1))
    assert (found[:, some:] == -1).all()


@pytest.mark.parametrize("factory", ["IVF1,Flat", "HNSW32", "PQ1x4"])
def test_the_end_of_a_list_is_cut_between_ties_by_rows(factory: str) -> None:
    """Vectors that differ and score alike: FAISS's heaps keep any of them."""
    drawn = np.random.default_rng(1)
    listed = np.zeros((400, 8), np.float32)
    listed[:, 0] = np.repeat([1, 0.5], 200)
    listed[:, 1:] = drawn.normal(size=(400, 7)) / 10  # a query that looks at the first number only
    query = np.eye(1, 8, dtype=np.float32)
    vectors = Vectors((listed,))
    index = Index(factory, "efSearch=400" if factory.startswith("HNSW") else "").build(vectors, 0)
    every, scores = search(index, query, 400)
    for depth in (1, 7, 150, 250):
        np.testing.assert_array_equal(search(index, query, depth)[0], every[:, :depth])
    assert len(set(scores[0].tolist())) < 100


# --- whole runs ---

TIDE = ("The Tide follows the MOON.", "the tide follows the moon.")


def tide(folder: Path) -> list[str]:
    """Two documents that differ in case, the relevant one first in the run; others beside them."""
    others = [(f"o{n}", "", f"{SENTENCES[n % 12]} {'again ' * (n % 5)}{n}") for n in range(30)]
    documents = [("upper", "", TIDE[0]), ("lower", "", TIDE[1]), *others]
    beir(folder / "data", documents, [("q", "", "what does the tide follow")], [("q", "upper", 1)])
    ranked = ["upper", "lower", *(id_ for id_, _, _ in others)]
    lines = [f"q Q0 {id_} {rank} {100 - rank} first" for rank, id_ in enumerate(ranked, 1)]
    (folder / "run.trec").write_text("\n".join(lines) + "\n")
    return [
        "dataset=beir", f"dataset.path={folder / 'data'}", "first_stage=run", "tracking=none", "device=cpu",
        f"first_stage.path={folder / 'run.trec'}", "precision=fp32", "reranker=minilm",
    ]  # fmt: skip


def places(out: Path) -> list[int]:
    """Where the two documents stand in the reranked list, the one that came first first."""
    ranked = [line.split()[2] for line in (out / "reranked.trec").read_text().splitlines()]
    return [ranked.index(id_) for id_ in ("upper", "lower")]


def assert_tied_at_every_batch_size(folder: Path, *more: str) -> None:
    import pyarrow.parquet as pq

    words = tide(folder)
    for size in (1, 2, 3, 17, 512):
        out = folder / f"out{size}"
        cache_dir = f"cache_dir={folder / f'cache{size}'}"
        assert run(*words, *more, f"batch_size={size}", cache_dir, f"hydra.run.dir={out}") == 0
        table = pq.read_table(out / "scores.parquet").to_pylist()
        found = {row["doc_id"]: row["score"] for row in table}
        assert found["upper"] == found["lower"]
        first, second = places(out)
        assert second == first + 1


def test_texts_that_differ_in_case_tie_at_every_batch_size(models: Path, tmp_path: Path) -> None:
    assert_tied_at_every_batch_size(tmp_path, f"reranker.model={models / 'minilm'}")


@pytest.mark.network
def test_the_packaged_reranker_ranks_the_relevant_of_two_equal_documents_first(tmp_path: Path) -> None:
    import json

    words = tide(tmp_path)
    for size in (1, 3, 512):
        out, cache_dir = tmp_path / f"out{size}", tmp_path / "cache"
        words_now = [f"batch_size={size}", "reuse=false", f"cache_dir={cache_dir}", f"hydra.run.dir={out}"]
        assert run(*words, *words_now) == 0
        result = json.loads((out / "result.json").read_text())
        assert result["measures"]["reranked"]["mrr_at_10"] == 1.0
        assert result["pairs"]["scored"] == 31
