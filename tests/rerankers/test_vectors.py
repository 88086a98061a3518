"""Embedders as rerankers: scores are those of the libraries that made them, and no text is embedded twice."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from flagembedding_oracle import quiet
from folded_texts import VARIANTS
from numbered_texts import collection
from rerankbench import api, load_reranker
from rerankbench.basics.conf_folder import conf_folder
from rerankbench.basics.errors import UserError
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.hardware import Hardware
from rerankbench.experiment import latency
from rerankbench.experiment.estimate import vector_steps
from rerankbench.first_stages.dense import Dense
from rerankbench.first_stages.search_context import SearchContext
from rerankbench.rerankers.bi_encoder import BiEncoder
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.late_interaction import LateInteraction
from rerankbench.rerankers.m3 import M3
from rerankbench.rerankers.scoring.pair_scoring import Scored, distinct_pairs, score_store
from rerankbench.rerankers.scoring.text_scoring import score
from rerankbench.rerankers.scoring.vector_scoring import VectorWork
from rerankbench.rerankers.vector_reranker import VectorReranker, VectorScorer
from tiny_embedders import tiny_bge_m3, tiny_pylate, tiny_stanford
from tiny_models import SENTENCES

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
QUERIES = ["What is the capital of France?", "法国的首都", "", "how many moons has Mars " * 30, "a! b? c"]
DOCUMENTS = [*SENTENCES[:6], SENTENCES[12], "", "Mars has two small moons. " * 200, "a, b! (c) - d."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embedders")
    with quiet():
        tiny_bge_m3(root / "m3")
        tiny_stanford(root / "stanford")
        tiny_pylate(root / "pylate")
    return root


def found(settings: VectorReranker, cache: Path) -> NDArray[np.float32]:
    """Scores [queries, documents], computed in memory, several at once."""
    reranker, weights = settings.resolved(cache)
    assert reranker.problems() == []
    reranker.rehearse(weights, Hardware("cpu", "fp32"))
    scorer = reranker.load(weights, Hardware("cpu", "fp32"))
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    values = scorer.score([query for query, _ in pairs], [document for _, document in pairs])
    return values.reshape(len(QUERIES), len(DOCUMENTS))


# --- parity ---


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("unit", [True, False])
def test_a_bi_encoder_scores_as_sentence_transformers(
    pooling: str, unit: bool, models: Path, hashes: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as modules

    folder, given = models / "bge-small-en", {"query_instruction": "find: ", "passage_instruction": "text: "}
    settings = BiEncoder(model=str(folder), pooling=pooling, normalize=unit, max_length=64, **given)
    words = modules.Transformer(str(folder), max_seq_length=64)
    reference = SentenceTransformer(modules=[words, modules.Pooling(64, pooling_mode=pooling)], device="cpu")
    queries = reference.encode([f"find: {text}" for text in QUERIES], normalize_embeddings=unit)
    documents = reference.encode([f"text: {text}" for text in DOCUMENTS], normalize_embeddings=unit)
    expected = queries @ documents.T
    assert expected.std() > 0.01
    np.testing.assert_allclose(found(settings, hashes), expected, atol=1e-4 if unit else 1e-3)


@pytest.fixture(scope="module")
def flagembedding(folders: Path) -> Callable[..., dict[str, NDArray[np.float32]]]:
    """All scores [queries, documents] of compute_score, by their names."""
    from FlagEmbedding import BGEM3FlagModel

    with quiet():
        reference = BGEM3FlagModel(str(folders / "m3"), use_fp16=False, devices="cpu")
    reference.stop_self_pool = lambda: None

    @cache
    def scores(weights: tuple[float, ...] | None, *limits: int) -> dict[str, NDArray[np.float32]]:
        pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
        asked = {"max_query_length": limits[0], "max_passage_length": limits[1]}
        asked |= {"weights_for_different_modes": weights and list(weights)}
        with quiet():  # alone: in a batch, padding counts as a token of the document, with a similarity of 0
            every = [reference.compute_score([pair], **asked) for pair in pairs]
        shape = len(QUERIES), len(DOCUMENTS)
        return {kind: np.array([one[kind] for one in every]).reshape(shape) for kind in every[0]}

    return scores


@pytest.mark.parametrize("limits", [(512, 512), (12, 40)], ids=str)
@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        (None, "colbert+sparse+dense"),
        ([0.4, 0.2, 0.4], "colbert+sparse+dense"),
        ([1, 0, 0], "dense"),
        ([0, 1, 0], "sparse"),
        ([0, 0, 1], "colbert"),
        ([3, 1, 0], "sparse+dense"),
    ],
    ids=str,
)
def test_m3_scores_as_flagembeddings_compute_score(
    weights: list[float] | None,
    kind: str,
    limits: tuple[int, int],
    folders: Path,
    hashes: Path,
    flagembedding: Callable[..., dict[str, NDArray[np.float32]]],
) -> None:
    options: dict[str, Any] = {"query_max_length": limits[0], "max_length": limits[1]}
    settings = M3(model=str(folders / "m3"), **options, **({} if weights is None else {"weights": weights}))
    asked = tuple(weights) if weights and "+" in kind else None
    expected = flagembedding(asked, *limits)[kind]
    assert expected.std() > 0.01
    np.testing.assert_allclose(found(settings, hashes), expected, atol=1e-4)


def test_heads_in_half_precision_are_read_as_they_are(tmp_path: Path, hashes: Path, folders: Path) -> None:
    half = tiny_bge_m3(tmp_path / "half", half=True)
    whole = found(M3(model=str(folders / "m3")), hashes)
    difference = np.abs(found(M3(model=str(half)), hashes) - whole).max()
    assert 0 < difference < 0.01


COLBERTS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "stanford": (tiny_stanford, {}),
    "stanford, attending": (tiny_stanford, {"attend_to_mask_tokens": True, "query_maxlen": 12}),
    "stanford, punctuation kept": (tiny_stanford, {"mask_punctuation": False, "doc_maxlen": 30}),
    "pylate": (tiny_pylate, {}),
    "pylate, not expanded": (tiny_pylate, {"do_query_expansion": False}),
    "pylate, no markers": (tiny_pylate, {"query_prefix": "", "document_prefix": ""}),
    "pylate, prompts": (tiny_pylate, {"prompts": {"query": "search: ", "document": "passage: "}}),
}


@pytest.mark.parametrize("name", COLBERTS)
def test_late_interaction_is_the_papers(name: str, tmp_path: Path, hashes: Path) -> None:
    make, said = COLBERTS[name]
    with quiet():
        folder = make(tmp_path / "colbert", **said)
        expected = maxsim(folder)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found(LateInteraction(model=str(folder)), hashes), expected, atol=1e-4)


def maxsim(folder: Path) -> NDArray[np.float32]:
    """ColBERT's recipe (arXiv:2004.12832, section 3), text by text, in plain transformers."""
    stanford = (folder / "artifact.metadata").is_file()
    said = json.loads((folder / ("artifact.metadata" if stanford else GENERAL)).read_text())
    prompts = said.get("prompts") or {"query": "", "document": ""}
    queries = [token_vectors(folder, prompts["query"] + text, said, True) for text in QUERIES]
    documents = [token_vectors(folder, prompts["document"] + text, said, False) for text in DOCUMENTS]
    return np.array([[(q @ d.T).max(axis=1).sum() for d in documents] for q in queries])


