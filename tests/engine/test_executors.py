"""Executors: the same numbers to the last bit, whoever computes them, and whatever dies on the way."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mortal
import tiny_rerankers
from rerankbench.basics.errors import UserError
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.embedders import vectors as vectors_module
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.executors import crew
from rerankbench.engine.executors.executor import Executor
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.ray import INSTALL, Ray
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.references import Weights, resolve
from rerankbench.engine.run_context import RunContext
from rerankbench.rerankers.bi_encoder import BiEncoder
from rerankbench.rerankers.late_interaction import LateInteraction
from rerankbench.rerankers.m3 import M3
from rerankbench.rerankers.scoring import pair_scoring as scoring
from rerankbench.rerankers.scoring.pair_scoring import Work, distinct_pairs, score, score_store
from rerankbench.rerankers.scoring.text_scoring import score as score_any
from rerankbench.rerankers.scoring.vector_scoring import VectorWork
from rerankbench.rerankers.vector_reranker import VectorReranker
from tiny_embedders import tiny_bge_m3, tiny_pylate
from tiny_models import SENTENCES

# Ray clusters: minutes on two cores, and worse beside other tests. `make tests-ray` runs them.
pytestmark = pytest.mark.ray

PLACES = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
DOCUMENTS = {f"d{n}": f"{SENTENCES[n % len(SENTENCES)]} " * (1 + n % 4) + str(n) for n in range(60)}
QUERIES = {f"q{n}": f"{SENTENCES[n]}?" for n in range(8)}
TWO = Ray(workers="2", cpus_per_worker=1)
# Ray makes its workers nicer than everything else: on a busy machine they would hardly get to run.
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}

has_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed")
EXECUTORS = [pytest.param(Local(), id="local"), pytest.param(TWO, id="ray", marks=has_ray)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One Ray of two CPUs for all tests; its workers find the modules of this folder."""
    if not importlib.util.find_spec("ray"):
        yield
        return
    import ray

    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*PLACES, before.get("PYTHONPATH")]))
    os.environ.update(RAY)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    yield
    ray.shutdown()
    for name in ("PYTHONPATH", *RAY):
        os.environ.pop(name) if name not in before else os.environ.update({name: before[name]})


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 50 pairs and blocks of 16 texts, so that there are several."""
    monkeypatch.setattr(scoring, "SMALL_WINDOW", 50)
    monkeypatch.setattr(vectors_module, "BLOCK", 16)


def work_of(
    reranker: Any,
    cache: Path,
    weights: Weights | None = None,
    depth: int = 40,
    documents: Sequence[str] = (),
    **bench: Any,
) -> Work:
    """Some of `DOCUMENTS` for each query, or all of the given ones in their order."""
    listed = {f"d{n}": text for n, text in enumerate(documents)} or DOCUMENTS
    of = collection_of(listed, QUERIES, {query: {"d0": 1} for query in QUERIES})
    drawn = np.random.default_rng(0)
    rows = np.stack([drawn.permutation(len(DOCUMENTS))[:depth] for _ in QUERIES])
    rows = np.tile(np.arange(len(listed)), (len(QUERIES), 1)) if documents else rows
    weights = weights or resolve(reranker.model, None, cache)
    machine = RunContext(Hardware("cpu", "fp32"), cache, **{"batch_size": 16, **bench})
    layers = reranker.layers(weights)
    return Work(
        reranker,
        weights,
        layers,
        machine,
        of,
        distinct_pairs(of, rows),
        score_store(reranker, weights, machine),
    )


def mortal_work(folder: Path, cache: Path, pause: float = 0.0) -> Work:
    folder.mkdir(exist_ok=True)
    reranker = mortal.Mortal(model="mortal", orders=str(folder), pause=pause)
    work = work_of(reranker, cache, Weights(folder, "sha256:mortal", "mortal"))
    # where orders lie and how long it waits changes no score
    parts = {"family": "mortal"}
    return Work(work.reranker, work.origin, work.layers, work.context, work.collection, work.pairs,
                scoring.RowStore(cache / "scores" / "mortal", parts))  # fmt: skip


def undisturbed(tmp_path: Path) -> NDArray[np.float32]:
    return score(mortal_work(tmp_path / "calm", tmp_path / "other cache"), Local()).values


# --- what every executor does ---


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_pair_is_scored_once_and_its_cost_is_kept(executor: Executor, tmp_path: Path) -> None:
    work = mortal_work(tmp_path / "orders", tmp_path)
    scored = score(work, executor)
    np.testing.assert_array_equal(scored.values, undisturbed(tmp_path))
    assert scored.scored == len(work.pairs)
    assert scored.cost["pairs_per_second"] > 0
    assert 0 <= scored.cost["padding_share"] < 1
    assert not list((work.store.folder / "plans").glob("*.npy"))
    again = score(work, executor)
    assert (again.scored, again.cost) == (0, scored.cost)


@has_ray
def test_ray_gives_the_local_scores_to_the_last_bit(models: Path, tmp_path: Path) -> None:
    """Five layers, and documents cut into windows, some of which fall into different batches."""
    cut = {"long_documents": "max_passage", "max_length": 100, "window_overlap": 10}
    reranker = tiny_rerankers.settings("minicpm-layerwise", models, **cut)
    here, there = (
        score(work_of(reranker, tmp_path / executor.kind), executor) for executor in (Local(), TWO)
    )
    np.testing.assert_array_equal(here.values, there.values)
    assert here.values.shape == (len(QUERIES) * 40, len(tiny_rerankers.EVERY_LAYER))
    assert here.cost["padding_share"] == pytest.approx(there.cost["padding_share"])


@has_ray
def test_what_is_one_to_the_model_is_one_to_all_workers(models: Path, tmp_path: Path) -> None:
    """Copies in other windows, scored by other workers; then more of them, met by the other executor."""
    reranker = tiny_rerankers.settings("minilm", models)
    few, more = ([change(text) for change in changes for text in DOCUMENTS.values()]
                 for changes in ((str, str.upper), (str, str.upper, str.title)))  # fmt: skip
    values = {}
    for first, second in ((Local(), TWO), (TWO, Local())):
        for executor, documents in ((first, few), (second, more)):
            work = work_of(reranker, tmp_path / first.kind, executor=executor, documents=documents)
            scored = score(work, executor)
            spread = work.pairs.spread(scored.values)[:, :, 0].reshape(len(QUERIES), -1, len(DOCUMENTS))
            np.testing.assert_array_equal(spread, np.broadcast_to(spread[:, :1], spread.shape))
            values[first.kind, executor.kind] = spread[:, 0]
            assert scored.scored == (len(QUERIES) * len(DOCUMENTS) if documents is few else 0)
    for one in values.values():
        np.testing.assert_array_equal(one, values["local", "local"])


@has_ray
def test_ray_gives_the_local_vectors_to_the_last_bit(models: Path, tmp_path: Path) -> None:
    texts = [*DOCUMENTS.values(), *DOCUMENTS.values()][:70]

    def embedded(executor: Executor, cache: str, reuse: bool = True) -> Embedding:
        settings = Embedder(model=str(models / "bge-small-en"))
        bench = RunContext(Hardware("cpu", "fp32"), tmp_path / cache, batch_size=4)
        return Embedding(settings, bench.hardware, bench.cache_dir, bench.budget(), reuse, executor)

    def of(rows: NDArray[np.int64]) -> list[str]:
        return [texts[row] for row in rows]

    here, there = embedded(Local(), "here"), embedded(TWO, "there")
    expected = here.passages(of, len(texts)).array()
    np.testing.assert_array_equal(there.passages(of, len(texts)).array(), expected)
    assert there.meter.sequences == here.meter.sequences
    again = embedded(TWO, "here")  # finds what the other wrote
    np.testing.assert_array_equal(again.passages(of, len(texts)).array(), expected)
    assert again.meter.sequences == 0
    min((tmp_path / "here" / "vectors").glob("*/*.npy")).write_bytes(b"damaged")
    mended = embedded(TWO, "here")
    np.testing.assert_array_equal(mended.passages(of, len(texts)).array(), expected)
    assert 0 < mended.meter.sequences <= 16
    anew = embedded(TWO, "here", reuse=False)
    np.testing.assert_array_equal(anew.passages(of, 16).array(), expected[:16])
    assert anew.meter.sequences == 16


# --- interruptions ---


def test_an_interrupted_run_goes_on_in_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of scores that depend on their batch, all are as if nothing had happened; few are computed twice."""
    work = mortal_work(tmp_path / "orders", tmp_path)
    forward, calls = work.model.forward, []

    def some_times(inputs: Any) -> Any:
        calls.append(len(inputs["ids"]))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(inputs)

    monkeypatch.setattr(work.model, "forward", some_times)
    with pytest.raises(KeyboardInterrupt):
        score(work, Local())
    kept = len(work.pairs) - len(work.unscored(work.missing()))
    assert kept == sum(calls[:5])
    rest = score(mortal_work(tmp_path / "orders", tmp_path), Local())
    assert rest.scored == len(work.pairs) - kept
    np.testing.assert_array_equal(rest.values, undisturbed(tmp_path))


