"""Keys that only some of a sweep's options have."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rerankbench.basics.errors import UserError
from rerankbench.commands import config, preflight
from rerankbench.commands.partial_keys import lacked, lines, partial_keys, rewrite, without


@pytest.fixture(autouse=True, scope="module")
def schemas() -> None:
    config.register_schemas()


HAS = {"none": {"reranker.model"}, "tei": {"reranker.url", "reranker.body"}, "cohere": {"reranker.url"}}


def partial(*keys: str, options: tuple[str, ...] = ("none", "tei", "cohere")) -> dict[str, tuple[str, ...]]:
    return partial_keys(keys, {"reranker": options}, lambda group, option, key: key in HAS[option])


def test_a_key_applies_to_those_that_have_it_and_a_mistake_stays_one() -> None:
    found = partial("reranker.url", "reranker.body.truncate", "reranker.uri", "depth", "first_stage.k1")
    assert found == {"reranker.url": ("none",), "reranker.body.truncate": ("none", "cohere")}
    assert partial("reranker.url", options=("none",)) == partial("reranker.url", options=("tei",)) == {}
    assert lacked(found, {"reranker": "cohere"}) == {"reranker.body.truncate"}
    assert lacked(found, {"reranker": "tei", "first_stage": "none"}) == set()


def test_what_does_not_apply_is_one_line_for_the_same_options() -> None:
    found = partial("reranker.url", "reranker.model", "reranker.body.truncate")
    assert list(lines(found | {"reranker.timeout": ("none",)})) == [
        "reranker.url, reranker.timeout do not apply to reranker=none, which runs without",
        "reranker.model does not apply to reranker=tei, cohere, which run without",
        "reranker.body.truncate does not apply to reranker=none, cohere, which run without",
    ]


def test_a_job_keeps_the_config_that_it_has(tmp_path: Path) -> None:
    whole = OmegaConf.create(
        {"reranker": {"family": "none", "url": "${a}", "body": {"x": {"y": 1}}}, "a": "u"}
    )
    left = without(whole, ["reranker.url", "reranker.body.x.y", "reranker.not.there", "nowhere.at.all"])
    assert left == {"reranker": {"family": "none"}, "a": "u"}
    assert "url" in whole.reranker
    rewrite(left, tmp_path / "config.yaml")
    assert not (tmp_path / "config.yaml").exists()  # nothing was kept of this job
    (tmp_path / "config.yaml").write_text("old")
    rewrite(left, tmp_path / "config.yaml")
    assert OmegaConf.load(tmp_path / "config.yaml") == left


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-m first_stage=bm25,dense first_stage.k1=1.2", {"first_stage.k1": ("dense",)}),
        ("-m first_stage=bm25,dense +first_stage.k1=1.2,0.9", {"first_stage.k1": ("dense",)}),
        ("-m first_stage=bm25,hybrid first_stage.k1=1.2", {}),
        ("-m reranker=none,base,tei reranker.url=http://h reranker.max_length=99", {
            "reranker.url": ("none", "base"), "reranker.max_length": ("tei",),
        }),
        ("-m reranker=none,tei reranker.url=http://h reranker.body.truncate=false", {
            "reranker.url": ("none",), "reranker.body.truncate": ("none",),
        }),
        ("-m reranker=choice(tei,none) reranker.url=http://h", {"reranker.url": ("none",)}),
        ("reranker=tei reranker.url=http://h", {}),
    ],
)  # fmt: skip
def test_a_command_knows_which_of_its_keys_are_partial(words: str, expected: dict[str, object]) -> None:
    found = preflight.check([*words.split(), "embedder.model=wheel:all-MiniLM-L6-v2"])
    assert found is not None
    assert found.partial == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "reranker.urll=http://h",
            r"reranker\.urll=http://h: there is no such key; did you mean reranker\.url",
        ),
        ("reranker.max_length=x", r"reranker\.max_length=x: give a whole number"),
    ],
)
def test_a_mistake_in_a_sweep_of_unlike_options_is_told(words: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        preflight.check(["-m", "reranker=none,tei", "reranker.url=http://h", words])
