"""What holds for every reranker, whichever its family: one tiny instance of each is put to it.

Parity with other implementations is tested family by family, beside this file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collections_on_disk import beir
from commands import run
from family_instances import CPU, INSTANCES, NOTHING_SCORED, OTHER_VALUES, scores
from numbered_texts import collection
from rerankbench.engine.executors.local import Local
from rerankbench.engine.run_context import RunContext
from rerankbench.engine.store.rows import identity
from rerankbench.experiment.groups import GROUPS, own_kinds
from rerankbench.experiment.pipeline import kind_of_work
from rerankbench.rerankers.reranker import LocalReranker, PairModel, Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.pair_scoring import distinct_pairs, score_store
from rerankbench.rerankers.scoring.text_scoring import released, score
from rerankbench.rerankers.vector_reranker import VectorReranker

LONG = "Mars has two small moons, Phobos and Deimos, discovered in 1877. "
QUERIES = ["what is the capital of France?", "", "法国的首都是哪里？", "Mars? " * 60]
DOCUMENTS = [
    "Paris is the capital.", LONG * 20, "北京是中国的首都", "", "two\n\nlines ", "ŵ 🙂 ᚠ", LONG * 20 + "end",
]  # fmt: skip
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
EVERY = sorted(INSTANCES)

Ready = tuple[Reranker, Any, PairModel | Scorer]


@pytest.fixture(scope="module")
def ready(models: Path, hashes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ready]:
    """By family: settings, origin and what they load, as a run gets it."""
    place = tmp_path_factory.mktemp("instances")

    @cache
    def get(family: str) -> Ready:
        reranker = INSTANCES[family].build(models, place)
        assert reranker.problems() == []
        usable, origin = reranker.resolved(hashes)
        usable.rehearse(origin, CPU)
        return usable, origin, usable.load(origin, CPU)

    return get


def test_every_family_has_an_instance() -> None:
    assert set(own_kinds(GROUPS["reranker"])) == {*INSTANCES, *NOTHING_SCORED}


@pytest.mark.parametrize("family", EVERY)
def test_texts_of_all_kinds_have_finite_scores_at_every_layer(
    family: str, ready: Callable[[str], Ready]
) -> None:
    reranker, origin, loaded = ready(family)
    found = scores(loaded, PAIRS)
    assert found.dtype == np.float32
    assert found.shape == (len(PAIRS), len(reranker.layers(origin)))
    assert tuple(loaded.layers) == reranker.layers(origin)
    assert np.isfinite(found).all()
    assert (found.std(axis=0) > 1e-3).all()
    assert scores(loaded, []).shape == (0, found.shape[1])


@pytest.mark.parametrize("family", EVERY)
def test_a_score_is_of_its_pair_alone(family: str, ready: Callable[[str], Ready]) -> None:
    """Whatever else is scored with it, in which order, in how many batches and beside how many others."""
    loaded, order = ready(family)[2], np.random.default_rng(0).permutation(len(PAIRS))
    alone = np.concatenate([scores(loaded, [pair]) for pair in PAIRS])
    slack = 0 if INSTANCES[family].exact else 1e-5
    for size, streams in ((512, 1), (3, 1), (3, 4)):
        together = scores(loaded, [PAIRS[i] for i in order], size, streams)
        np.testing.assert_allclose(together, alone[order], rtol=0, atol=slack)


@pytest.mark.parametrize("family", EVERY)
def test_what_is_cut_off_changes_nothing(family: str, ready: Callable[[str], Ready]) -> None:
    if INSTANCES[family].tokens is None:
        pytest.skip("reads whole texts")
    found = scores(ready(family)[2], PAIRS)
    long, longer = (DOCUMENTS.index(text) for text in (LONG * 20, LONG * 20 + "end"))
    np.testing.assert_array_equal(found[long :: len(DOCUMENTS)], found[longer :: len(DOCUMENTS)])


def work_of(found: Ready, cache_dir: Path, queries: list[str], documents: list[str], **bench: Any) -> Any:
    """Every query with every document, to be scored as runs do; the model is at hand."""
    reranker, origin, loaded = found
    of, machine = collection(queries, documents), RunContext(CPU, cache_dir, **bench)
    pairs = distinct_pairs(of, np.tile(np.arange(len(documents)), (len(queries), 1)))
    store = score_store(reranker, origin, machine)
    kind: Any = kind_of_work(reranker)
    work = kind(reranker, origin, loaded.layers, machine, of, pairs, store)
    vars(work)["loaded"] = (loaded, 0.0)
    return work


@pytest.mark.parametrize("family", EVERY)
def test_what_is_the_same_to_the_model_has_the_same_bits_and_is_scored_once(
    family: str, ready: Callable[[str], Ready], tmp_path: Path
) -> None:
    """Texts that share all that fits tie, in any cut of the work; a second run computes nothing."""
    texts = [*DOCUMENTS, DOCUMENTS[0]]
    for number, bench in enumerate([{"batch_size": 2}, {"batch_tokens": 90}, {}]):
        queries = QUERIES[:: 1 - 2 * (number % 2)]
        work = work_of(ready(family), tmp_path / str(number), queries, texts, **bench)
        spread = work.pairs.spread(score(work, Local()).values)
        np.testing.assert_array_equal(spread[:, 0], spread[:, -1])  # the same text under another id
        if INSTANCES[family].tokens is not None:
            np.testing.assert_array_equal(spread[:, texts.index(LONG * 20)], spread[:, -2])
        again = work_of(ready(family), tmp_path / str(number), queries[::-1], texts[::-1])
        vars(again)["loaded"] = None  # nothing may be asked of it
        assert not len(again.missing())
        expected = {key: row.tobytes() for key, row in zip(work.pairs.keys, stored(work), strict=True)}
        for key, row in zip(again.pairs.keys, stored(again), strict=True):
            assert row.tobytes() == expected[key]


def stored(work: Any) -> Any:
    return work.store.lookup(work.pairs.keys, work.layers)[0]


def name_of(reranker: Reranker, origin: Any) -> str:
    return identity(reranker.identity(origin, "fp32"))


@pytest.mark.parametrize("family", EVERY)
def test_identity_changes_exactly_for_what_changes_a_score(
    family: str, ready: Callable[[str], Ready]
) -> None:
    plain, origin, _ = ready(family)
    for field in dataclasses.fields(plain):
        if field.name == "adapter":
            continue  # test_adapters: its files are read for its identity
        other, changes = (OTHER_VALUES | INSTANCES[family].others)[field.name]
        changed = dataclasses.replace(plain, **{field.name: other})
        assert getattr(plain, field.name) != other, field.name
        assert (name_of(changed, origin) != name_of(plain, origin)) is changes, field.name
        if changes:
            assert field.name not in plain.FREE, field.name


def test_families_and_origins_are_told_apart(ready: Callable[[str], Ready]) -> None:
    names = [name_of(*ready(family)[:2]) for family in EVERY]
    assert len(set(names)) == len(names)
    for family in EVERY:
        plain, origin, _ = ready(family)
        moved = dataclasses.replace(origin, identity="sha256:other")
        assert name_of(plain, moved) != name_of(plain, origin)


@pytest.mark.parametrize("family", [family for family in EVERY if INSTANCES[family].refused])
def test_a_model_of_another_family_is_refused_with_the_option_that_fits(
    family: str, models: Path, tmp_path: Path
) -> None:
    refused = INSTANCES[family].refused
    assert refused is not None
    reranker, words = refused(models, tmp_path)
    (line,) = reranker.problems()  # asks nobody and reads no weights
    assert words in line
    assert "\n" not in line


class Failing(Scorer):
    """Gives up at the second batch."""

    batch = 2

    def __init__(self) -> None:
        self.calls, self.closed = 0, 0

    def score(self, queries: Any, documents: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return np.zeros((len(queries), 1), np.float32)

    def close(self) -> None:
        self.closed += 1


def test_what_was_loaded_is_closed_after_a_failure_too(ready: Callable[[str], Ready], tmp_path: Path) -> None:
    reranker, origin, _ = ready("function")
    failing = Failing()
    work = work_of((reranker, origin, failing), tmp_path, QUERIES, DOCUMENTS)
    with pytest.raises(KeyboardInterrupt), released(work):
        score(work, Local())
    assert failing.closed == 1


def test_a_sweep_over_every_local_family_is_one_command(
    ready: Callable[[str], Ready], tmp_path: Path
) -> None:
    """Tiny models of all families in one `-m`, each an arm with scores of its own."""
    names = []
    for family in EVERY:
        reranker = ready(family)[0]
        if isinstance(reranker, LocalReranker | VectorReranker):
            keys = {"model": reranker.model, "max_length": reranker.max_length}
            keys |= {"file": reranker.file} if family == "onnx" else {}  # type: ignore[attr-defined]
            own = tmp_path / "own" / "reranker" / f"tiny-{family}.yaml"
            own.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
            own.write_text(f"# tiny\ndefaults: [/schema/reranker/{family}@_here_, _self_]\n{text}")
            names.append(f"tiny-{family}")
    words = [
        "dataset=beir", f"dataset.path={beir(tmp_path / 'data')}", "first_stage=bm25", "device=cpu",
        "precision=fp32", "candidates=4", "cutoffs=[1,2]", "report.measure=ndcg_at_2", "tracking=none",
        "report.race.seconds=0", f"cache_dir={tmp_path / 'cache'}", f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]  # fmt: skip
    sweep = f"reranker=none,{','.join(names)}"
    assert run("--config-dir", str(tmp_path / "own"), "-m", *words, sweep) == 0
    results = [json.loads(file.read_text()) for file in sorted((tmp_path / "sweep").rglob("result.json"))]
    assert len(results) == 1 + len(names)
    assert len(list((tmp_path / "cache" / "scores").iterdir())) == len(names)