@has_ray
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    work = mortal_work(tmp_path / "orders", tmp_path)
    (tmp_path / "orders" / "kill").write_text("xx")
    scored = score(work, TWO)
    assert (tmp_path / "orders" / "kill").read_text() == ""
    assert "trying again" in caplog.text
    np.testing.assert_array_equal(scored.values, undisturbed(tmp_path))


@has_ray
def test_a_task_that_keeps_failing_is_reported_with_its_cause(tmp_path: Path) -> None:
    work = mortal_work(tmp_path / "orders", tmp_path)
    (tmp_path / "orders" / "fail").write_text("x" * 100)
    with pytest.raises(RuntimeError, match=r"pairs \d+ to \d+ failed 3 times(?s:.)*told to fail"):
        score(work, TWO)
    (tmp_path / "orders" / "fail").write_text("x")  # once is no reason to give up
    np.testing.assert_array_equal(score(work, TWO).values, undisturbed(tmp_path))


@has_ray
def test_a_window_that_kills_every_worker_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "ATTEMPTS", 2)
    work = mortal_work(tmp_path / "orders", tmp_path)
    (tmp_path / "orders" / "kill").write_text("x" * 100)
    with pytest.raises(RuntimeError, match=r"pairs \d+ to \d+ failed 2 times"):
        score(work, Ray(workers="1", cpus_per_worker=1))