GENERAL = "config_sentence_transformers.json"


def token_vectors(folder: Path, text: str, said: dict[str, Any], query: bool) -> NDArray[np.float32]:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    stanford = "query_maxlen" in said
    linear = load_file(folder / ("model.safetensors" if stanford else "1_Dense/model.safetensors"))
    kind, length = ("query", "query_maxlen") if query else ("document", "doc_maxlen")
    mark = said[f"{kind.removesuffix('ument')}_token_id"] if stanford else said[f"{kind}_prefix"]
    limit = said[length] if stanford else said[f"{kind}_length"]
    marks = [tokenizer.convert_tokens_to_ids(mark)] if mark else []
    ids = tokenizer(text, truncation=True, max_length=limit - len(marks))["input_ids"]
    ids = [ids[0], *marks, *ids[1:]]
    real = len(ids)
    if query and said.get("do_query_expansion", True):
        ids += [tokenizer.mask_token_id] * (limit - len(ids))
    attends = said.get("attend_to_mask_tokens", said.get("attend_to_expansion_tokens"))
    seen = [1] * real + [int(bool(attends))] * (len(ids) - real)
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), attention_mask=torch.tensor([seen])).last_hidden_state[0]
        vectors = torch.nn.functional.normalize(hidden @ linear["linear.weight"].T, dim=-1).numpy()
    skipped = said.get("skiplist_words", list(string.punctuation))
    skipped = [] if query or said.get("mask_punctuation") is False else skipped
    kept = ~np.isin(ids, [tokenizer.convert_tokens_to_ids(word) for word in skipped])
    found: NDArray[np.float32] = vectors[kept]
    return found


