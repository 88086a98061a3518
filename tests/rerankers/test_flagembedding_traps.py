"""Where FlagEmbedding 1.4.2, or its evaluation module, gives wrong answers without a word: ours does not.

Each test is named after the trap. It shows the peer's behaviour where that is cheap, so that a later version
that behaves will show too, and then ours.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

import rerankbench
import tiny_rerankers
from flagembedding_oracle import load as load_peer
from flagembedding_oracle import oracle_scores, quiet
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.commands.hydra import config, preflight
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.executors.local import Local
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models.references import resolve
from rerankbench.evaluation import evaluation, measures, ranking
from rerankbench.first_stages.dense import Dense
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scoring import pair_scoring as scoring
from tiny_models import ALL, FAMILIES, tiny_encoder
from tiny_rerankers import EVERY_LAYER, PROMPTED, load, scores, settings, window_of

QUERIES = ("What is the capital of France?", "how many moons does Mars have", "法国的首都是哪里？")
DOCUMENTS = (
    "Paris is the capital and largest city of France.",
    "Mars has two small moons, Phobos and Deimos, discovered in 1877.",
    "北京是中国的首都。",
    "",
)
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def peer_scores(peer: Any, pairs: list[tuple[str, str]] = PAIRS, **options: Any) -> NDArray[np.float32]:
    with quiet():
        return np.array(peer.compute_score(pairs, batch_size=8, **options), np.float32)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


# --- silent wrong answers ---


def test_1_lightweight_heads_are_taken_by_their_place_in_the_list(models: Path, hashes: Path) -> None:
    peer = load_peer("lightweight", models / "lightweight")
    alone, second = peer_scores(peer, cutoff_layers=[3]), peer_scores(peer, cutoff_layers=[2, 3])[1]
    assert difference(alone, second) > 0.1
    for layers in ([3], [2, 3], [3, 5, 6]):
        model = load(settings("lightweight", models, cutoff_layers=layers), hashes)
        assert difference(scores(model, PAIRS)[:, layers.index(3)], alone) < 1e-4
    one, other = (settings("lightweight", models, head=head) for head in ("first", "by_layer"))
    weights = resolve(one.model, None, hashes)
    assert one.identity(weights, "fp32") != other.identity(weights, "fp32")


def test_2_sdpa_ignores_the_softcap_of_gemma_2(models: Path, hashes: Path) -> None:
    peer = load_peer("lightweight", models / "lightweight")
    eager = peer_scores(peer, cutoff_layers=[6])
    peer.model.set_attn_implementation("sdpa")
    assert difference(peer_scores(peer, cutoff_layers=[6]), eager) > 0.1
    plain = settings("lightweight", models, cutoff_layers=[6])
    assert plain.attention == "eager"
    assert difference(scores(load(plain, hashes), PAIRS)[:, 0], eager) < 1e-4
    weights = resolve(plain.model, None, hashes)
    asked = dataclasses.replace(plain, attention="sdpa")
    assert asked.identity(weights, "fp32") != plain.identity(weights, "fp32")


def test_3_layers_out_of_order_get_the_wrong_heads_and_unknown_ones_vanish(
    models: Path, hashes: Path
) -> None:
    peer = load_peer("layerwise", models / "minicpm-layerwise")
    two, four = peer_scores(peer, cutoff_layers=[2, 4])
    assert difference(peer_scores(peer, cutoff_layers=[4, 2])[0], four) > 0.01
    assert peer_scores(peer, cutoff_layers=[4, 99]).shape == (len(PAIRS),)  # one column, no word about 99
    model = load(settings("minicpm-layerwise", models, cutoff_layers=[4, 2]), hashes)
    assert model.layers == (2, 4)
    assert difference(scores(model, PAIRS), np.stack([two, four], axis=1)) < 1e-4
    for asked in ([4, 4], [4, 99]):
        assert len(settings("minicpm-layerwise", models, cutoff_layers=asked).problems()) == 1


def work_of(
    reranker: Reranker, cache: Path, depth: int = 4, precision: Any = "fp32", **options: Any
) -> scoring.Work:
    """All queries with their first `depth` documents."""
    of = collection_of(
        {f"d{row}": text for row, text in enumerate(DOCUMENTS)},
        {f"q{row}": text for row, text in enumerate(QUERIES)},
        {f"q{row}": {"d0": 1} for row in range(len(QUERIES))},
    )
    weights = resolve(reranker.model, None, cache)
    bench = SearchContext(Hardware("cpu", precision), cache, **options)
    pairs = scoring.distinct_pairs(of, np.tile(np.arange(depth), (len(QUERIES), 1)))
    layers = reranker.layers(weights)
    return scoring.Work(
        reranker, weights, layers, bench, of, pairs, scoring.score_store(reranker, weights, bench)
    )


def test_4_a_worker_that_raises_leaves_the_parent_waiting(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's parent waits for ever, and mixes up layers of several devices. Ours gets the error."""
    work = work_of(settings("minicpm-layerwise", models), tmp_path)
    assert scoring.score(work, Local()).values.shape == (len(PAIRS), len(EVERY_LAYER))
    broken = work_of(settings("minilm", models), tmp_path)
    monkeypatch.setattr(broken.model, "tokenize", lambda *_: 1 / 0)  # in the thread that prepares
    with pytest.raises(ZeroDivisionError):
        scoring.score(broken, Local())