@has_ray
def test_a_users_mistake_in_a_worker_is_one_line(tmp_path: Path) -> None:
    work = mortal_work(tmp_path / "orders", tmp_path)
    (tmp_path / "orders" / "refuse").write_text("x")
    with pytest.raises(UserError) as caught:
        score(work, TWO)
    assert caught.value.problems == ["told to refuse: give it another task"]


@has_ray
def test_a_task_that_hangs_is_given_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "ATTEMPTS", 2)
    work = mortal_work(tmp_path / "orders", tmp_path, pause=60)
    with pytest.raises(RuntimeError, match=r"failed 2 times(?s:.)*executor.task_seconds=1"):
        score(work, Ray(workers="1", cpus_per_worker=1, task_seconds=1))


DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
import test_executors as t
from rerankbench.rerankers.scoring import pair_scoring as scoring
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.ray import Ray
scoring.SMALL_WINDOW = 50
import rerankbench.engine.loop
rerankbench.engine.loop.FLUSH_SECONDS = 0.0
work = t.mortal_work(Path({orders!r}), Path({cache!r}), pause=0.3)
scoring.score(work, {executor})
"""


@has_ray
@pytest.mark.parametrize(
    ("first", "second"), [("Local()", TWO), ('Ray(workers="1", cpus_per_worker=1)', Local())]
)
def test_a_killed_driver_is_continued_by_the_other_executor(
    first: str, second: Executor, tmp_path: Path
) -> None:
    script = DRIVER.format(tests=PLACES, orders=str(tmp_path / "orders"), cache=str(tmp_path), executor=first)
    kill_when_written(script, tmp_path / "scores" / "mortal", "*.shard")
    work = mortal_work(tmp_path / "orders", tmp_path)
    left = len(work.unscored(work.missing()))
    assert 0 < left < len(work.pairs)
    np.testing.assert_array_equal(score(work, second).values, undisturbed(tmp_path))


def kill_when_written(script: str, folder: Path, pattern: str) -> None:
    """Run a driver, and end it by SIGKILL as soon as there is something of its work."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | RAY
    driver = subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not list(folder.glob(pattern)) and time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.01)
        assert driver.poll() is None
        assert list(folder.glob(pattern))
    finally:
        driver.kill()
        driver.wait()


def numbered(copies: int) -> list[str]:
    """Different texts: 60 in every copy."""
    return [f"{text} {n}" for n in range(copies) for text in DOCUMENTS.values()]