# --- what is kept ---

TEXTS = [change(text) for change in VARIANTS.values() for text in SENTENCES[:5]]
ASKED = ["moons of Mars", "moons  of Mars ", "capital"]
ROWS = np.tile(np.arange(len(TEXTS)), (len(ASKED), 1))
KINDS = ("bi-encoder", "m3", "late-interaction")


def settings_of(kind: str, models: Path, folders: Path) -> VectorReranker:
    if kind == "bi-encoder":
        return BiEncoder(model=str(models / "bge-small-en"))
    if kind == "m3":
        return M3(model=str(folders / "m3"))
    return LateInteraction(model=str(folders / "stanford"))


def work_of(
    settings: VectorReranker, cache: Path, rows: NDArray[np.int64] = ROWS, **bench: Any
) -> VectorWork:
    machine = SearchContext(Hardware("cpu", "fp32"), cache, **bench)
    reranker, weights = settings.resolved(cache)
    pairs, store = distinct_pairs(collection(ASKED, TEXTS), rows), score_store(reranker, weights, machine)
    return VectorWork(reranker, weights, (0,), machine, collection(ASKED, TEXTS), pairs, store)


def scored(work: VectorWork) -> Scored:
    return score(work, work.context.executor)


def embedded(work: VectorWork) -> int:
    """Texts that were embedded by this work."""
    return work.embedding.meter.sequences


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_embedded_once_whatever_is_asked_later(
    kind: str, models: Path, folders: Path, tmp_path: Path
) -> None:
    settings = settings_of(kind, models, folders)
    shallow, deep = (work_of(settings, tmp_path, ROWS[:, :depth]) for depth in (7, len(TEXTS)))
    first, second = scored(shallow), scored(deep)
    assert first.scored == shallow.pairs.keys.size
    everything = work_of(settings, tmp_path / "anew")
    expected = scored(everything)
    assert embedded(shallow) + embedded(deep) == embedded(everything) < len(TEXTS) + len(ASKED)
    np.testing.assert_allclose(second.values, expected.values, rtol=1e-5)
    again = work_of(settings, tmp_path)
    assert scored(again).scored == 0
    assert "embedding" not in vars(again)  # not even loaded
    np.testing.assert_array_equal(scored(again).values, second.values)


