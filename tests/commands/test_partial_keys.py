"""Keys that only some of a sweep's options have."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from rerankbench.basics.errors import UserError
from rerankbench.commands.hydra import config, preflight
from rerankbench.commands.hydra.partial_keys import lacked, lines, take_away


@pytest.fixture(autouse=True, scope="module")
def schemas() -> None:
    config.register_schemas()


FOUND = {
    "reranker.url": ("none",),
    "reranker.body.truncate": ("none", "cohere"),
    "reranker.model": ("tei", "cohere"),
    "reranker.timeout": ("none",),
}


def test_a_job_lacks_what_its_options_lack() -> None:
    assert lacked(FOUND, {"reranker": "cohere"}) == {"reranker.body.truncate", "reranker.model"}
    assert lacked(FOUND, {"reranker": "base", "first_stage": "none"}) == set()


def test_what_does_not_apply_is_one_line_for_each_key() -> None:
    assert list(lines(FOUND))[:2] == [
        "reranker.url does not apply to reranker=none, which runs without it",
        "reranker.body.truncate does not apply to reranker=none, cohere, which run without it",
    ]


def test_nothing_is_left_of_what_an_option_lacks() -> None:
    reranker = {"family": "none", "url": "${nowhere}", "body": {"x": {"y": 1}}}
    made = OmegaConf.create({"reranker": reranker, "a": "u"})
    OmegaConf.set_struct(made, True)
    OmegaConf.set_struct(made.reranker, False)
    take_away(made, ["reranker.url", "reranker.body.x.y", "reranker.body.x.z", "reranker.not.there"])
    assert made == {"reranker": {"family": "none"}, "a": "u"}


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
