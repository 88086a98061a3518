"""Names of arms: unique, without hashes wherever a setting differs, and as short as that allows."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.basics import value_names
from rerankbench.report.arms import naming
from rerankbench.report.arms.runs import Run

INSTRUCTION = "Represent this sentence for searching relevant passages"


def run(**params: Any) -> Run:
    named = {key.replace("__", "."): value for key, value in params.items()}
    return Run(Path(), "", {"params": {"candidates": 100, "embedder": "none", "index": "none"} | named})


def names(*runs: Run) -> list[str]:
    """The names of first stages or of rerankers, whichever the runs are."""
    identities = {f"{number:06d}": run for number, run in enumerate(runs)}
    told = naming.stages if "first_stage" in runs[0].params else naming.rerankers
    return list(told(identities).values())


def test_every_setting_that_differs_is_in_the_name() -> None:
    stages = [run(first_stage="bm25", first_stage__k1=k1, first_stage__b=b, first_stage__language="porter")
              for k1, b in ((0.9, 0.4), (1.5, 0.75))]  # fmt: skip
    assert names(*stages) == ["bm25 k1=0.9 b=0.4", "bm25 k1=1.5 b=0.75"]
    assert names(*stages, run(first_stage="dense")) == ["bm25 k1=0.9 b=0.4", "bm25 k1=1.5 b=0.75", "dense"]
    deeper = run(first_stage="dense", candidates=200)
    assert names(run(first_stage="dense"), deeper) == ["dense candidates=100", "dense candidates=200"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("/x/bm25.trec", "/x/cohere.trec"), ["bm25.trec", "cohere.trec"]),
        (("/x/a/run.trec", "/x/b/run.trec"), ["a/run.trec", "b/run.trec"]),
        (("/x/a/run.trec", "/y/a/run.trec", "/x/c.trec"), ["x/a/run.trec", "y/a/run.trec", "c.trec"]),
        (("run.trec", "/x/run.trec"), ["run.trec", "x/run.trec"]),
        (("/x/my run.trec", "/x/b.trec"), ["'my run.trec'", "b.trec"]),
    ],
)
def test_runs_are_told_apart_by_as_much_of_their_paths_as_is_needed(
    paths: tuple[str, ...], expected: list[str]
) -> None:
    stages = [run(first_stage="run", first_stage__path=path) for path in paths]
    assert names(*stages) == [f"run path={tail}" for tail in expected]


def test_what_follows_from_the_embedder_is_not_told_beside_it() -> None:
    bge = {"embedder": "bge", "embedder__model": "BAAI/bge", "embedder__pooling": "cls"}
    minilm = {"embedder": "minilm", "embedder__model": "st/minilm", "embedder__pooling": "mean"}
    dense = {"first_stage": "dense", "precision": "fp32"}
    assert names(run(**dense, **bge), run(**dense, **minilm)) == [
        "dense embedder=bge",
        "dense embedder=minilm",
    ]
    changed = bge | {"embedder__pooling": "mean"}
    assert names(run(**dense, **bge), run(**dense, **changed)) == ["dense pooling=cls", "dense pooling=mean"]
    half = dense | {"precision": "fp16"}
    assert names(run(**dense, **bge), run(**half, **bge)) == ["dense precision=fp32", "dense precision=fp16"]
    assert names(run(first_stage="bm25", precision="fp16"), run(first_stage="bm25", precision="fp32")) == [
        "bm25 000000",
        "bm25 000001",
    ]


def test_indexes_are_told_by_the_setting_that_differs() -> None:
    flat = {"first_stage": "dense", "embedder": "bge", "index": "flat", "index__factory": "Flat"}
    pq = flat | {"index": "pq", "index__factory": "IVF64,PQ8"}
    deeper = pq | {"index__search": "nprobe=128"}
    assert names(run(**flat), run(**pq)) == ["dense index=flat", "dense index=pq"]
    assert names(run(**pq), run(**deeper)) == ["dense", "dense search=nprobe=128"]


def test_long_instructions_are_told_by_what_differs_in_them() -> None:
    told = [run(reranker="base", reranker__query_instruction=f"{INSTRUCTION} {end}: ")
            for end in ("in medicine", "in law")]  # fmt: skip
    assert names(*told, run(reranker="base")) == [
        "base query_instruction=...medicine:",
        "base query_instruction=...law:",
        "base",
    ]


def test_only_what_differs_in_no_setting_has_a_hash() -> None:
    assert names(run(reranker="base"), run(reranker="base")) == ["base 000000", "base 000001"]


def test_names_of_arms_read_as_what_happens() -> None:
    assert naming.arm("", "", None, 0) == "no reranking"
    assert naming.arm("", "minilm max_length=128", None, 50) == "minilm@50 max_length=128"
    assert naming.arm("bm25 k1=0.9", "", None, 0) == "bm25 k1=0.9 without reranking"
    assert naming.arm("bm25", "minicpm", 28, 50) == "bm25 + minicpm@50 layer 28"
    assert naming.curve("bm25", "minicpm", 28) == "bm25 + minicpm layer 28"


SETTINGS = {
    "first_stage.k1": st.sampled_from([0.9, 1.2, 1.5]),
    "first_stage.path": st.sampled_from(["/a/run", "/b/run", "/a/b/run", "run", "/a/other"]),
    "first_stage.language": st.sampled_from(["porter", "none"]),
    "candidates": st.sampled_from([100, 200]),
    "first_stage.query_column": st.sampled_from(["q", "the query", f"{INSTRUCTION} a", f"{INSTRUCTION} b"]),
}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.fixed_dictionaries({}, optional=SETTINGS), min_size=2, max_size=6, unique_by=str))
def test_names_are_unique_and_hold_every_setting_that_differs(several: list[dict[str, Any]]) -> None:
    told = names(*(Run(Path(), "", {"params": {"first_stage": "x"} | params}) for params in several))
    assert len(set(told)) == len(told)
    assert all(name.isprintable() and name.isascii() for name in told)
    for (params, name), (others, _) in itertools.permutations(zip(several, told, strict=True), 2):
        for key, value in params.items():
            if others.get(key) != value:
                assert f"{key.rpartition('.')[2]}=" in name


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.text(st.sampled_from("ab /"), min_size=1, max_size=60), min_size=1, max_size=5, unique=True)
)
@pytest.mark.parametrize("key", ["first_stage.path", "embedder.query_instruction"])
def test_labels_of_different_values_differ(key: str, values: list[str]) -> None:
    assert len(set(value_names.labels(key, values).values())) == len(values)


def test_a_value_without_its_likes_is_short_and_never_another() -> None:
    long = [f"{INSTRUCTION} {number}" for number in range(50)]
    shown = {value_names.label("reranker.query_instruction", value) for value in long}
    assert len(shown) == 50
    assert max(map(len, shown)) < 40
    assert value_names.label("first_stage.path", "/x/y/run.trec") == "run.trec"