def test_after_a_dense_first_stage_nothing_is_embedded_and_no_order_changes(
    models: Path, tmp_path: Path
) -> None:
    given = {"pooling": "mean", "query_instruction": "find: ", "max_length": 40}
    embedder = Embedder(model=str(models / "bge-small-en"), **given)  # type: ignore[arg-type]
    bench = SearchContext(Hardware("cpu", "fp32"), tmp_path, embedder=embedder)
    found, _ = Dense().retrieve(collection(ASKED, TEXTS), len(TEXTS), bench)
    work = work_of(BiEncoder(model=embedder.model, **given), tmp_path, found.rows)  # type: ignore[arg-type]
    scores = work.pairs.spread(scored(work).values)[:, :, 0]
    assert embedded(work) == 0
    np.testing.assert_allclose(scores, found.scores, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_the_same_tokens_ties_at_every_batch_size_and_after_vectors_are_gone(
    kind: str, models: Path, folders: Path, tmp_path: Path
) -> None:
    settings = settings_of(kind, models, folders)
    half = len(TEXTS) // 2
    for size, tokens in ((1, None), (512, 64)):
        place = tmp_path / str(size)
        scored(work_of(settings, place, ROWS[:, :half], batch_size=size, batch_tokens=tokens))
        for file in (place / "vectors").rglob("*.npy"):
            file.unlink()
        work = work_of(settings, place, batch_size=3)
        values = work.pairs.spread(scored(work).values)[:, :, 0]
        tokenized = [ids.tobytes() for ids in work.embedding.model.tokenize(TEXTS, work.embedding.settings)]
        assert len(set(tokenized)) < len(TEXTS) - 20
        for same in set(tokenized):
            places = [number for number, ids in enumerate(tokenized) if ids == same]
            assert len(set(values[0, places])) == 1
        np.testing.assert_array_equal(values[0], values[1])  # queries that differ in white space


def test_a_bi_encoders_scores_have_the_same_bits_at_every_batch_size(models: Path, tmp_path: Path) -> None:
    settings = BiEncoder(model=str(models / "bge-small-en"), pooling="mean")
    every = [scored(work_of(settings, tmp_path / f"{size}", batch_size=size)).values for size in (1, 4, 512)]
    np.testing.assert_array_equal(every[0], every[1])
    np.testing.assert_array_equal(every[0], every[2])


def test_scores_computed_again_are_compared_with_stored_ones(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = BiEncoder(model=str(models / "bge-small-en"))
    before = scored(work_of(settings, tmp_path))
    work = work_of(settings, tmp_path, reuse=False)
    with caplog.at_level("INFO"):
        again = scored(work)
    assert embedded(work) > 0
    assert again.scored == len(before.values)
    assert "stored ones are the same" in caplog.text
    np.testing.assert_array_equal(again.values, before.values)


def test_weights_of_m3_change_scores_and_embed_nothing(folders: Path, tmp_path: Path) -> None:
    scored(work_of(M3(model=str(folders / "m3")), tmp_path))
    other = work_of(M3(model=str(folders / "m3"), weights=[0.4, 0.2, 0.4]), tmp_path)
    assert scored(other).scored == len(other.pairs)
    assert embedded(other) == 0
    doubled = work_of(M3(model=str(folders / "m3"), weights=[2, 2, 2]), tmp_path)
    assert scored(doubled).scored == 0  # the same mean


# --- as deployed ---


def test_what_is_timed_embeds_the_query_and_no_document(models: Path, tmp_path: Path) -> None:
    work = work_of(BiEncoder(model=str(models / "bge-small-en")), tmp_path)
    scored(work)
    scorer = work.model
    assert isinstance(scorer, VectorScorer)
    meter = scorer.documents.embedding.meter
    scorer.expect(TEXTS)
    assert meter.sequences == 0  # read from the store
    for asked in (1, 2):
        values = latency.rerank(scorer, ASKED[0], TEXTS, work.context)
        assert meter.sequences == asked  # a service has to embed every query that comes
    rows = work.pairs.spread(scored(work).values)[0]
    np.testing.assert_array_equal(values, rows)


def test_a_forecast_counts_documents_and_pairs(models: Path, tmp_path: Path) -> None:
    settings = BiEncoder(model=str(models / "bge-small-en"))
    documents, pairs = vector_steps(work_of(settings, tmp_path))
    assert (pairs.missing, pairs.total) == (len(ASKED) * len(set(TEXTS)), len(ASKED) * len(set(TEXTS)))
    assert 0 < documents.missing < documents.total == len(set(TEXTS))
    assert documents.rate > 0
    assert documents.mb == pytest.approx(documents.missing * 64 * 4 / 1e6)
    scored(work_of(settings, tmp_path))
    assert [step.missing for step in vector_steps(work_of(settings, tmp_path))] == [0, 0]


def test_in_python_scores_are_those_of_a_run(models: Path, folders: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        settings = settings_of(kind, models, folders)
        reranker = load_reranker(settings.model, family=kind, cache_dir=tmp_path, **CPU)
        alone = [reranker.score(query, TEXTS)[:, 0] for query in ASKED]
        candidates = api.Candidates(ROWS, -ROWS.astype(np.float32))
        run = api.score(collection(ASKED, TEXTS), candidates, reranker, cache_dir=tmp_path)[:, :, 0]
        np.testing.assert_allclose(alone, run, rtol=1e-5)


def test_the_packaged_options_embed_as_the_embedders_of_their_names() -> None:
    for ours, theirs in (
        ("minilm-bi-encoder", "minilm"),
        ("bge-small-bi-encoder", "bge-small-en"),
        ("bge-base-bi-encoder", "bge-base-en"),
        ("bge-large-bi-encoder", "bge-large-en"),
    ):
        reranker, embedder = (
            yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text())
            for group, name in (("reranker", ours), ("embedder", theirs))
        )
        for values in (reranker, embedder):
            values.pop("defaults")
        reranker.pop("parameters_m")
        assert BiEncoder(**reranker).embedder() == Embedder(**embedder)


# --- folders of other kinds ---


def test_a_folder_of_another_kind_is_told_its_option(models: Path, folders: Path) -> None:
    cross, plain = str(models / "minilm"), str(models / "bge-small-en")
    m3, colbert = str(folders / "m3"), str(folders / "stanford")
    for settings, option in (
        (BiEncoder(model=cross), "base"),
        (BiEncoder(model=str(models / "gemma")), "gemma"),
        (BiEncoder(model=colbert), "colbertv2"),
        (BiEncoder(model=str(folders / "pylate")), "colbertv2"),
        (M3(model=cross), "base"),
        (M3(model=plain), "bge-base-bi-encoder"),
        (LateInteraction(model=cross), "base"),
        (LateInteraction(model=plain), "bge-base-bi-encoder"),
        (LateInteraction(model=m3), "bge-m3"),
        (Encoder(model=plain), "bge-base-bi-encoder"),
        (Encoder(model=m3), "bge-m3"),
        (Encoder(model=colbert), "colbertv2"),
    ):
        (line,) = settings.problems()
        assert f"reranker.model={settings.model}: " in line
        assert f"choose reranker={option} with this reranker.model" in line, line
        assert "embedder." not in line
    assert BiEncoder(model=m3).problems() == []  # its dense vectors alone
    assert Embedder(model=colbert).problems() != []


def test_impossible_settings_are_one_line_each(models: Path, folders: Path, hashes: Path) -> None:
    plain, m3 = str(models / "bge-small-en"), str(folders / "m3")
    for settings, words in (
        (BiEncoder(model=plain, pooling="max"), "reranker.pooling=max: choose cls (BGE) or mean"),
        (BiEncoder(model=plain, max_length=513), "reranker.max_length=513: the model reads at most 512"),
        (BiEncoder(model=plain, max_length=2), "reranker.max_length=2: give at least 4"),
        (BiEncoder(model=plain, attention="flash"), "reranker.attention=flash: choose one of"),
        (BiEncoder(model="nowhere at all"), "reranker.model 'nowhere at all': no such folder"),
        (M3(model=m3, weights=[1, 1]), "reranker.weights=[1,1]: give three numbers"),
        (M3(model=m3, weights=[0, 0, 0]), "reranker.weights=[0,0,0]: give three numbers"),
        (M3(model=m3, weights=[1, -1, 1]), "reranker.weights=[1,-1,1]: give three numbers"),
        (LateInteraction(model=str(folders / "stanford"), max_length=2), "reranker.max_length=2"),
    ):
        (line,) = settings.problems()
        assert line.startswith(words), line
    unknown = LateInteraction(model=str(folders / "stanford"), query_prefix="[nothing]")
    with pytest.raises(UserError, match=r"no token '\[nothing\]' to mark texts with"):
        found(unknown, hashes)
    bent = replace(unknown, query_prefix=None, model=m3)
    assert bent.problems() != []
