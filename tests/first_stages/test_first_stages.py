"""The contract that every first stage keeps, and each one against brute force or its formula."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flagembedding_oracle import quiet
from rerankbench.basics.errors import UserError
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.engine.embedders import vectors as vectors_module
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.embedders.vectors import Vectors, block_name
from rerankbench.engine.hardware import Hardware
from rerankbench.first_stages.bm25 import BM25, best, words
from rerankbench.first_stages.dense import Dense
from rerankbench.first_stages.first_stage import FirstStage
from rerankbench.first_stages.hybrid import Hybrid
from rerankbench.first_stages.index import Index, search
from rerankbench.first_stages.run import Run
from rerankbench.first_stages.search_context import SearchContext
from tiny_models import SENTENCES

TEXTS = [*SENTENCES, "", "Paris is the capital and largest city of France.", "moons moons moons of Mars"]
DOCUMENTS = {f"d{number}": text for number, text in enumerate(TEXTS)}
QUERIES = {
    "q0": "What is the capital of France?",
    "q1": "how many moons does Mars have",
    "q2": "首都",
    "d3": TEXTS[3],
    "q4": "xyzzy",
}
KINDS = ("dense", "bm25", "hybrid", "run")


def collection(documents: dict[str, str] = DOCUMENTS, **options: Any) -> Collection:
    first = next(iter(documents))
    return collection_of(documents, QUERIES, {query: {first: 1} for query in QUERIES}, **options)


def bench_of(models: Path, cache: Path, **options: Any) -> SearchContext:
    embedder = options.pop("embedder", Embedder(model=str(models / "bge-small-en")))
    index = options.pop("index", Index())
    return SearchContext(Hardware("cpu", "fp32"), cache, embedder=embedder, index=index, **options)


def run_file(folder: Path) -> Path:
    """Every document for every query, in an order of its own, some scores equal."""
    drawn = np.random.default_rng(5)
    lines = [
        f"{query} Q0 {document} {rank} {40 - rank // 3} some-tool"
        for query in QUERIES
        for rank, document in enumerate(drawn.permutation(list(DOCUMENTS)), start=1)
    ]
    path = folder / "some.trec"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> FirstStage:
    kinds = {"dense": Dense, "bm25": BM25, "hybrid": Hybrid, "run": lambda: Run(str(run_file(tmp_path)))}
    return kinds[request.param]()


every_stage = pytest.mark.parametrize("stage", KINDS, indirect=True)


# --- the contract ---


@every_stage
@pytest.mark.parametrize("depth", [1, 7, 200])
@pytest.mark.parametrize("drop_same_id", [False, True])
def test_candidates_are_sorted_padded_and_distinct(
    stage: FirstStage, depth: int, drop_same_id: bool, models: Path, tmp_path: Path
) -> None:
    of = collection(drop_same_id=drop_same_id)
    found, _ = stage.retrieve(of, depth, bench_of(models, tmp_path))
    assert found.rows.shape == found.scores.shape
    assert len(found.rows) == len(QUERIES)
    assert found.rows.shape[1] <= depth
    assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)
    for query, (rows, scores) in enumerate(zip(found.rows, found.scores, strict=True)):
        length = int((rows >= 0).sum())
        assert (rows[length:] == -1).all()  # padding is at the end, nowhere else
        assert (scores[length:] == -np.inf).all()
        assert len(set(rows[:length])) == length <= len(DOCUMENTS)
        assert np.isfinite(scores[:length]).all()
        assert (np.diff(scores[:length]) <= 0).all()
        if drop_same_id:
            assert of.query_ids[query] not in of.corpus.ids(rows[:length])
    if stage.kind != "bm25":  # the others know an order of everything
        expected = np.full(len(QUERIES), min(depth, len(DOCUMENTS)))
        if drop_same_id and depth >= len(DOCUMENTS):
            expected[of.query_ids.index("d3")] -= 1
        np.testing.assert_array_equal(found.lengths(), expected)


@every_stage
def test_fewer_candidates_are_the_first_ones_of_more(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    many, _ = stage.retrieve(collection(), 20, bench_of(models, tmp_path))
    few, _ = stage.retrieve(collection(), 5, bench_of(models, tmp_path))
    np.testing.assert_array_equal(few.rows, many.rows[:, :5])


@every_stage
def test_equal_texts_keep_the_order_of_rows(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    if isinstance(stage, Run):
        pytest.skip("a run has its own order")
    found, _ = stage.retrieve(collection(), 29, bench_of(models, tmp_path))
    one, copy = SENTENCES.index("Paris is the capital and largest city of France."), 27
    assert TEXTS[one] == TEXTS[copy]
    for rows, scores in zip(found.rows[:2], found.scores[:2], strict=True):
        places = {int(row): place for place, row in enumerate(rows)}
        if one in places and scores[places[one]] == scores[places[copy]]:
            assert places[copy] == places[one] + 1


@every_stage
def test_found_again_and_read_back_identically(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    bench = bench_of(models, tmp_path / "cache")
    first, key = stage.retrieve(collection(), 9, bench)
    back, same_key = stage.retrieve(collection(), 9, bench)
    anew, _ = stage.retrieve(collection(), 9, dataclasses.replace(bench, reuse=False))
    elsewhere, moved_key = stage.retrieve(collection(), 9, bench_of(models, tmp_path / "other"))
    assert key == same_key == moved_key
    for other in (back, anew, elsewhere):
        assert other.rows.tobytes() == first.rows.tobytes()
        assert other.scores.tobytes() == first.scores.tobytes()


@every_stage
def test_stored_candidates_are_read_not_searched(
    stage: FirstStage, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(stage, Run):
        pytest.skip("a run is read anew each time")
    bench = bench_of(models, tmp_path)
    stage.retrieve(collection(), 9, bench)
    monkeypatch.setattr(type(stage), "search", lambda *_: pytest.fail("searched again"))
    stage.retrieve(collection(), 9, bench)


@every_stage
def test_identity_is_of_what_decides_the_candidates(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    bench = bench_of(models, tmp_path)
    base = stage.key(collection(), 9, bench)
    changed = DOCUMENTS | {"d1": "Paris!"}
    renamed = {f"x{id_}": text for id_, text in DOCUMENTS.items()}
    others = [stage.key(collection(changed), 9, bench), stage.key(collection(), 10, bench)]
    others += [stage.key(collection(drop_same_id=True), 9, bench), stage.key(collection(renamed), 9, bench)]
    assert base not in others
    same = [dataclasses.replace(bench, batch_size=1, batch_tokens=9, cache_dir=tmp_path / "x", reuse=False)]
    same += [dataclasses.replace(bench, seed=1)]  # nothing here draws
    assert {stage.key(collection(), 9, other) for other in same} == {base}


OTHER_SETTINGS = {
    "dense": [],
    "bm25": [{"k1": 1.2}, {"b": 0.75}, {"language": "none"}],
    "hybrid": [
        {"k1": 1.2}, {"b": 0.75}, {"language": "none"}, {"fusion": "weighted"}, {"rrf_k": 1}, {"pool": 50},
        {"dense_weight": 0.3},
    ],
}  # fmt: skip


@pytest.mark.parametrize("stage", ["bm25", "hybrid"], indirect=True)
def test_identity_knows_every_setting(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    bench = bench_of(models, tmp_path)
    changed = [dataclasses.replace(stage, **options) for options in OTHER_SETTINGS[stage.kind]]
    assert {field for options in OTHER_SETTINGS[stage.kind] for field in options} == {
        field.name for field in dataclasses.fields(stage)
    }
    assert len({other.key(collection(), 9, bench) for other in [stage, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("stage", ["dense", "hybrid"], indirect=True)
def test_identity_knows_embedder_and_index(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    small = Embedder(model=str(models / "bge-small-en"))
    embedders = [
        dataclasses.replace(small, **{name: value})
        for name, value in {
            "model": str(models / "bge-m3"), "pooling": "mean", "normalize": False, "max_length": 64,
            "query_max_length": 32, "query_instruction": "Q: ", "passage_instruction": "P: ",
            "attention": "eager",
        }.items()
    ]  # fmt: skip
    benches = [bench_of(models, tmp_path, embedder=embedder) for embedder in [small, *embedders]]
    benches += [
        bench_of(models, tmp_path, index=Index("HNSW8")),
        bench_of(models, tmp_path, index=Index("IVF2,Flat")),
    ]
    benches += [bench_of(models, tmp_path, index=Index("IVF2,Flat", "nprobe=2"), seed=3)]
    benches += [dataclasses.replace(benches[-1], seed=4)]  # training draws
    benches += [dataclasses.replace(benches[0], hardware=Hardware("cpu", "bf16"))]
    keys = [stage.key(collection(), 9, bench) for bench in benches]
    assert len(set(keys)) == len(keys)
    words = BM25()
    assert len({words.key(collection(), 9, bench) for bench in benches}) == 1


# --- dense ---


def test_dense_is_brute_force(models: Path, tmp_path: Path) -> None:
    bench = bench_of(models, tmp_path)
    found = Dense().search(collection(), 12, bench)
    embedder = Embedding(bench.embedder, bench.hardware, tmp_path, bench.budget())
    passages = embedder.passages(collection().corpus.texts, len(DOCUMENTS)).array()
    products = embedder.queries(list(QUERIES.values())) @ passages.T
    np.testing.assert_allclose(np.take_along_axis(products, found.rows, 1), found.scores, atol=1e-6)
    np.testing.assert_allclose(found.scores, -np.sort(-products, axis=1)[:, :12], atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 300])
def test_flat_search_is_brute_force(rows: int) -> None:
    drawn = np.random.default_rng(rows)
    vectors = drawn.integers(-3, 4, (rows, 8)).astype(np.float32)  # whole numbers: exact products, many ties
    queries = drawn.integers(-3, 4, (70, 8)).astype(np.float32)
    index = Index().build(Vectors((vectors[: rows // 2], vectors[rows // 2 :])), seed=0)
    found, scores = search(index, queries, 500, batch=32)
    order = np.lexsort((np.broadcast_to(np.arange(rows), (70, rows)), -(queries @ vectors.T)))
    np.testing.assert_array_equal(found[:, :rows], order)
    np.testing.assert_array_equal(scores[:, :rows], np.take_along_axis(queries @ vectors.T, order, 1))
    assert (found[:, rows:] == -1).all()
    assert (scores[:, rows:] == -np.inf).all()


@pytest.mark.parametrize(
    ("index", "at_least"),
    [
        (Index("IVF16,Flat", "nprobe=16"), 1.0),
        (Index("IVF16,Flat", "nprobe=2"), 0.2),
        (Index("HNSW32", "efSearch=400"), 0.95),
        (Index("IVF8,Flat", "nprobe=8", train_rows=400), 1.0),
    ],
    ids=str,
)
def test_approximate_indexes_find_most(index: Index, at_least: float) -> None:
    drawn = np.random.default_rng(0)
    vectors = drawn.normal(size=(1000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, blocks = vectors[:50] + 0.1, Vectors((vectors[:600], vectors[600:]))
    assert index.problems() == []
    assert not index.exact
    rows, scores = search(index.build(blocks, seed=1), queries, 10)
    true, _ = search(Index().build(blocks, seed=1), queries, 10)
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)])
    assert share >= at_least
    if at_least < 0.9:
        assert share < 1
    assert (np.diff(scores, axis=1) <= 0).all()
    again, _ = search(index.build(blocks, seed=1), queries, 10)
    np.testing.assert_array_equal(again, rows)


def test_an_approximate_index_that_finds_too_little_pads() -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    index = Index("IVF8,Flat", "nprobe=1").build(Vectors((vectors,)), seed=0)
    rows, scores = search(index, vectors[:20], 300)
    assert (rows == -1).any(axis=1).all()
    for some, values in zip(rows, scores, strict=True):
        length = int((some >= 0).sum())
        assert (some[length:] == -1).all()
        assert (values[length:] == -np.inf).all()


def test_an_unknown_index_is_one_line() -> None:
    (line,) = Index("Flatt").problems()
    assert "index.factory=Flatt" in line


# --- embeddings ---


@pytest.mark.parametrize("name", ["bge-small-en", "bge-m3"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_flagembeddings(name: str, pooling: str, models: Path, tmp_path: Path) -> None:
    from FlagEmbedding import FlagModel

    texts, instruction = [*TEXTS, "two\nlines", "Mars " * 100], "Represent this sentence: "
    with quiet():
        peer = FlagModel(
            str(models / name),
            pooling_method=pooling,
            use_fp16=False,
            devices="cpu",
            query_instruction_for_retrieval=instruction,
            query_max_length=24,
            passage_max_length=48,
        )
        queries, passages = peer.encode_queries(texts), peer.encode_corpus(texts)
    settings = Embedder(
        model=str(models / name),
        pooling=pooling,
        query_instruction=instruction,
        query_max_length=24,
        max_length=48,
    )
    bench = bench_of(models, tmp_path, embedder=settings, batch_size=7)
    ours = Embedding(settings, bench.hardware, tmp_path, bench.budget())
    np.testing.assert_allclose(ours.queries(texts), queries, atol=1e-5)
    np.testing.assert_allclose(
        ours.passages(lambda rows: [texts[row] for row in rows], len(texts)).array(), passages, atol=1e-5
    )
    np.testing.assert_allclose(ours.vector(texts[0]), queries[:1], atol=1e-5)
    assert np.abs(queries - passages).max() > 0.01


def embedder_at(models: Path, cache: Path, **options: Any) -> Embedding:
    bench = bench_of(models, cache, batch_size=4)
    return Embedding(bench.embedder, bench.hardware, cache, bench.budget(), **options)


def all_texts(rows: NDArray[np.int64]) -> Sequence[str]:
    return [TEXTS[row] for row in rows]


def test_interrupted_embedding_goes_on(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "BLOCK", 16)
    whole = embedder_at(models, tmp_path / "whole").passages(all_texts, len(TEXTS)).array()
    broken = embedder_at(models, tmp_path / "broken")
    forward, calls = broken.model.forward, []

    def some_times(inputs: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(inputs)

    monkeypatch.setattr(broken.model, "forward", some_times)
    with pytest.raises(KeyboardInterrupt):
        broken.passages(all_texts, len(TEXTS))
    rest = embedder_at(models, tmp_path / "broken")
    assert rest.missing(all_texts, len(TEXTS)) == len(TEXTS) - 16
    found = rest.passages(all_texts, len(TEXTS)).array()
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert rest.meter.sequences == len(TEXTS) - 16 - 4  # one block was whole, one batch of the next was kept
    assert rest.missing(all_texts, len(TEXTS)) == 0
    assert not list((tmp_path / "broken").rglob("*.part"))


def test_equal_texts_are_embedded_once(models: Path, tmp_path: Path) -> None:
    ours = embedder_at(models, tmp_path)
    texts = ["a", "b", "a", "a"]
    found = ours.passages(lambda rows: [texts[row] for row in rows], 4).array()
    assert ours.meter.sequences == 2
    np.testing.assert_array_equal(found[[2, 3]], found[[0, 0]])
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_embedding_again_computes_and_the_new_vectors_stand(models: Path, tmp_path: Path) -> None:
    """A wrong block is planted; reuse=true believes its hash, reuse=false replaces it."""
    from rerankbench.engine.store.rows import text_keys, write_array

    true = embedder_at(models, tmp_path).passages(all_texts, 4).array()
    (folder,) = (tmp_path / "vectors").iterdir()
    write_array(folder, block_name(text_keys(TEXTS[:4])), np.zeros_like(true))
    assert not embedder_at(models, tmp_path).passages(all_texts, 4).array().any()
    for reuse in (False, True):
        again = embedder_at(models, tmp_path, reuse=reuse).passages(all_texts, 4).array()
        np.testing.assert_allclose(again, true, atol=1e-6)


# --- BM25 ---


def lucene(documents: Sequence[Sequence[str]], query: Sequence[str], k1: float, b: float) -> list[float]:
    """Kamphuis et al., ECIR 2020, the Lucene (accurate) variant, written as the formula."""
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts, total = Counter(document), 0.0
        for word in query:
            df = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            tf = counts[word]
            total += idf * tf / (tf + k1 * (1 - b + b * len(document) / average))
        scores.append(total)
    return scores


@pytest.mark.parametrize("stage", [BM25(), BM25(k1=1.5, b=0.75, language="none")], ids=str)
def test_bm25_is_its_formula(stage: BM25, models: Path, tmp_path: Path) -> None:
    of = collection()
    found = stage.search(of, 40, bench_of(models, tmp_path))
    documents = stage.analyse(TEXTS)
    for query, text in enumerate(of.query_texts):
        expected = np.array(lucene(documents, stage.analyse([text])[0], stage.k1, stage.b))
        rows = found.rows[query][found.rows[query] >= 0]
        assert set(rows) == set(np.flatnonzero(expected > 0))
        np.testing.assert_allclose(found.scores[query][: len(rows)], expected[rows], rtol=1e-5)


# Queries and the one document that answers each: scripts without spaces, particles, other spellings.
ANSWERS = [
    ("แมวล่าหนู", "แมวนอนเกือบทั้งวันและล่าหนูตอนกลางคืน"),
    ("ขนมปังฟู", "ขนมปังฟูเพราะยีสต์สร้างก๊าซ"),
    ("หมาเดินเล่น", "หมาต้องออกไปเดินเล่นทุกเช้า"),
    ("ແມວ", "ແມວນອນເກືອບໝົດມື້ແລະລ່າໜູຕອນກາງຄືນ"),
    ("ໝາຍ່າງ", "ໝາຕ້ອງຍ່າງທຸກເຊົ້າ"),
    ("ឆ្មាដេក", "ឆ្មាដេកស្ទើរពេញមួយថ្ងៃ"),
    ("ឆ្កែដើរ", "ឆ្កែត្រូវដើររាល់ព្រឹក"),
    ("ကြောင်အိပ်", "ကြောင်များသည်တစ်နေ့လုံးနီးပါးအိပ်ကြသည်"),
    ("ခွေးလမ်းလျှောက်", "ခွေးများသည်မနက်တိုင်းလမ်းလျှောက်ရန်လိုအပ်သည်"),
    ("고양이 사냥", "고양이는 밤에 사냥을 한다."),
    ("서울", "한국의 수도는 서울이다."),
    ("café", unicodedata.normalize("NFD", "Le café du marché ferme à midi.")),
    (unicodedata.normalize("NFD", "fenêtre"), "La fenêtre est ouverte."),
    ("final offer", "That was the ﬁnal oﬀer of the buyers."),
    ("ABC123", "ＡＢＣ１２３ is written in full width."),
    ("カタカナ", "ｶﾀｶﾅ can be written at half width."),
    ("surface in m2", "Its surface is 20 m²."),
]


@pytest.mark.parametrize(
    ("language", "query", "answer"),
    [
        ("porter", "largest CITIES of France", "Paris is the capital and largest city of France."),
        ("porter", "中国的首都", "北京是中国的首都，也是全国的政治和文化中心。"),
        ("chinese", "中国的首都", "北京是中国的首都，也是全国的政治和文化中心。"),
        ("none", "富士山", "富士山は日本で一番高い山です。"),
        ("japanese", "富士山", "富士山は日本で一番高い山です。"),
        ("arabic", "مدينة القاهرة", "القاهرة مدينة كبيرة في مصر، وفيها نهر النيل."),
        ("none", "عاصمة فرنسا", "باريس هي عاصمة فرنسا."),
        ("hindi", "गंगा नदी", "गंगा भारत की सबसे लंबी नदी है।"),
        ("none", "नई दिल्ली", "भारत की राजधानी कौन सी है? नई दिल्ली।"),
        ("porter", "沸腾的水", "水在一百摄氏度时沸腾。"),
        *[(language, query, answer) for language in ("porter", "none") for query, answer in ANSWERS],
    ],
)  # fmt: skip
def test_bm25_finds_every_script(
    language: str, query: str, answer: str, models: Path, tmp_path: Path
) -> None:
    others = {answer: answer for _, answer in ANSWERS}
    of = collection_of(DOCUMENTS | others, {"q": query}, {"q": {"d0": 1}})
    found = BM25(language=language).search(of, 3, bench_of(models, tmp_path))
    assert of.corpus.texts(found.rows[0, :1]) == [answer]


def test_words_of_unspaced_scripts_are_pairs_of_characters() -> None:
    assert words("Die Größe: 5.5 km") == ["die", "größe", "5", "5", "km"]
    assert words("中国的首都") == ["中国", "国的", "的首", "首都"]
    assert words("水 x") == ["水", "x"]
    assert words("東京タワー2020年") == ["東京", "京タ", "タワ", "ワー", "2020", "年"]
    assert words("नई दिल्ली।") == ["नई", "दिल्ली"]  # vowel signs belong to their words
    assert words(" …!") == []
    assert words("人々と") == ["人々", "々と"]
    assert words("क्\u200dष co\u00adop می\u200cخواهم") == ["क्ष", "coop", "میخواهم"]  # joiners are no borders
    unseen = ("\ufeff", "\u200f", "\u2062", "\u034f", "\ufe0f", "\u180e", "\u0640")
    assert [words(f"c{one}at") for one in unseen] == [["cat"]] * len(unseen)
    assert words("c\u200bat") == ["c", "at"]  # a border that takes no room
    assert words("น\u0e4d\u0e49\u0e32") == words("น\u0e49\u0e4d\u0e32")  # marks typed in either order
    assert words("cafe\u0301 Ａ１") == ["café", "a1"]
    assert words("แมวหนู") == ["แม", "มว", "วห", "หนู", "แมว", "มวห", "วหนู"]  # marks belong to their letters
    assert words("ตา 猫 ab") == ["ตา", "猫", "ab"]
    assert words("한국의 수도") == ["한국", "국의", "수도"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(codec="utf-8")))
def test_words_do_not_depend_on_how_a_text_is_composed(text: str) -> None:
    forms = {form: words(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert all(found == words(text) for found in forms.values()), forms


def test_turkish_has_two_letters_i() -> None:
    documents = {"a": "İSTANBUL BOĞAZI", "b": "ISPARTA GÜLLERİ"}
    of = collection_of(documents, {"q": "istanbul", "r": "ısparta"}, {"q": {"a": 1}})
    for language, expected in (("turkish", [[0], [1]]), ("none", [[0], []])):
        stage = BM25(language=language)
        index = stage.index(of)
        assert [
            best(stage.scores(index, text), 2)[0].tolist() for text in ("istanbul", "ısparta")
        ] == expected


@pytest.mark.parametrize("stage", ["bm25", "hybrid"], indirect=True)
def test_queries_for_which_bm25_finds_nothing_are_noted_and_noted_again(
    stage: FirstStage, models: Path, tmp_path: Path
) -> None:
    queries = {"a": "capital of France", "b": "xyzzy", "c": "the of and", "d": "?"}
    of = collection_of(DOCUMENTS, queries, {"a": {"d0": 1}, "b": {"d0": 1}, "c": {"d0": 1}, "d": {"d0": 1}})
    bench = bench_of(models, tmp_path)
    for found in (stage.retrieve(of, 5, bench)[0], stage.retrieve(of, 5, bench)[0]):
        (finding,) = found.findings
        assert (finding.what, finding.count) == ("queries for which BM25 finds nothing", 3)
        assert finding.examples == ("'xyzzy'", "'the of and'", "'?'")
        assert found.notes[-1] == finding.line()


@pytest.mark.parametrize("texts", [["", ""], ["", "Paris"], ["...", "the"]])
def test_bm25_of_empty_documents(texts: list[str], models: Path, tmp_path: Path) -> None:
    of = collection_of(
        {"a": texts[0], "b": texts[1]}, {"q": "Paris", "r": ""}, {"q": {"a": 1}, "r": {"a": 1}}
    )
    found = BM25().search(of, 5, bench_of(models, tmp_path))
    assert found.lengths().tolist() == [int("Paris" in texts), 0]


def test_bm25s_keeps_its_debugging_to_itself(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    BM25().search(collection(), 5, bench_of(models, tmp_path))
    assert [record.name for record in caplog.records if record.name.startswith("bm25s")] == []


def test_best_takes_equal_scores_in_order_of_rows() -> None:
    rows, scores = best(np.array([0, 2, 1, 2, -1, 1], np.float32), 3)
    assert rows.tolist() == [1, 3, 2]
    assert scores.tolist() == [2, 2, 1]


# --- hybrid ---


def lists_of(models: Path, cache: Path, pool: int) -> tuple[Candidates, Candidates]:
    bench = bench_of(models, cache)
    return Dense().search(collection(), pool, bench), BM25().search(collection(), pool, bench)


@pytest.mark.parametrize("pool", [5, 200])
def test_hybrid_is_reciprocal_rank_fusion(pool: int, models: Path, tmp_path: Path) -> None:
    """1 / (60 + rank) from each list that has the document, ranks from 1."""
    found = Hybrid(pool=pool).search(collection(), 5, bench_of(models, tmp_path))
    for query in range(len(QUERIES)):
        sums: dict[int, float] = Counter()
        for listed in lists_of(models, tmp_path, pool):
            rows = [int(row) for row in listed.rows[query] if row >= 0]
            for rank, row in enumerate(rows, start=1):
                sums[row] += 1 / (60 + rank)
        expected = sorted(sums, key=lambda row: (-sums[row], row))[:5]
        assert found.rows[query].tolist() == expected
        np.testing.assert_allclose(found.scores[query], [sums[row] for row in expected], rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_hybrid_is_a_weighted_sum(weight: float, models: Path, tmp_path: Path) -> None:
    found = Hybrid(fusion="weighted", dense_weight=weight).search(collection(), 5, bench_of(models, tmp_path))
    for query in range(len(QUERIES)):
        sums: dict[int, float] = Counter()
        for listed, share in zip(lists_of(models, tmp_path, 200), (weight, 1 - weight), strict=True):
            scores = {
                int(r): float(s)
                for r, s in zip(listed.rows[query], listed.scores[query], strict=True)
                if r >= 0
            }
            low, high = min(scores.values(), default=0), max(scores.values(), default=0)
            for row, value in scores.items():
                sums[row] += share * ((value - low) / (high - low) if high > low else 1)
        best_sums = sorted(sums.values(), reverse=True)[:5]
        np.testing.assert_allclose(found.scores[query], best_sums, atol=1e-6)
        np.testing.assert_allclose([sums[int(row)] for row in found.rows[query]], best_sums, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"fusion": "sum"}, "first_stage.fusion=sum"),
        ({"dense_weight": 1.5}, "first_stage.dense_weight=1.5"),
        ({"rrf_k": -1}, "first_stage.rrf_k=-1"),
        ({"pool": 0}, "first_stage.pool=0"),
        ({"k1": -1.0}, "first_stage.k1=-1.0"),
        ({"b": 2.0}, "first_stage.b=2.0"),
        ({"language": "klingon"}, "first_stage.language=klingon"),
    ],
    ids=str,
)
def test_impossible_settings_are_one_line(options: dict[str, Any], key: str) -> None:
    (line,) = Hybrid(**options).problems()
    assert key in line


# --- run ---


def test_run_keeps_the_files_order(models: Path, tmp_path: Path) -> None:
    path = run_file(tmp_path)
    found, _ = Run(str(path)).retrieve(collection(), 10, bench_of(models, tmp_path))
    listed = [line.split()[2] for line in path.read_text().splitlines() if line.startswith("q1 ")]
    of = collection()
    assert of.corpus.ids(found.rows[of.query_ids.index("q1")]) == listed[:10]


def test_run_is_known_by_its_content(models: Path, tmp_path: Path) -> None:
    path, bench = run_file(tmp_path), bench_of(models, tmp_path)
    key = Run(str(path)).key(collection(), 9, bench)
    moved = path.rename(tmp_path / "moved.trec")
    assert Run(str(moved)).key(collection(), 9, bench) == key
    moved.write_text(moved.read_text() + "q0 Q0 d0 99 -1 some-tool\n")
    assert Run(str(moved)).key(collection(), 9, bench) != key
    (line,) = Run(str(path)).problems()
    assert f"first_stage.path={path}" in line


def test_columns_of_a_run_may_be_named(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("topic number,doc,points,score\nq1,d1,1,9\nq1,d2,2,8\n")
    named = Run(str(path), query_column="topic number", doc_column="doc", score_column="points")
    bench, of = bench_of(models, tmp_path), collection()
    found, key = named.retrieve(of, 9, bench)
    assert of.corpus.ids(found.rows[of.query_ids.index("q1")][:2]) == ["d2", "d1"]
    assert key != replace(named, score_column="score").key(of, 9, bench)
    (line,) = replace(named, doc_column=None).problems()
    assert line.startswith(f"{path}: no column for the document: looked for corpus-id | ")
    assert line.endswith("found 'topic number', 'doc', 'points', 'score'; set first_stage.doc_column=doc")
    with pytest.raises(UserError, match=r"not recognised: .*\"first_stage.query_column='topic number'\""):
        Run(str(path)).retrieve(of, 9, bench)


# --- a service's single query ---


@pytest.mark.parametrize("stage", ["dense", "bm25", "hybrid"], indirect=True)
def test_searching_one_query_finds_the_same(stage: FirstStage, models: Path, tmp_path: Path) -> None:
    bench = bench_of(models, tmp_path)
    found = stage.search(collection(), 5, bench)
    searcher = stage.searcher(collection(), 5, bench)
    assert searcher
    for query, text in enumerate(QUERIES.values()):
        rows, scores = searcher(text)  # type: ignore[misc]
        kept, own = found.rows[query] >= 0, np.ravel(rows) >= 0
        np.testing.assert_array_equal(np.ravel(rows)[own], found.rows[query][kept])
        np.testing.assert_allclose(np.ravel(scores)[own], found.scores[query][kept], atol=1e-6)