MANY_TEXTS = numbered(20)  # 75 blocks of 16
EMBEDDING_DRIVER = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
import test_executors as t
from rerankbench.engine.embedders import embedder, vectors
from rerankbench.engine.embedders import embedding
from rerankbench.engine import loop
from rerankbench.engine.executors.local import Local
from rerankbench.engine.executors.ray import Ray
vectors.BLOCK, loop.FLUSH_SECONDS = 16, 0.0
forward = embedder.EmbedderModel.forward
embedder.EmbedderModel.forward = lambda self, inputs: time.sleep(0.1) or forward(self, inputs)
t.many_vectors(Path({models!r}), Path({cache!r}), {executor})
"""


def many_vectors(
    models: Path, cache: Path, executor: Executor, texts: Sequence[str] = MANY_TEXTS
) -> tuple[NDArray[np.float32], int]:
    """Vectors of texts, and how many of them were computed now."""
    settings = Embedder(model=str(models / "bge-small-en"))
    bench = RunContext(Hardware("cpu", "fp32"), cache, batch_size=4)
    work = Embedding(settings, bench.hardware, bench.cache_dir, bench.budget(), True, executor)
    found = work.passages(lambda rows: [texts[row] for row in rows], len(texts)).array()
    return found, work.meter.sequences


@has_ray
@pytest.mark.parametrize(
    ("first", "second", "written"),
    [
        ("Local()", TWO, "*/*.part/*.shard"),  # in the middle of a block
        ('Ray(workers="1", cpus_per_worker=1)', Local(), "*/*.npy"),
    ],
)
def test_embedding_of_a_killed_driver_is_continued_by_the_other_executor(
    first: str, second: Executor, written: str, models: Path, tmp_path: Path
) -> None:
    script = EMBEDDING_DRIVER.format(
        tests=PLACES, models=str(models), cache=str(tmp_path / "killed"), executor=first
    )
    kill_when_written(script, tmp_path / "killed" / "vectors", written)
    expected, everything = many_vectors(models, tmp_path / "calm", Local())
    found, computed = many_vectors(models, tmp_path / "killed", second)
    assert 0 < computed < everything
    np.testing.assert_array_equal(found, expected)


# --- settings ---


def test_without_ray_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Ray().problems() == [INSTALL]
    assert "pip install 'rerankbench[ray]'" in INSTALL
    with pytest.raises(UserError, match="pip install"):
        Ray().connect()


@has_ray
def test_impossible_settings_are_one_line_each() -> None:
    wrong = Ray(address="somewhere", workers="0", cpus_per_worker=0, gpus_per_worker=-1, task_seconds=0)
    found = wrong.problems()
    for name in (
        "address=somewhere",
        "workers=0",
        "cpus_per_worker=0",
        "gpus_per_worker=-1",
        "task_seconds=0",
    ):
        assert sum(name in line for line in found) == 1
    assert Ray(address="10.0.0.1:6379", workers="8", gpus_per_worker=0.5).problems() == []


def test_workers_are_as_many_as_each_machine_has_room_for() -> None:
    nodes = [{"CPU": 6.0}, {"CPU": 3.0}]
    assert Ray(cpus_per_worker=2).count(nodes, 2.0, 0.0) == 4
    assert Ray().cpus(nodes) == 4.0
    assert Ray(workers="9").cpus(nodes) == 1.0
    assert Ray(workers="9").count(nodes, 1.0, 0.0) == 9
    assert Ray().cpus([{"CPU": 2.0}]) == 2.0
    gpus = [{"CPU": 32.0, "GPU": 8.0}, {"CPU": 8.0}]
    assert Ray().count(gpus, 4.0, 1.0) == 8
    assert Ray().count(gpus, 1.0, 0.5) == 16
    with pytest.raises(UserError, match=r"executor.workers=10(?s:.)*room for 9 workers"):
        Ray(workers="10").count(nodes, 1.0, 0.0)
    with pytest.raises(UserError, match="room for 0 workers"):
        Ray().count([{"CPU": 2.0}], 1.0, 1.0)


# --- rerankers that compare vectors ---


@has_ray
@pytest.mark.parametrize("kind", ["bi-encoder", "m3", "late-interaction"])
def test_workers_embed_for_rerankers_and_only_they_load_the_model(
    kind: str, models: Path, tmp_path: Path
) -> None:
    made: dict[str, Callable[[], VectorReranker]] = {
        "bi-encoder": lambda: BiEncoder(model=str(models / "bge-small-en")),
        "m3": lambda: M3(model=str(tiny_bge_m3(tmp_path / "model"))),
        "late-interaction": lambda: LateInteraction(model=str(tiny_pylate(tmp_path / "model"))),
    }
    settings, of = made[kind](), collection_of(DOCUMENTS, QUERIES, {query: {"d0": 1} for query in QUERIES})
    rows = np.tile(np.arange(len(DOCUMENTS)), (len(QUERIES), 1))
    every, counts = [], set()
    for name, executor in (("here", Local()), ("there", TWO)):
        bench = RunContext(Hardware("cpu", "fp32"), tmp_path / name, executor=executor)
        reranker, weights = settings.resolved(bench.cache_dir)
        pairs, store = distinct_pairs(of, rows), score_store(reranker, weights, bench)
        work = VectorWork(reranker, weights, (0,), bench, of, pairs, store)
        every.append(score_any(work, executor).values)
        counts.add(work.embedding.meter.sequences)
        assert ("model" not in vars(work.embedding)) == (executor is TWO)
    np.testing.assert_array_equal(*every)
    assert len(counts) == 1
    assert len(QUERIES) < counts.pop() <= len(DOCUMENTS) + len(QUERIES)
