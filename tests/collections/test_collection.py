"""The corpus and the collection against plain Python lists and dicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.collections.collection import Collection, Corpus
from rerankbench.collections.sources.in_memory import collection_of
from rerankbench.evaluation.measures import UNJUDGED

texts = st.text(st.characters(codec="utf-8"), max_size=8)
unique_ids = st.lists(texts.filter(len), min_size=1, max_size=12, unique=True)


def corpus_of(
    ids: list[str],
    bodies: list[str],
    titles: list[str] | None = None,
    cuts: tuple[int, ...] = (),
    **options: Any,
) -> Corpus:
    """A corpus whose table is cut into Arrow batches at `cuts`."""
    columns = {"doc_id": ids, "text": bodies} | ({} if titles is None else {"title": titles})
    whole = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    edges = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})
    pieces = [whole.slice(start, end - start) for start, end in pairwise(edges)]
    return Corpus(pa.concat_tables(pieces) if pieces else whole, **options)


@given(unique_ids, st.lists(st.integers(0, 12), max_size=3), st.lists(texts, max_size=20), st.data())
def test_ids_rows_and_texts_agree_with_a_list(
    ids: list[str], cuts: list[int], asked: list[str], data: st.DataObject
) -> None:
    bodies = [f"text of {doc_id}" for doc_id in ids]
    corpus = corpus_of(ids, bodies, cuts=tuple(cuts))
    rows = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=20))
    assert len(corpus) == len(ids)
    assert corpus.ids() == ids
    assert corpus.ids(np.array(rows, np.int64)) == [ids[row] for row in rows]
    assert corpus.texts(np.array(rows, np.int64)) == [bodies[row] for row in rows]
    for wanted in (asked, [*asked, *ids], ids[:1]):
        assert corpus.rows(wanted).tolist() == [ids.index(i) if i in ids else -1 for i in wanted]


@pytest.mark.parametrize(
    ("title", "text", "options", "joined"),
    [
        ("Paris", "A city.", {}, "Paris A city."),
        ("", "A city.", {}, "A city."),
        ("Paris", "", {}, "Paris"),
        ("", "", {}, ""),
        (" ", "A city.", {}, "  A city."),
        ("Paris", "A city.", {"title_separator": ". "}, "Paris. A city."),
        ("Paris", "A city.", {"title_separator": ""}, "ParisA city."),
        ("Paris", "A city.", {"join_titles": False}, "A city."),
    ],
)
def test_a_title_goes_in_front_of_its_text(
    title: str, text: str, options: dict[str, Any], joined: str
) -> None:
    corpus = corpus_of(["a"], [text], [title], **options)
    assert corpus.texts(np.array([0])) == [joined]
    assert [texts.to_pylist() for _, texts in corpus.blocks()] == [[joined]]


def test_a_missing_title_is_no_title() -> None:
    corpus = Corpus(pa.table({"doc_id": ["a", "b"], "title": [None, "t"], "text": ["x", "y"]}))
    assert corpus.texts(np.arange(2)) == ["x", "t y"]


@given(unique_ids, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 5))
def test_blocks_stream_the_whole_corpus_in_order(ids: list[str], cuts: list[int], size: int) -> None:
    corpus = corpus_of(ids, [doc_id * 2 for doc_id in ids], cuts=tuple(cuts))
    blocks = list(corpus.blocks(size))
    assert [doc_id for block, _ in blocks for doc_id in block.to_pylist()] == ids
    assert [text for _, block in blocks for text in block.to_pylist()] == [doc_id * 2 for doc_id in ids]
    assert max(len(block) for block, _ in blocks) <= size


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_outside_the_corpus_are_a_bug(row: int) -> None:
    with pytest.raises(IndexError, match="corpus of 2 documents"):
        corpus_of(["a", "b"], ["", ""]).texts(np.array([0, row]))


def test_an_empty_corpus_works() -> None:
    corpus = corpus_of([], [])
    assert (len(corpus), corpus.ids(), corpus.rows(["a"]).tolist()) == (0, [], [-1])
    assert corpus.digest() != corpus_of([""], [""]).digest()


def test_select_keeps_titles_and_their_separator() -> None:
    corpus = corpus_of(["a", "b", "c"], ["1", "2", "3"], ["x", "", "z"], title_separator=": ").select(
        np.array([2, 0])
    )
    assert (corpus.ids(), corpus.texts(np.arange(2))) == (["c", "a"], ["z: 3", "x: 1"])


@given(unique_ids, st.lists(st.integers(0, 12), max_size=4))
def test_the_digest_knows_content_not_storage(ids: list[str], cuts: list[int]) -> None:
    bodies = [doc_id[::-1] for doc_id in ids]
    whole = corpus_of(ids, bodies)
    large = Corpus(
        pa.table({"doc_id": pa.array(ids, pa.large_string()), "text": pa.array(bodies, pa.large_string())})
    )
    assert whole.digest() == corpus_of(ids, bodies, cuts=tuple(cuts)).digest() == large.digest()


def test_the_digest_changes_with_every_part() -> None:
    variants = [
        corpus_of(["ab", "c"], ["x", "y"]),
        corpus_of(["a", "bc"], ["x", "y"]),
        corpus_of(["ab", "c"], ["xy", ""]),
        corpus_of(["ab", "c"], ["", "xy"]),
        corpus_of(["c", "ab"], ["y", "x"]),
        corpus_of(["abx", "cy"], ["", ""]),
        corpus_of(["ab", "c"], ["x", "y"], ["t", ""]),
        corpus_of(["ab", "c"], ["x", "y"], ["t", ""], title_separator="-"),
    ]
    assert len({corpus.digest() for corpus in variants}) == len(variants)


def test_an_unused_title_does_not_change_the_digest() -> None:
    with_titles = corpus_of(["a"], ["x"], ["t"], join_titles=False)
    assert with_titles.digest() == corpus_of(["a"], ["x"]).digest()


@pytest.fixture
def small() -> Collection:
    return collection_of(
        {"a": "one", "b": "two", "c": "three"},
        {"q1": "first", "q2": "second"},
        {"q1": {"a": 1, "b": 3, "lost": 2, "c": -1}, "q2": {"c": 1}},
    )


def test_ideal_holds_all_grades_best_first(small: Collection) -> None:
    assert small.ideal().tolist() == [[3, 2, 1, -1], [1, UNJUDGED, UNJUDGED, UNJUDGED]]


def test_grades_of_candidates(small: Collection) -> None:
    rows = np.array([[2, 1, -1], [2, 0, -1]])
    assert small.grades(rows).tolist() == [[-1, 3, UNJUDGED], [1, UNJUDGED, UNJUDGED]]
    assert small.grades(rows).dtype == np.int32
    assert small.grades(np.zeros((2, 0), np.int64)).shape == (2, 0)


@given(st.data())
def test_grades_and_ideal_agree_with_a_dict(data: st.DataObject) -> None:
    documents, queries = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    pairs = st.dictionaries(
        st.tuples(st.integers(0, queries - 1), st.integers(-1, documents - 1)), st.integers(-2, 3), min_size=1
    )
    judged = dict(sorted(data.draw(pairs).items()))
    rows = data.draw(
        st.lists(
            st.lists(st.integers(-1, documents - 1), min_size=3, max_size=3),
            min_size=queries,
            max_size=queries,
        )
    )
    collection = bare(documents, queries, judged)
    expected = [
        [judged.get((q, row), UNJUDGED) if row >= 0 else UNJUDGED for row in of] for q, of in enumerate(rows)
    ]
    assert collection.grades(np.array(rows)).tolist() == expected
    ideal = [
        sorted((grade for (q, _), grade in judged.items() if q == query), reverse=True)
        for query in range(queries)
    ]
    width = max(map(len, ideal))
    assert collection.ideal().tolist() == [row + [UNJUDGED] * (width - len(row)) for row in ideal]


def bare(documents: int, queries: int, judged: dict[tuple[int, int], int]) -> Collection:
    ids = [str(number) for number in range(documents)]
    return Collection(
        name="bare",
        split="test",
        corpus=corpus_of(ids, ids),
        query_ids=[f"q{number}" for number in range(queries)],
        query_texts=["?"] * queries,
        judged_query=np.array([query for query, _ in judged], np.int32),
        judged_row=np.array([row for _, row in judged], np.int64),
        judged_grade=np.array(list(judged.values()), np.int32),
    )


def test_no_judged_document_in_the_corpus_means_no_grade() -> None:
    assert bare(2, 1, {(0, -1): 1}).grades(np.array([[0, 1]])).tolist() == [[UNJUDGED, UNJUDGED]]


def test_judgements_must_be_sorted_and_of_one_length() -> None:
    with pytest.raises(ValueError, match="sorted by query"):
        bare(2, 2, {(1, 0): 1, (0, 0): 1})
    with pytest.raises(ValueError, match="one entry per judgement"):
        replace(bare(1, 1, {(0, 0): 1}), judged_grade=np.array([1, 2], np.int32))


def test_judged_ids_name_missing_documents_too(small: Collection) -> None:
    assert small.judged_ids() == ["a", "b", "lost", "c", "c"]
    with pytest.raises(ValueError, match="1 judgements have no row, 0 missing_ids"):
        replace(small, missing_ids=()).judged_ids()


@pytest.mark.parametrize(
    "change",
    [
        {"query_ids": ["q1", "q3"]},
        {"query_texts": ["first", "other"]},
        {"query_ids": ["q1q", "2"]},
        {"judged_grade": np.array([1, 3, 2, -1, 2], np.int32)},
        {"judged_row": np.array([0, 1, -1, 2, 1])},
        {"missing_ids": ("found",)},
        {"relevance_threshold": 2},
        {"drop_same_id": True},
        {"corpus": corpus_of(["a", "b", "c"], ["one", "two", "3"])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_knows_everything_that_decides_a_measure(
    small: Collection, change: dict[str, Any]
) -> None:
    assert replace(small, **change).fingerprint() != small.fingerprint()


def test_the_fingerprint_ignores_what_does_not(small: Collection) -> None:
    other = replace(small, name="other", notes=("a note",), findings=(), reduced=True)
    assert other.fingerprint() == small.fingerprint()
