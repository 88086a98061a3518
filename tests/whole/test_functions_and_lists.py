"""Functions of one's own and lists of other tools, as contestants of a real command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collections_on_disk import beir
from commands import run
from rerankbench import api
from rerankbench.basics.errors import UserError
from rerankbench.rerankers.function import FunctionScorer

DOCUMENTS = [(f"d{n}", "", f"fox {'sea ' * n}") for n in range(8)]
QUERIES = [("q0", "", "fox"), ("q1", "", "fox sea")]
GRADES = [("q0", "d7", 1), ("q1", "d0", 1)]
MINE = """
calls = []
def scores(query, texts):
    calls.append((query, len(texts)))
    return [len(text) for text in texts]
nothing = None
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a collection and a module in it."""
    beir(tmp_path / "data", DOCUMENTS, QUERIES, GRADES)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def typed(*words: str) -> int:
    return run(
        "dataset=beir", "dataset.path=data", "first_stage=bm25", "tracking=none", "device=cpu",
        "candidates=8", "cutoffs=[1,8]", "report.measure=ndcg_at_8", "cache_dir=cache",
        "hydra.run.dir=out", *words,
    )  # fmt: skip


def result() -> dict[str, Any]:
    return dict(json.loads(Path("out/result.json").read_text()))


def listing(order: dict[str, Sequence[int]], file: str = "cohere.trec") -> str:
    lines = [
        f"{query} Q0 d{n} {place} {-place}.5 cohere"
        for query, of in order.items()
        for place, n in enumerate(of, start=1)
    ]
    Path(file).write_text("\n".join(lines) + "\n")
    return f"reranker.path={file}"


def reranked() -> dict[str, list[int]]:
    """The documents of each query, best first, as the run wrote them."""
    found: dict[str, list[int]] = {}
    for line in Path("out/reranked.trec").read_text().splitlines():
        query, _, document, *_ = line.split()
        found.setdefault(query, []).append(int(document[1:]))
    return found


FUNCTION = ("reranker=function", "reranker.function=mine:scores", "reranker.allow_code=true")


def test_a_named_function_is_scored_stored_and_reused() -> None:
    words = (*FUNCTION, "reranker.name=mine", "reranker.version=1")
    assert typed(*words) == 0
    assert result()["arm"] == "bm25 + mine@8"
    assert result()["pairs"] == {"total": 16, "scored": 16, "reused": 0}
    assert reranked() == {query: list(range(7, -1, -1)) for query in ("q0", "q1")}
    assert [count for _, count in sys.modules["mine"].calls] == [8, 8]
    assert typed(*words) == 0
    assert result()["pairs"] == {"total": 16, "scored": 0, "reused": 16}
    assert typed(*words[:-1], "reranker.version=2") == 0
    assert result()["pairs"]["scored"] == 16


def test_a_function_without_a_version_is_scored_anew_each_time(place: Path) -> None:
    for _ in range(2):
        assert typed(*FUNCTION, "reranker.name=mine") == 0
        assert result()["pairs"]["scored"] == 16
    assert not [file for file in (place / "cache").rglob("*.shard") if "scores" in file.parts]


@pytest.mark.parametrize(("answer", "code"), [("[1.0] * len(texts)", 0), ("[]", 2)])
def test_a_run_lets_go_of_its_scorer_whether_it_fails_or_not(
    answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(FunctionScorer, "close", lambda scorer: closed.append(scorer.label), raising=False)
    Path("mine.py").write_text(f"def scores(query, texts):\n    return {answer}\n")
    assert typed(*FUNCTION, "reranker.name=mine") == code
    assert closed == ["mine"]


def test_a_function_needs_the_key_that_allows_it_typed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(*FUNCTION[:2]) == 2
    assert "add reranker.allow_code=true" in capsys.readouterr().err
    (place / "own" / "reranker").mkdir(parents=True)
    schema = "defaults: [/schema/reranker/function@_here_, _self_]\n"
    for text, words in (
        ("function: mine:scores\nallow_code: true\n", ()),
        ("function: mine:scores\n", ("reranker.allow_code=true",)),
        ("allow_code: true\n", ("reranker.function=mine:scores",)),
    ):
        (place / "own" / "reranker" / "theirs.yaml").write_text(schema + text)
        assert typed("--config-dir", "own", "reranker=theirs", *words) == 2
        assert "a config cannot set this" in capsys.readouterr().err
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("place_of", "told"),
    [
        ("mine:nothing", "is not a function"),
        ("mine:gone", "cannot be imported"),
        ("nowhere:scores", "No module named"),
        ("mine", "give MODULE:NAME"),
    ],
)
def test_a_function_that_is_none_is_one_line(
    place_of: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("reranker=function", f"reranker.function={place_of}", "reranker.allow_code=true") == 2
    assert told in capsys.readouterr().err


def test_a_function_in_python_is_a_reranker() -> None:
    collection = api.load_collection("data")
    candidates = api.retrieve(collection, "bm25", candidates=8, cache_dir="cache")
    calls = []

    def longest(query: str, texts: Sequence[str]) -> list[int]:
        calls.append(query)
        return [len(text) for text in texts]

    reranker = api.load_reranker(longest, name="longest", version="1", device="cpu")
    assert reranker.name == "longest"
    np.testing.assert_array_equal(reranker.score("fox", ["a", "abc"]), np.float32([[1], [3]]))
    assert reranker.rank("fox", ["a", "abc"])[0].text == "abc"
    scores = api.score(collection, candidates, reranker, cache_dir="cache")
    before = len(calls)
    np.testing.assert_array_equal(api.score(collection, candidates, reranker, cache_dir="cache"), scores)
    assert len(calls) == before
    unnamed = api.load_reranker(longest, device="cpu")
    np.testing.assert_array_equal(api.score(collection, candidates, unnamed, cache_dir="cache"), scores)
    assert len(calls) > before
    by_name = api.load_reranker("mine:scores", device="cpu")
    np.testing.assert_array_equal(by_name.score("fox", ["a", "abc"]), np.float32([[1], [3]]))
    short = api.load_reranker(lambda query, texts: [1.0], device="cpu")
    with pytest.raises(UserError, match=r"returned \[1\] numbers for 2 texts"):
        short.score("fox", ["a", "abc"])


def test_a_list_of_another_tool_joins_as_its_arm(capsys: pytest.CaptureFixture[str]) -> None:
    own = {"q0": [7, 6, 5, 4, 3, 2, 1, 0], "q1": [0, 1, 2, 3, 4, 5, 6, 7]}
    assert typed("reranker=run", listing(own), "reranker.name=cohere") == 0
    found = result()
    assert found["arm"] == "bm25 + cohere@8"
    assert reranked() == own
    assert found["measures"]["reranked"]["ndcg_at_8"] == 1.0
    assert found["throughput"] is None
    assert found["model"] == {"parameters": None, "label": "cohere", "load_seconds": None, "precision": None}
    first = found["identity"]["reranker"]
    assert typed("reranker=run", listing({**own, "q1": own["q0"]}), "reranker.name=cohere") == 0
    assert result()["identity"]["reranker"] != first


def test_a_list_reorders_only_what_it_holds_of_the_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("reranker=none") == 0
    before = reranked()
    top = before["q0"][:4]
    words = ("reranker=run", listing({"q0": [top[2], top[0], top[3]]}), "candidates=5", "cutoffs=[1,5]")
    assert typed(*words, "report.measure=ndcg_at_5") == 0
    told = capsys.readouterr().err
    assert result()["arm"] == "bm25 + cohere@4 candidates=5" or result()["arm"] == "bm25 + cohere@4"
    assert reranked()["q0"] == [top[2], top[0], top[3], top[1], before["q0"][4]]
    assert reranked()["q1"] == before["q1"][:5]
    assert "queries without a list: 1 ('q1')" in told
    assert "candidates that the lists leave out: " in told


def test_listed_documents_that_are_no_candidates_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("reranker=none", "candidates=3", "cutoffs=[1,3]", "report.measure=ndcg_at_3") == 0
    own = reranked()["q0"]
    other = next(n for n in range(8) if n not in own)
    words = ("reranker=run", listing({"q0": [other, *own[::-1]]}), "candidates=3", "cutoffs=[1,3]")
    assert typed(*words, "report.measure=ndcg_at_3") == 0
    assert f"listed documents that are not candidates: 1 ('q0 d{other}')" in capsys.readouterr().err
    assert reranked()["q0"] == own[::-1]
    (Path("none.trec")).write_text(f"q0 Q0 d{other} 1 1.0 x\n")
    assert typed(*words[:1], "reranker.path=none.trec", *words[2:], "report.measure=ndcg_at_3") == 2
    assert "hold none of the candidates" in capsys.readouterr().err