def test_5_any_error_is_taken_for_out_of_memory(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = load_peer("encoder", models / "minilm")
    peer.tokenizer.padding_side = "right"

    def fail(*args: Any, **inputs: Any) -> Any:
        raise RuntimeError("the true error")

    monkeypatch.setattr(peer.model, "forward", fail)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever an empty batch leads to)
        peer_scores(peer)
    assert "the true error" not in str(caught.value)
    work = work_of(settings("minilm", models), tmp_path)
    monkeypatch.setattr(work.model, "forward", fail)
    with pytest.raises(RuntimeError, match="the true error"):
        scoring.score(work, Local())


def test_5_out_of_memory_after_the_first_batch(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def third_fails(forward: Any) -> Any:
        calls: list[int] = []

        def counted(*args: Any, **inputs: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(*args, **inputs)

        return counted

    peer = load_peer("encoder", models / "minilm")
    monkeypatch.setattr(peer.model, "forward", third_fails(peer.model.forward))
    with pytest.raises(torch.OutOfMemoryError):
        peer_scores(peer)
    work = work_of(settings("minilm", models), tmp_path, batch_size=4)
    monkeypatch.setattr(work.model, "forward", third_fails(work.model.forward))
    expected = oracle_scores("encoder", models / "minilm", PAIRS)
    np.testing.assert_allclose(scoring.score(work, Local()).values, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["base", "minilm"])
def test_6_a_long_query_makes_sequences_longer_than_max_length(name: str, models: Path, hashes: Path) -> None:
    """The peer cuts only documents: a query of max_length tokens puts the special tokens on top."""
    pairs = [("Mars " * 600, "Paris"), ("Mars " * 600, "")]
    peer = load_peer("encoder", models / name)
    widths: list[int] = []
    peer.model.register_forward_pre_hook(
        lambda _, args, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    peer_scores(peer, pairs, max_length=40, query_max_length=40)
    assert max(widths) > 40
    model = load(settings(name, models, max_length=40, query_max_length=39), hashes)
    assert window_of(model, pairs).collate(np.arange(2))["input_ids"].shape == (2, 40)
    full = load(settings(name, models, query_max_length=511), hashes)
    assert np.isfinite(scores(full, pairs)).all()  # 514 positions would not exist


def test_6_no_pairs_and_no_text(models: Path, tmp_path: Path) -> None:
    peer = load_peer("encoder", models / "minilm")
    with pytest.raises(IndexError):
        peer.compute_score([])
    work = work_of(settings("minilm", models), tmp_path, depth=0)
    assert scoring.score(work, Local()).values.shape == (0, 1)
    for name in ALL:
        empty = scores(load(settings(name, models), tmp_path), [("", ""), ("a", ""), ("", "a")])
        assert np.isfinite(empty).all()
        expected = oracle_scores(FAMILIES[name], models / name, [("", ""), ("a", ""), ("", "a")])
        np.testing.assert_allclose(empty[:, -1:], expected, atol=1e-4)


def test_7_pooling_is_cls_unless_told(models: Path) -> None:
    """The peer pools all-MiniLM by its first token. Ours says mean, and its length, in its own config."""
    folder = conf_folder() / "embedder"
    options = {file.stem: yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}
    assert (options["minilm"]["pooling"], options["minilm"]["max_length"]) == ("mean", 256)
    for name in ("bge-small-en", "bge-base-en", "bge-large-en", "bge-m3"):
        assert options[name].get("pooling", Embedder().pooling) == "cls"
    weights = resolve(str(models / "bge-small-en"), None, models)
    parts = [Embedder(pooling=pooling).identity(weights, "fp32") for pooling in ("cls", "mean")]
    assert parts[0] != parts[1]


@pytest.mark.parametrize("name", ["minilm", "gemma"])
def test_8_half_precision_depends_on_the_batch(name: str, models: Path, tmp_path: Path) -> None:
    """It does for us too, within a bound; a stored score stays, and is never taken for one of fp32."""
    model = load(settings(name, models), tmp_path, "bf16")
    together, alone = scores(model, PAIRS), scores(model, PAIRS, sequences=1)
    assert difference(together, alone) < 0.1 * together.std()
    half = scoring.score(work_of(settings(name, models), tmp_path, precision="bf16"), Local())
    again = scoring.score(work_of(settings(name, models), tmp_path, precision="bf16", batch_size=1), Local())
    full = scoring.score(work_of(settings(name, models), tmp_path), Local())
    assert (half.scored, again.scored, full.scored) == (len(PAIRS), 0, len(PAIRS))
    np.testing.assert_array_equal(again.values, half.values)
    np.testing.assert_allclose(full.values, oracle_scores(FAMILIES[name], models / name, PAIRS), atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_9_precision_is_switched_without_being_asked(name: str, models: Path, hashes: Path) -> None:
    if name == "minicpm-layerwise":
        assert load_peer("layerwise", models / name).use_fp16 is True  # loaded with use_fp16=False
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        model: Any = load(settings(name, models), hashes, precision)  # type: ignore[arg-type]
        assert {weight.dtype for weight in model.model.parameters()} == {dtype}


def test_10_unknown_options_are_taken_without_a_word(models: Path) -> None:
    from FlagEmbedding import FlagReranker

    with quiet():
        peer = FlagReranker(str(models / "minilm"), devices="cpu", max_lenght=17)
    assert (peer.max_lenght, peer.max_length) == (17, 512)
    for kind in tiny_rerankers.CLASSES.values():
        with pytest.raises(TypeError, match="max_lenght"):
            kind(model="BAAI/one", max_lenght=17)
    config.register_schemas()
    with pytest.raises(UserError, match="max_lenght"):
        preflight.check(["reranker.max_lenght=17", "tracking=none"])


# --- its evaluation module ---


def test_evaluation_results_are_keyed_by_basenames(models: Path, tmp_path: Path) -> None:
    """Depth, max_length, precision or weights change: the peer returns the old file."""
    from FlagEmbedding.abc.evaluation.searcher import EvalReranker

    for number in (1, 2):
        tiny_encoder(tmp_path / f"run {number}" / "model", seed=number)
    one, two = (tmp_path / f"run {number}" / "model" for number in (1, 2))
    names = {
        str(EvalReranker(load_peer("encoder", folder), rerank_top_k=depth))
        for folder, depth in ((one, 5), (two, 9))
    }
    assert names == {"model"}
    first = dataclasses.replace(settings("minilm", models), model=str(one))
    cache, base = tmp_path / "cache", scoring.score(work_of(first, tmp_path / "cache"), Local())
    cut = dataclasses.replace(first, max_length=9)  # to which the documents of a query are one sequence
    for changed, distinct in ((dataclasses.replace(first, model=str(two)), len(PAIRS)), (cut, len(QUERIES))):
        found = scoring.score(work_of(changed, cache), Local())
        assert found.scored == distinct
        assert difference(found.values, base.values) > 0.01
    assert scoring.score(work_of(first, cache, precision="bf16"), Local()).scored == len(PAIRS)
    assert scoring.score(work_of(first, cache, depth=2), Local()).values.shape == (len(QUERIES) * 2, 1)


def test_evaluation_again_embeds_the_corpus_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's only way to a new depth is --overwrite, which embeds too. Ours asks for what is missing."""
    from rerankbench.engine.embedders.embedder import EmbedderModel

    work = work_of(settings("minilm", models), tmp_path)
    embedder = Embedder(model=str(models / "bge-small-en"))
    bench = dataclasses.replace(work.context, embedder=embedder)
    Dense().retrieve(work.collection, 2, bench)
    monkeypatch.setattr(EmbedderModel, "forward", lambda *_: pytest.fail("embedded again"))
    assert Dense().retrieve(work.collection, 4, bench)[0].rows.shape == (len(QUERIES), 4)


class FakePeer:
    """What EvalReranker needs of a reranker: a score for each pair, best for the last."""

    def __init__(self, columns: int = 1) -> None:
        self.columns = columns

    def compute_score(self, pairs: list[Any]) -> list[Any]:
        column = [float(number) for number in range(len(pairs))]
        return column if self.columns == 1 else [column] * self.columns


CORPUS = {f"d{number}": {"text": f"text {number}"} for number in range(6)}
RESULTS = {"q": {f"d{number}": 6.0 - number for number in range(6)}}


def test_evaluation_drops_the_list_below_the_rerank_depth() -> None:
    from FlagEmbedding.abc.evaluation.searcher import EvalReranker

    kept = EvalReranker(FakePeer(), rerank_top_k=2)(CORPUS, {"q": "?"}, {"q": dict(RESULTS["q"])})
    assert set(kept["q"]) == {"d0", "d1"}
    assert ranking.rerank(np.arange(6, dtype=np.float32)[None], 2).tolist() == [[1, 0, 2, 3, 4, 5]]


def test_evaluation_crashes_on_two_layers_after_all_the_compute() -> None:
    from FlagEmbedding.abc.evaluation.searcher import EvalReranker

    with pytest.raises(TypeError):
        EvalReranker(FakePeer(columns=2))(CORPUS, {"q": "?"}, {"q": dict(RESULTS["q"])})
    found = evaluated({"q": {"d1": 1}}, np.dstack([np.arange(6.0), -np.arange(6.0)]), layers=(2, 4))
    assert found.one("reranked", 6, 2).mean()["mrr_at_10"] == 1 / 5
    assert found.one("reranked", 6, 4).mean()["mrr_at_10"] == 1 / 2


def evaluated(
    grades: dict[str, dict[str, int]], values: NDArray[Any], layers: tuple[int, ...] = (0,), found: int = 6
) -> evaluation.Evaluation:
    """Six documents in order of their rows for every query, `found` of them for the last."""
    of = collection_of(
        {name: part["text"] for name, part in CORPUS.items()}, {q: f"{q}?" for q in grades}, grades
    )
    rows = np.tile(np.arange(6), (len(grades), 1))
    rows[-1, found:] = -1
    first = np.where(rows < 0, -np.inf, -rows).astype(np.float32)
    shape = (len(grades), 6, len(layers))
    return evaluation.evaluate(
        of, Candidates(rows, first), np.broadcast_to(values, shape).astype(np.float32), layers, (6,), (1, 10)
    )


def test_evaluation_divides_mrr_and_ndcg_by_different_numbers_of_queries() -> None:
    from FlagEmbedding.abc.evaluation.utils import evaluate_metrics, evaluate_mrr

    qrels = {"a": {"d0": 1}, "b": {"d0": 1}}
    answered = {"a": {"d0": 1.0}}
    assert evaluate_mrr(qrels, answered, [10])["MRR@10"] == 0.5
    assert evaluate_metrics(qrels, answered, [10])[0]["NDCG@10"] == 1.0
    ours = evaluated(qrels, np.zeros((2, 6, 1)), found=0).one("first_stage", 0).mean()
    assert ours["mrr_at_10"] == ours["ndcg_at_10"] == 0.5


def test_evaluation_breaks_ties_differently_for_each_measure() -> None:
    from FlagEmbedding.abc.evaluation.utils import evaluate_metrics, evaluate_mrr

    qrels, tied = {"q": {"d0": 1}}, {"q": {"d0": 1.0, "d1": 1.0}}
    assert evaluate_mrr(qrels, tied, [1])["MRR@1"] == 1.0
    assert evaluate_metrics(qrels, tied, [1])[0]["NDCG@1"] == 0.0
    ours = evaluated(qrels, np.zeros((1, 6, 1))).one("reranked", 6, 0).mean()
    assert ours["mrr_at_1"] == ours["ndcg_at_1"] == ours["recall_at_1"] == 1.0  # first-stage order, for all


def test_evaluation_divides_by_zero_for_a_query_without_a_positive() -> None:
    from FlagEmbedding.abc.evaluation.utils import evaluate_recall_cap

    qrels = {"a": {"d0": 0}, "b": {"d0": 1}}
    with pytest.raises(ZeroDivisionError):
        evaluate_recall_cap(qrels, {"a": {"d0": 1.0}, "b": {"d0": 1.0}}, [10])
    ours = evaluated(qrels, np.zeros((2, 6, 1))).one("first_stage", 0)
    assert ours.per_query["recall_at_10"].tolist() == [0, 1]
    assert set(measures.mean(ours.per_query)) >= {"ndcg_at_10", "recall_at_10", "mrr_at_10"}


def test_evaluation_takes_a_compress_ratio_without_layers_and_does_nothing(models: Path) -> None:
    plain = oracle_scores("lightweight", models / "lightweight", PAIRS)
    ratio = oracle_scores("lightweight", models / "lightweight", PAIRS, compress_ratio=4)
    np.testing.assert_array_equal(ratio, plain)
    (line,) = settings("lightweight", models, compress_ratio=4, compress_layers=[]).problems()
    assert "does nothing without" in line


@pytest.mark.parametrize("name", PROMPTED)
def test_evaluation_of_llms_loses_the_letters_a_and_b(name: str, models: Path) -> None:
    """Its default instructions are None, which takes the constructor's own "A: " and "B: " away."""
    from FlagEmbedding.abc.evaluation.arguments import AbsEvalModelArgs

    fields = {field.name: field.default for field in dataclasses.fields(AbsEvalModelArgs)}
    assert fields["query_instruction_for_rerank"] is fields["passage_instruction_for_rerank"] is None
    ours: Any = settings(name, models)
    assert (ours.query_instruction, ours.passage_instruction) == ("A: ", "B: ")


def test_evaluation_needs_packages_that_are_not_declared() -> None:
    """pytrec_eval and faiss, in the peer's case. Every package that ours imports is in pyproject.toml."""
    peer = "\n".join(importlib.metadata.requires("FlagEmbedding") or [])
    assert "faiss" not in peer
    assert "pytrec" not in peer
    folder = Path(rerankbench.__path__[0])
    imported = {name for file in folder.rglob("*.py") for name in imports(file)}
    third_party = imported - set(sys.stdlib_module_names) - {"rerankbench"}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for extra in extras if extra != "dev" for line in extras[extra]),
    ]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    packages = importlib.metadata.packages_distributions()
    undeclared = {
        name
        for name in third_party
        if not declared & {package.lower().replace("_", "-") for package in packages.get(name, [name])}
    }
    assert undeclared == set()


def imports(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
